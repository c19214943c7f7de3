"""Labels as polygons and masks: COCO instances and stuff, CVAT, LabelMe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from annotations.helpers import H, W, class_names, ingest, planes_by_id, square
from masksift.annotations.shapes import Shape, ShapeLabels, draw_shapes, shape_mask
from masksift.core.errors import DataError
from masksift.review.export.run_length import row_run_lengths
from prepare.ingest.helpers import assert_ingest_fails, read_source, save_image
from support.cli import exit_code, run_cli
from support.errors import raises
from support.results import read_rows
from support.sources import make_data, write_source

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools

SQUARE = (1.0, 1.0, 5.0, 1.0, 5.0, 4.0, 1.0, 4.0)
"""Polygon of rows 1 to 3 and columns 1 to 4."""

# ---------------------------------------------------------------------------------------------------------- drawing


def test_polygon_covers_the_pixels_of_pycocotools() -> None:
    plane = draw_shapes(ShapeLabels(H, W, (Shape(3, (SQUARE,)),)), None, "uint8", "a")
    np.testing.assert_array_equal(plane, square(3))


def test_later_shapes_cover_earlier_ones() -> None:
    inner = (2.0, 2.0, 4.0, 2.0, 4.0, 3.0, 2.0, 3.0)
    plane = draw_shapes(ShapeLabels(H, W, (Shape(1, (SQUARE,)), Shape(2, (inner,)))), 0, "uint8", "a")
    expected = square(1, 0)
    expected[2:3, 2:4] = 2
    np.testing.assert_array_equal(plane, expected)


def test_lines_and_points_cover_nothing() -> None:
    shapes = (Shape(1, ((1.0, 1.0, 5.0, 5.0),)), Shape(1, ()))
    assert (draw_shapes(ShapeLabels(H, W, shapes), None, "uint8", "a") == 255).all()


@given(st.lists(st.booleans(), min_size=H * W, max_size=H * W))
def test_masks_in_every_code_are_the_same(values: list[bool]) -> None:
    mask = np.array(values).reshape(H, W)
    code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    columns = mask.T.reshape(-1)
    changes = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    counts = np.diff(changes, prepend=0, append=columns.size).tolist()
    counts = [0, *counts] if columns[0] else counts
    for shape in (
        Shape(0, rle=code["counts"].decode()),
        Shape(0, rle=tuple(counts)),
        Shape(0, rows=tuple(row_run_lengths(mask)), box=(0, 0, W, H)),
    ):
        np.testing.assert_array_equal(shape_mask(shape, H, W), mask)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (Shape(0, rle=(3, 4)), "its run lengths cover 7 pixels"),
        (Shape(0, rows=(4, 5), box=(9, 0, 3, 3)), r"its box is \(9, 0, 3, 3\), and its run lengths cover 9 pixels"),
        (Shape(0, rows=(4, 1), box=(0, 0, 3, 3)), "its run lengths cover 5 pixels"),
        (Shape(0, ((0.0, 0.0, 9e9, 0.0, 9e9, 9e9),)), "a polygon has coordinates up to 9,000,000,000"),
        (Shape(0, ((0.0, 0.0, 9.0, float("nan"), 9.0, 9.0),)), "a polygon has coordinates up to nan"),
        (Shape(0, ((0.0, 0.0, float("inf"), 0.0, 9.0, 9.0),)), "a polygon has coordinates up to inf"),
        (Shape(0, ((0.0, 0.0, 9.0, 9.0, 9.0, 0.0) * 9999,)), "an outline of 269,973 pixels"),
    ],
)
def test_code_that_does_not_fit_the_image_is_refused(shape: Shape, reason: str) -> None:
    with raises(DataError, match=f"Shape 0 of a does not fit its image of 8 x 10 .*{reason}"):
        draw_shapes(ShapeLabels(H, W, (shape,)), None, "uint8", "a")


# ------------------------------------------------------------------------------------------------------------- COCO


def write_coco(path: Path, annotations: Sequence[dict[str, Any]]) -> Path:
    images = [{"id": i, "file_name": f"{name}.jpg", "height": H, "width": W} for i, name in enumerate("ab", 7)]
    categories = [{"id": 3, "name": "cat"}, {"id": 90, "name": "sofa"}]
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    return path


def test_coco_instances_are_drawn_the_largest_first(tmp_path: Path, images: Path) -> None:
    small = {"image_id": 7, "category_id": 3, "segmentation": [[2, 2, 4, 2, 4, 3, 2, 3]], "area": 2}
    large = {"image_id": 7, "category_id": 90, "segmentation": [list(SQUARE)], "area": 12}
    planes = ingest(write_coco(tmp_path / "a.json", [small, large]), images)
    expected = square(1)
    expected[2:3, 2:4] = 0
    np.testing.assert_array_equal(planes["a"], expected)
    assert (planes["b"] == 255).all(), "an image without annotations has labels"
    assert class_names(tmp_path / "a.json") == ["cat", "sofa"]


def test_coco_masks_of_pycocotools_are_read(tmp_path: Path, images: Path) -> None:
    mask = square(1, 0)
    code = coco.encode(np.asfortranarray(mask))
    counts = {"size": [H, W], "counts": code["counts"].decode()}
    stuff = {"image_id": 8, "category_id": 90, "segmentation": counts, "area": 12, "iscrowd": 0}
    planes = ingest(write_coco(tmp_path / "a.json", [stuff]), images)
    np.testing.assert_array_equal(planes["b"], np.where(mask == 1, 1, 255))


def test_background_is_the_class_of_pixels_without_a_shape(tmp_path: Path, images: Path) -> None:
    one = {"image_id": 7, "category_id": 3, "segmentation": [list(SQUARE)], "area": 12}
    labels = write_coco(tmp_path / "a.json", [one])
    planes = ingest(labels, images, "--background", "nothing")
    assert class_names(labels) == ["nothing", "cat", "sofa"]
    np.testing.assert_array_equal(planes["a"], square(1, 0))
    assert (planes["b"] == 0).all()


def test_classes_give_the_order_of_the_model(tmp_path: Path, images: Path) -> None:
    one = {"image_id": 7, "category_id": 3, "segmentation": [list(SQUARE)], "area": 12}
    labels = write_coco(tmp_path / "a.json", [one])
    planes = ingest(labels, images, "--classes", "sofa,floor,cat", "--background", "floor")
    assert class_names(labels) == ["sofa", "floor", "cat"]
    np.testing.assert_array_equal(planes["a"], square(2, 1))


def test_coco_instances_are_matched_with_predictions_by_image_id(tmp_path: Path) -> None:
    one = {"image_id": 7, "category_id": 3, "segmentation": [list(SQUARE)], "area": 12}
    labels = write_coco(tmp_path / "a.json", [one])
    (tmp_path / "predictions").mkdir()
    for image_id in (7, 8):
        np.save(tmp_path / "predictions" / f"{image_id}.npy", np.full((2, H, W), 0.5, np.float32))
    flags = ("--labels", labels, "--predictions", tmp_path / "predictions", "--out", tmp_path / "new.zarr")
    assert run_cli("ingest", *flags) == 0
    arrays = read_source(tmp_path / "new.zarr")
    assert arrays["image_id"].tolist() == ["7", "8"]
    assert arrays["predictions"].shape == (2, 2, H, W)


# ------------------------------------------------------------------------------------------------------------- CVAT


def write_cvat(path: Path, shapes: str, labels: str = "cat,sofa") -> Path:
    names = "".join(f"<label><name>{name}</name></label>" for name in labels.split(",")) if labels else ""
    path.write_text(
        f"<annotations><version>1.1</version><meta><task><labels>{names}</labels></task></meta>"
        f'<image id="0" name="a.png" width="{W}" height="{H}">{shapes}</image>'
        f'<image id="1" name="b.png" width="{W}" height="{H}"></image></annotations>'
    )
    return path


def test_cvat_shapes_are_drawn_by_z_order(tmp_path: Path, images: Path) -> None:
    shapes = (
        '<polygon label="cat" z_order="1" points="2.0,2.0;4.0,2.0;4.0,3.0;2.0,3.0"></polygon>'
        '<box label="sofa" z_order="0" xtl="1" ytl="1" xbr="5" ybr="4"></box>'
        '<points label="cat" z_order="2" points="0.0,0.0"></points>'
    )
    planes = ingest(write_cvat(tmp_path / "annotations.xml", shapes), images)
    expected = square(1)
    expected[2:3, 2:4] = 0
    np.testing.assert_array_equal(planes["a"], expected)
    assert class_names(tmp_path / "annotations.xml") == ["cat", "sofa"]


def test_cvat_ellipse_and_turned_box_are_drawn(tmp_path: Path, images: Path) -> None:
    shapes = (
        '<box label="cat" xtl="1" ytl="3" xbr="5" ybr="5" rotation="90"></box>'  # about its center (3, 4)
        '<ellipse label="sofa" cx="7.5" cy="1.5" rx="1.5" ry="1.5"></ellipse>'
    )
    planes = ingest(write_cvat(tmp_path / "annotations.xml", shapes), images)
    expected = np.full((H, W), 255, np.uint8)
    expected[2:6, 2:4] = 0
    expected[0:3, 6:9] = 1
    np.testing.assert_array_equal(planes["a"], expected)


def test_cvat_without_a_task_takes_the_names_of_its_shapes(tmp_path: Path, images: Path) -> None:
    shapes = '<mask label="sofa" rle="0, 12" left="1" top="1" width="4" height="3"></mask>'
    shapes += '<box label="cat" xtl="8" ytl="0" xbr="9" ybr="1"></box>'
    planes = ingest(write_cvat(tmp_path / "annotations.xml", shapes, labels=""), images)
    expected = square(1)
    expected[0, 8] = 0
    np.testing.assert_array_equal(planes["a"], expected)


def test_exported_regions_come_back_as_their_suggested_class(tmp_path: Path) -> None:
    data = make_data(images=6)
    source = write_source(tmp_path / "a.zarr", data, ids=[f"scene_{i}" for i in range(6)])
    out = tmp_path / "run"
    assert run_cli("run", "--source", source, "--out", out, "--regions.min_area", 1) == 0
    flags = ("--log-format", "quiet")
    assert exit_code("export", "cvat", out, "--out", tmp_path / "cvat", *flags) == 0
    for i in range(6):
        save_image(tmp_path / "images" / f"scene_{i}.png", np.zeros((H, W, 3), np.uint8))
    exit_code(
        *("ingest", "--labels", tmp_path / "cvat/annotations.xml", "--images", tmp_path / "images"),
        *("--out", tmp_path / "new.zarr", "--executor", "serial", *flags),
    )
    planes = planes_by_id(tmp_path / "new.zarr")
    rows = [row for row in read_rows(out, "regions") if row["image_id"] in planes]
    assert rows
    for row in rows:
        runs = {"size": [row["height"], row["width"]], "counts": [int(count) for count in row["rle"]]}
        mask = coco.decode(coco.frPyObjects(runs, row["height"], row["width"])).astype(bool)
        assert (planes[row["image_id"]][mask] == row["suggested"]).all()


# ----------------------------------------------------------------------------------------------------------- LabelMe


def write_labelme(folder: Path, name: str, *shapes: dict[str, Any]) -> Path:
    tree = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imageHeight": H, "imageWidth": W}
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(tree))
    return folder


def test_labelme_shapes_are_drawn_in_order(tmp_path: Path, images: Path) -> None:
    rectangle = {"label": "sofa", "shape_type": "rectangle", "points": [[1, 1], [5, 4]]}
    polygon = {"label": "cat", "shape_type": "polygon", "points": [[2, 2], [4, 2], [4, 3], [2, 3]]}
    line = {"label": "cat", "shape_type": "line", "points": [[0, 0], [9, 7]]}
    circle = {"label": "cat", "shape_type": "circle", "points": [[5, 4], [8, 4]]}
    labels = write_labelme(tmp_path / "labels", "a", rectangle, polygon, line)
    write_labelme(labels, "b", circle)
    planes = ingest(labels, images)
    expected = square(1)
    expected[2:3, 2:4] = 0
    np.testing.assert_array_equal(planes["a"], expected)
    assert class_names(labels) == ["cat", "sofa"]
    y, x = np.nonzero(planes["b"] == 0)
    assert (np.hypot(y + 0.5 - 4, x + 0.5 - 5) <= 3.3).all()
    assert 24 <= len(y) <= 32, "the area of the circle is 28"


def test_labelme_beside_its_images_is_recognized(tmp_path: Path, images: Path) -> None:
    square_shape = {"label": "cat", "points": np.reshape(SQUARE, (-1, 2)).tolist()}
    for name in "ab":
        write_labelme(images, name, square_shape)
    planes = ingest(images, images, "--background", "floor")
    np.testing.assert_array_equal(planes["b"], square(1, 0))


def test_json_files_of_other_programs_are_no_labels(tmp_path: Path, images: Path) -> None:
    for name in "ab":
        save_image(tmp_path / "labels" / f"{name}.png", square(1, 0))
    for text in ("{", '{"objects": []}'):
        (tmp_path / "labels" / "a.json").write_text(text)
        planes = ingest(tmp_path / "labels", images, "--classes", "cat,sofa", "--ignore", 255)
        np.testing.assert_array_equal(planes["a"], square(1, 0))


def test_quickstart_takes_annotations(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guess.py").write_text(
        "import numpy as np\n\n\nclass Guess:\n"
        "    def __init__(self, classes, ignored, seed):\n        self.classes = classes\n\n"
        "    def fit(self, images, labels):\n        pass\n\n"
        "    def predict_proba(self, images):\n"
        "        return np.full((len(images), self.classes, *images.shape[1:3]), 1 / self.classes, np.float32)\n"
    )
    for name in "ab":
        write_labelme(tmp_path / "labels", name, {"label": "cat", "points": [[1, 1], [5, 1], [5, 4]]})
    flags = ("--background", "floor", "--trainer", "guess:Guess", "--executor", "serial", "--log-format", "quiet")
    assert exit_code("quickstart", "--labels", "labels", "--images", "images", *flags) == 0
    assert len(read_rows(tmp_path / "quickstart-run/results")) == 2


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"image_id": 7, "category_id": 5, "segmentation": []}, r"is not a COCO annotation of instances .*KeyError: 5"),
        ({"image_id": 9, "category_id": 3, "segmentation": []}, r"is not a COCO annotation of instances .*KeyError: 9"),
        ({"image_id": 7, "category_id": 3}, "KeyError: 'segmentation'"),
    ],
)
def test_damaged_coco_is_refused(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str], annotation: dict[str, Any], message: str
) -> None:
    labels = write_coco(tmp_path / "a.json", [annotation])
    assert_ingest_fails(message, capsys, "--labels", labels, "--images", images, "--out", tmp_path / "new.zarr")


def test_annotations_and_options_of_pixels_are_refused(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = '<box label="cat" xtl="1" ytl="1" xbr="5" ybr="4"></box>'
    labels = write_cvat(tmp_path / "annotations.xml", shape)
    args = ("--labels", labels, "--images", images, "--out", tmp_path / "new.zarr")
    assert_ingest_fails("remap is set, but the labels are annotations", capsys, *args, "--remap", "7:0")
    assert_ingest_fails("ignore is set, but the labels are annotations", capsys, *args, "--ignore", "255")
    message = "has a shape of 'cat', which is not one of the classes dog, sofa"
    assert_ingest_fails(message, capsys, *args, "--classes", "dog,sofa")
    message = "background is 'floor', which is not one of the classes cat, sofa"
    assert_ingest_fails(message, capsys, *args, "--classes", "cat,sofa", "--background", "floor")
    save_image(tmp_path / "labels" / "a.png", np.zeros((H, W), np.uint8))
    args = ("--labels", tmp_path / "labels", *args[2:], "--background", "floor")
    assert_ingest_fails("background is 'floor', but the labels are pixels", capsys, *args)


def test_damaged_xml_and_json_are_refused(tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--images", images, "--out", tmp_path / "new.zarr")
    (tmp_path / "a.xml").write_text("<annotations>")
    assert_ingest_fails("a.xml is not an export of `CVAT for images", capsys, "--labels", tmp_path / "a.xml", *args)
    labels = write_labelme(tmp_path / "labels", "a", {"label": "cat", "shape_type": "mask", "points": [[0, 0]]})
    assert_ingest_fails("shapes of type 'mask' are not supported", capsys, "--labels", labels, *args)
