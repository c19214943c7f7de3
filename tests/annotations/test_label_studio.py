"""Label Studio's exports as labels: which annotation counts, and the code of brush masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from masksift.annotations.label_studio import UNKNOWN_SIZE, brush_run_lengths, is_label_studio, parse_label_studio
from masksift.annotations.shapes import Shape, shape_mask
from masksift.core.errors import DataError
from masksift.review.export.run_length import label_studio_rle
from support.condensed import a_few
from support.datasets import Array
from support.errors import raises

RECTANGLE = {"x": 0, "y": 0, "width": 50, "height": 50, "rectanglelabels": ["tree"]}


def task(*annotations: dict[str, Any], image: str = "/data/upload/7/0a1b2c3d-street%201.png") -> dict[str, Any]:
    return {"id": 1, "data": {"image": image}, "annotations": list(annotations), "predictions": [{"result": []}]}


def annotation(value: dict[str, Any] = RECTANGLE, **facts: Any) -> dict[str, Any]:
    return {"result": [{"original_width": 10, "original_height": 8, "type": "x", "value": value}], **facts}


def mask_of(shape: Shape, size: tuple[int, int] = (8, 10)) -> Array:
    return shape_mask(shape, *size)


@a_few
@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)))
def test_brush_mask_round_trips(mask: Array) -> None:
    code = bytes(label_studio_rle(mask, (0, 0), mask.shape))
    shape = Shape(0, rows=brush_run_lengths(code, *mask.shape), box=(0, 0, mask.shape[1], mask.shape[0]))
    np.testing.assert_array_equal(shape_mask(shape, *mask.shape), mask)


@a_few
@given(alpha=st.lists(st.booleans(), min_size=1, max_size=9))
def test_brush_mask_with_single_values_is_read_by_its_alpha(alpha: list[bool]) -> None:
    """Groups of single values (bit 0), and color channels that differ from alpha."""
    values = [value for inside in alpha for value in (200, 0, 200, 255 * inside)]
    bits = f"{len(values):032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    bits += f"0{2:02b}{len(values) - 1:08b}" + "".join(f"{value:08b}" for value in values)
    code = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))
    shape = Shape(0, rows=brush_run_lengths(code, 1, len(alpha)), box=(0, 0, len(alpha), 1))
    assert shape_mask(shape, 1, len(alpha))[0].tolist() == alpha


def test_name_of_an_upload_has_no_prefix() -> None:
    shapes = parse_label_studio([task(annotation())], "x.json", None, None)
    assert shapes.names == ("data/upload/7/street 1.png",)
    assert shapes.classes == ("tree",)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("/data/local-files/?d=x/images/a%20b.png", "x/images/a b.png"),
        ("s3://bucket/seg/a.jpg", "seg/a.jpg"),
        ("https://host/a.tif", "a.tif"),
        ("https://host/a.png?X-Amz-Expires=60&X-Amz-Signature=ab", "a.png"),
        ("gs://bucket/0a1b2c3d-77aa-4c1e-9b3f-5d6e7f8a9b0c.png", "0a1b2c3d-77aa-4c1e-9b3f-5d6e7f8a9b0c.png"),
        ("/data/upload/7/0a1b2c3d-11223344-77aa.png", "data/upload/7/11223344-77aa.png"),
        ("/data/local-files/?d=x%5Cimages%5Ca.png", "x/images/a.png"),
    ],
)
def test_name_of_an_image_is_its_path(image: str, name: str) -> None:
    assert parse_label_studio([task(annotation(), image=image)], "x.json", None, None).names == (name,)


def test_image_is_found_by_its_ending_if_no_value_has_its_name() -> None:
    one = {**task(annotation()), "data": {"title": "a street", "picture": "s3://bucket/a.png"}}
    assert parse_label_studio([one], "x.json", None, None).names == ("a.png",)


def test_shape_of_the_tag_labels_is_drawn() -> None:
    shape = {"points": [[10, 12.5], [50, 12.5], [50, 50], [10, 50]], "labels": ["tree"]}
    text = {"from_name": "text", "type": "labels", "value": {"start": 0, "end": 3, "labels": ["person"]}}
    one = annotation(shape)
    one["result"] += [text, {"type": "choices", "value": {"choices": ["day"]}}]
    found = parse_label_studio([task(one)], "x.json", None, None)
    (shape_read,) = found.labels[0].shapes
    expected = np.zeros((8, 10), bool)
    expected[1:4, 1:5] = True
    np.testing.assert_array_equal(mask_of(shape_read), expected)
    assert found.classes == ("tree",)


@pytest.mark.parametrize(
    "facts", [{"meta": {"rank": 12}}, {"id": "region-12"}, {"id": "region-3", "meta": {"rank": "12"}}]
)
def test_rank_of_an_exported_region_is_kept(facts: dict[str, Any]) -> None:
    one = annotation()
    one["result"][0] |= facts
    (labels,) = parse_label_studio([task(one)], "x.json", None, None).labels
    assert [shape.rank for shape in labels.shapes] == [12]


def test_json_min_has_an_entry_per_annotation_of_which_the_last_change_counts() -> None:
    value = {**RECTANGLE, "original_width": 10, "original_height": 8}
    common = {"id": 1, "image": "/data/upload/7/0a1b2c3d-a.png"}
    new = {**common, "annotation_id": 2, "label": [value], "updated_at": "2026-11-30T09:00:00Z"}
    old = {**common, "annotation_id": 3, "label": [], "updated_at": "2026-11-30T08:00:00Z"}
    none = {"id": 2, "image": "/data/upload/7/0a1b2c3e-b.png", "annotation_id": None}
    (labels,) = parse_label_studio([new, old, none], "x.json", None, None).labels
    assert len(labels.shapes) == 1


def test_ground_truth_counts_before_later_annotations() -> None:
    later = annotation({**RECTANGLE, "rectanglelabels": ["road"]}, updated_at="2026-11-30T09:00:00Z")
    truth = annotation(ground_truth=True, updated_at="2026-11-30T08:00:00Z")
    (labels,) = parse_label_studio([task(truth, later)], "x.json", ["road", "tree"], None).labels
    assert [shape.number for shape in labels.shapes] == [1]


def test_tasks_without_an_annotation_are_left_out() -> None:
    shapes = parse_label_studio(
        [task(), task(annotation(was_cancelled=True)), task(annotation())], "x.json", None, None
    )
    assert len(shapes.names) == 1


def test_annotation_without_shapes_has_no_size() -> None:
    (labels,) = parse_label_studio([task({"result": []})], "x.json", ["tree"], None).labels
    assert (labels.height, labels.width, labels.shapes) == (UNKNOWN_SIZE, UNKNOWN_SIZE, ())


def test_rotated_rectangle_turns_about_its_corner() -> None:
    value = {"x": 50, "y": 25, "width": 20, "height": 50, "rotation": 90, "rectanglelabels": ["tree"]}
    (labels,) = parse_label_studio([task(annotation(value))], "x.json", None, None).labels
    expected = np.zeros((8, 10), bool)
    expected[2:4, 1:5] = True  # from (5, 2) 4 pixels to the left and 2 down
    np.testing.assert_array_equal(mask_of(labels.shapes[0]), expected)


def test_ellipse_covers_its_center_and_not_its_corners() -> None:
    value = {"x": 50, "y": 50, "radiusX": 50, "radiusY": 50, "ellipselabels": ["tree"]}
    (labels,) = parse_label_studio([task(annotation(value))], "x.json", None, None).labels
    mask = mask_of(labels.shapes[0])
    assert mask[4, 5]
    assert not mask[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert mask.mean() == pytest.approx(np.pi / 4, abs=0.08)


def test_json_min_is_read_as_json() -> None:
    value = {**RECTANGLE, "original_width": 10, "original_height": 8}
    minimal = {"id": 1, "image": "/data/upload/7/0a1b2c3d-a.png", "annotation_id": 2, "label": [value]}
    assert is_label_studio([minimal])
    (labels,) = parse_label_studio([minimal], "x.json", None, None).labels
    assert mask_of(labels.shapes[0]).sum() == 20


def test_task_with_two_images_is_refused() -> None:
    one = {**task(annotation()), "data": {"left": "s3://bucket/a.png", "right": "s3://bucket/b.png"}}
    with raises(DataError, r"a task has 2 images in its data \(left, right\), none named `image`"):
        parse_label_studio([one], "x.json", None, None)


def test_shapes_of_two_sizes_are_refused() -> None:
    one = annotation()
    one["result"].append({**one["result"][0], "original_width": 20})
    with raises(DataError, "has shapes of images of 8 x 10 and 8 x 20"):
        parse_label_studio([task(one)], "x.json", None, None)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"image_rotation": 90}, "street 1.png was rotated by 90 degrees in the editor"),
        ({"original_height": None}, "is not an export of Label Studio"),
        ({"value": {**RECTANGLE, "rectanglelabels": ["tree", "road"]}}, "a shape has the labels tree, road"),
        ({"value": {"imageDataURL": "", "bitmasklabels": ["tree"]}}, "shapes with bitmasklabels are not supported"),
    ],
)
def test_file_that_cannot_be_drawn_is_refused(change: dict[str, Any], match: str) -> None:
    changed = annotation()
    changed["result"][0] |= change
    with raises(DataError, match):
        parse_label_studio([task(changed)], "x.json", None, None)
