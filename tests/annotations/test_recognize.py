"""Annotations of tools as labels of an ingest: YOLO, Supervisely, Label Studio, Datumaro, CVAT projects."""

from __future__ import annotations

import base64
import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annotations.helpers import H, W, class_names, ingest, square
from masksift.review.export.run_length import label_studio_rle
from prepare.ingest.helpers import assert_ingest_fails
from support.datasets import Array

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools

SQUARE = "0.1 0.125 0.5 0.125 0.5 0.5 0.1 0.5"
"""Rows 1 to 3 and columns 1 to 4 of an image of 8 x 10, as shares."""


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """Data set of Ultralytics: an image with two objects, and one without."""
    labels = tmp_path / "labels/train"
    labels.mkdir(parents=True)
    (labels / "a.txt").write_text(f"1 {SQUARE}\n0 0.2 0.25 0.2 0.25\n")
    (labels / "b.txt").write_text("")
    (tmp_path / "data.yaml").write_text("train: images/train\nnc: 2\nnames:\n  0: car\n  1: tree\n")
    return labels


def test_yolo_polygons_and_boxes_are_drawn_in_the_order_of_their_lines(yolo: Path, images: Path) -> None:
    planes = ingest(yolo, images, "--background", "background")
    expected = square(2, other=0)
    expected[1:3, 1:3] = 1
    np.testing.assert_array_equal(planes["a"], expected)
    assert not planes["b"].any()
    assert class_names(yolo) == ["background", "car", "tree"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("classes.txt", "car\ntree\n"), ("data.yaml", "names: [car, 'tree']\n"), ("data.yaml", "names:\n- car\n- tree\n")],
)
def test_yolo_classes_are_named_by_files_above_the_labels(
    name: str,
    text: str,
    yolo: Path,
    images: Path,
) -> None:
    (yolo.parents[1] / "data.yaml").unlink()
    (yolo.parents[1] / name).write_text(text)
    ingest(yolo, images)
    assert class_names(yolo) == ["car", "tree"]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("0 0.1 0.2 0.3", r"Line 1 of \S+b.txt is not an object of YOLO"),
        ("7 0 0 1 1", "objects of class 7, but there are 2"),
    ],
)
def test_yolo_line_that_is_no_object_is_refused(
    line: str,
    match: str,
    yolo: Path,
    images: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (yolo / "b.txt").write_text(f"{line}\n")
    assert_ingest_fails(match, capsys, "--labels", yolo, "--images", images, "--out", yolo.parent / "new.zarr")


def test_yolo_without_class_names_is_refused(
    yolo: Path,
    images: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (yolo.parents[1] / "data.yaml").unlink()
    args = ("--labels", yolo, "--images", images, "--out", yolo.parent / "new.zarr")
    assert_ingest_fails("Pass --classes in the order of the class numbers", capsys, *args)


def bitmap(mask: Array, mode: str) -> str:
    """Mask as Supervisely stores it: a PNG, compressed and in base64."""
    pixels = Image.fromarray(mask.astype(np.uint8) * 255)
    if mode == "RGBA":
        pixels = Image.merge("RGBA", [pixels, pixels, pixels, pixels])
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG")
    return base64.b64encode(zlib.compress(buffer.getvalue())).decode()


def write_supervisely(directory: Path, *objects: dict[str, Any]) -> Path:
    (directory / "ds/ann").mkdir(parents=True)
    meta = {"classes": [{"title": name, "shape": "any"} for name in ("car", "tree")], "tags": []}
    (directory / "meta.json").write_text(json.dumps(meta))
    size = {"height": H, "width": W}
    (directory / "ds/ann/a.png.json").write_text(json.dumps({"size": size, "objects": list(objects), "tags": []}))
    return directory


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_supervisely_bitmap_covers_its_pixels(mode: str, tmp_path: Path, images: Path) -> None:
    mask = np.array([[1, 0, 1], [0, 1, 1]], bool)
    entry = {"classTitle": "tree", "geometryType": "bitmap", "bitmap": {"data": bitmap(mask, mode), "origin": [4, 2]}}
    planes = ingest(write_supervisely(tmp_path / "project", entry), images, code=3)
    expected = np.full((H, W), 255, np.uint8)
    expected[2:4, 4:7][mask] = 1
    np.testing.assert_array_equal(next(iter(planes.values())), expected)


def test_supervisely_shapes_are_drawn_in_order_with_their_holes(tmp_path: Path, images: Path) -> None:
    polygon = {"exterior": [[0, 0], [8, 0], [8, 6], [0, 6]], "interior": [[[3, 2], [5, 2], [5, 4], [3, 4]]]}
    rectangle = {"exterior": [[0, 0], [1, 1]], "interior": []}
    planes = ingest(
        write_supervisely(
            tmp_path / "project",
            {"classTitle": "tree", "geometryType": "polygon", "points": polygon},
            {"classTitle": "car", "geometryType": "rectangle", "points": rectangle},
            {"classTitle": "car", "geometryType": "point", "points": {"exterior": [[9, 7]]}},
        ),
        images,
        code=3,
    )
    (plane,) = planes.values()
    assert (plane[:2, :2] == 0).all()
    assert plane[1, 4] == plane[5, 7] == 1
    assert plane[3, 4] == 255, "a hole"
    assert plane[7, 9] == 255


def test_supervisely_bitmap_larger_than_its_image_is_refused(
    tmp_path: Path,
    images: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = bitmap(np.ones((H + 1, W), bool), "L")
    entry = {"classTitle": "tree", "geometryType": "bitmap", "bitmap": {"data": data, "origin": [0, 0]}}
    project = write_supervisely(tmp_path / "project", entry)
    args = ("--labels", project, "--images", images, "--out", tmp_path / "new.zarr")
    assert_ingest_fails("a bitmap has 9 x 10 pixels, its image 8 x 10", capsys, *args)


def test_label_studio_export_is_drawn_and_unannotated_tasks_are_left_out(
    tmp_path: Path,
    images: Path,
) -> None:
    mask = np.zeros((H, W), bool)
    mask[1:4, 1:5] = True
    value = {"format": "rle", "rle": label_studio_rle(mask, (0, 0), mask.shape), "brushlabels": ["tree"]}
    result = {"original_width": W, "original_height": H, "type": "brushlabels", "value": value}
    tasks = [
        {"data": {"image": "/data/upload/1/0a1b2c3d-a.png"}, "annotations": [{"result": [result]}]},
        {"data": {"image": "/data/upload/1/0a1b2c3e-b.png"}, "annotations": []},
    ]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    planes = ingest(tmp_path / "export.json", images, "--background", "ground", code=3)
    assert len(planes) == 1
    np.testing.assert_array_equal(next(iter(planes.values())), square(1, other=0))


def test_label_studio_annotation_without_shapes_is_all_background(tmp_path: Path, images: Path) -> None:
    box = {"x": 10, "y": 12.5, "width": 40, "height": 37.5, "rectanglelabels": ["tree"]}
    result = {"original_width": W, "original_height": H, "value": box}
    tasks = [
        {"data": {"image": "s3://bucket/a.png"}, "annotations": [{"result": [result]}]},
        {"data": {"image": "s3://bucket/b.png"}, "annotations": [{"result": []}]},
    ]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    planes = ingest(tmp_path / "export.json", images, "--background", "ground")
    np.testing.assert_array_equal(planes["a"], square(1, other=0))
    assert not planes["b"].any()


@pytest.mark.parametrize("labels", ["project", "project/annotations/default.json"])
def test_datumaro_items_are_drawn_by_their_z_order(labels: str, tmp_path: Path, images: Path) -> None:
    annotations = [
        {"type": "polygon", "label_id": 0, "points": [1, 1, 5, 1, 5, 4, 1, 4], "z_order": 1},
        {"type": "bbox", "label_id": 1, "bbox": [0, 0, W, H], "z_order": 0},
        {"type": "points", "label_id": 1, "points": [1, 1], "z_order": 2},
    ]
    tree = {
        "infos": {},
        "categories": {"label": {"labels": [{"name": "car"}, {"name": "tree"}]}},
        "items": [{"id": "a", "annotations": annotations, "image": {"path": "a.png", "size": [H, W]}}],
    }
    (tmp_path / "project/annotations").mkdir(parents=True)
    (tmp_path / "project/annotations/default.json").write_text(json.dumps(tree))
    planes = ingest(tmp_path / labels, images, code=3)
    np.testing.assert_array_equal(planes["a"], square(0, other=1))


def cvat_xml(*names: tuple[str, str]) -> str:
    box = '<box label="tree" xtl="1" ytl="1" xbr="5" ybr="4"></box>'
    entries = "".join(
        f'<image id="{i}" name="{name}" subset="{subset}" width="{W}" height="{H}">{box}</image>'
        for i, (subset, name) in enumerate(names)
    )
    labels = "".join(f"<label><name>{name}</name></label>" for name in ("car", "tree"))
    return f"<annotations><meta><project><labels>{labels}</labels></project></meta>{entries}</annotations>"


def test_cvat_project_in_an_archive_is_read(tmp_path: Path, images: Path) -> None:
    with zipfile.ZipFile(tmp_path / "project.zip", "w") as archive:
        archive.writestr("annotations.xml", cvat_xml(("Train", "a.png"), ("Validation", "b.png")))
    planes = ingest(tmp_path / "project.zip", images)
    np.testing.assert_array_equal([planes["a"], planes["b"]], [square(1)] * 2)
    assert class_names(tmp_path / "project.zip") == ["car", "tree"]


def test_images_of_one_name_in_two_tasks_of_a_project_follow_their_subset(tmp_path: Path) -> None:
    for subset in ("Train", "Test"):
        (tmp_path / "images" / subset).mkdir(parents=True)
        Image.new("RGB", (W, H)).save(tmp_path / "images" / subset / "a.png")
    (tmp_path / "annotations.xml").write_text(cvat_xml(("Train", "a.png"), ("Test", "a.png")))
    assert sorted(ingest(tmp_path / "annotations.xml", tmp_path / "images")) == ["Test/a", "Train/a"]


def test_archive_without_annotations_is_refused(
    tmp_path: Path,
    images: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("labelmap.txt", "")
    args = ("--labels", tmp_path / "x.zip", "--images", images, "--out", tmp_path / "new.zarr")
    assert_ingest_fails("has no annotations.xml, but labelmap.txt", capsys, *args)


@pytest.mark.parametrize("mode", ["RGB", "P"])
@pytest.mark.parametrize("background", [False, True])
def test_cvat_masks_are_read_by_the_colors_of_their_label_map(
    mode: str, background: bool, tmp_path: Path, images: Path
) -> None:
    (tmp_path / "voc/SegmentationClass").mkdir(parents=True)
    (tmp_path / "voc/labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:9,9,200::\ntree:20,160,20::\n"
    )
    picture = Image.fromarray(square(1, other=0)[..., None] * np.array([20, 160, 20], np.uint8))
    for name in "ab":
        picture.convert(mode, palette=Image.Palette.ADAPTIVE, colors=2).save(
            tmp_path / f"voc/SegmentationClass/{name}.png"
        )
    planes = ingest(tmp_path / "voc", images, *(("--background", "ground") if background else ()))
    np.testing.assert_array_equal(planes["a"], square(2, other=0) if background else square(1))
