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
from masksift.annotations import cvat_xml as cvat_xml_module
from masksift.review.export.run_length import label_studio_rle
from prepare.ingest.helpers import assert_ingest_fails, save_image
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


def test_yolo_images_of_one_name_in_two_subsets_match_by_path(yolo: Path, tmp_path: Path) -> None:
    for subset in ("train", "val"):
        (yolo.parent / subset).mkdir(exist_ok=True)
        (yolo.parent / subset / "a.txt").write_text(f"{int(subset == 'val')} {SQUARE}\n")
        save_image(tmp_path / "images" / subset / "a.png", np.zeros((H, W, 3), np.uint8))
    (yolo / "b.txt").unlink()
    (tmp_path / "autosplit_train.txt").write_text("./images/train/a.png\n")
    planes = ingest(tmp_path, tmp_path / "images")
    np.testing.assert_array_equal([planes["train/a"], planes["val/a"]], [square(0), square(1)])


def test_yolo_empty_line_of_classes_has_a_number(yolo: Path, images: Path) -> None:
    (yolo / "classes.txt").write_text("car\n\ntree\n\n")
    ingest(yolo, images)
    assert class_names(yolo) == ["car", "class 1", "tree"]


def test_yolo_names_that_are_not_text_are_no_names(
    yolo: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nested aliases of YAML: a short file that is long to print."""
    nested = "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 12))
    (yolo.parents[1] / "data.yaml").write_text(f"x0: &x0 [a, a]\n{nested}names: [*x11, tree]\n")
    args = ("--labels", yolo, "--images", images, "--out", yolo.parent / "new.zarr")
    assert_ingest_fails("Pass --classes in the order of the class numbers", capsys, *args)


def test_yolo_next_to_other_labels_is_refused(yolo: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_image(yolo / "a.png", square(1, 0))
    args = ("--labels", yolo, "--images", images, "--out", yolo.parent / "new.zarr")
    assert_ingest_fails(r"holds labels of YOLO \(a.txt\) and masks \(a.png\)", capsys, *args)
    planes = ingest(yolo / "*.txt", images, "--classes", "car,tree")
    np.testing.assert_array_equal(planes["a"][3, 1:5], np.full(4, 1))


def test_labels_of_two_tools_in_one_directory_are_refused(
    yolo: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (yolo / "a.json").write_text(json.dumps({"shapes": [], "imageHeight": H, "imageWidth": W}))
    args = ("--labels", yolo, "--images", images, "--out", yolo.parent / "new.zarr")
    assert_ingest_fails(r"holds labels of LabelMe \(a.json\) and YOLO \(a.txt\)", capsys, *args)


def test_yolo_next_to_its_images_is_recognized(yolo: Path, images: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (yolo / name).rename(images / name)
    planes = ingest(images, images, "--classes", "car,tree")
    np.testing.assert_array_equal(planes["a"][1, 1:5], [0, 0, 1, 1])


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


def test_supervisely_polygon_covers_its_outline_and_its_hole_does_not(tmp_path: Path, images: Path) -> None:
    """Pixels of OpenCV's `fillPoly`, with which Supervisely draws."""
    points = {"exterior": [[1, 1], [8, 2], [5, 6], [1, 5]], "interior": [[[3, 3], [5, 3], [4, 4]]]}
    entry = {"classTitle": "tree", "geometryType": "polygon", "points": points}
    planes = ingest(write_supervisely(tmp_path / "project", entry), images, code=3)
    expected = [
        "..........",
        ".####.....",
        ".########.",
        ".##...##..",
        ".###.##...",
        ".######...",
        "....##....",
        "..........",
    ]
    (plane,) = planes.values()
    assert ["".join(".#"[value == 1] for value in row) for row in plane.tolist()] == expected


def test_supervisely_images_of_one_name_in_two_data_sets_match_by_path(tmp_path: Path) -> None:
    project = tmp_path / "project"
    box = {"geometryType": "rectangle", "points": {"exterior": [[4, 3], [1, 1]], "interior": []}}
    write_supervisely(project, {"classTitle": "tree", **box})
    tree = {"size": {"height": H, "width": W}, "objects": [{"classTitle": "car", **box}]}
    (project / "other/ann").mkdir(parents=True)
    for name in ("ds/ann/b", "other/ann/a", "other/ann/b"):
        (project / f"{name}.png.json").write_text(json.dumps(tree))
    for name in ("ds/img/a", "ds/img/b", "other/img/a", "other/img/b"):
        save_image(project / f"{name}.png", np.zeros((H, W, 3), np.uint8))
    planes = ingest(project, project)
    np.testing.assert_array_equal([planes["ds/img/a"], planes["other/img/a"]], [square(1), square(0)])


def test_supervisely_polygon_far_outside_is_refused(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = {"exterior": [[0, 0], [1e300, 0], [5, 6]], "interior": []}
    entry = {"classTitle": "tree", "geometryType": "polygon", "points": points}
    args = ("--labels", write_supervisely(tmp_path / "project", entry), "--images", images)
    assert_ingest_fails("far outside of the image", capsys, *args, "--out", tmp_path / "new.zarr")


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


def test_datumaro_items_of_one_name_in_two_subsets_take_the_size_of_their_images(tmp_path: Path) -> None:
    categories = {"label": {"labels": [{"name": "car"}, {"name": "tree"}]}}
    (tmp_path / "project/annotations").mkdir(parents=True)
    for k, subset in enumerate(("train", "val")):
        box = {"type": "bbox", "label_id": k, "bbox": [1, 1, 4, 3]}
        tree = {"categories": categories, "items": [{"id": "a", "annotations": [box], "image": {"path": "a.png"}}]}
        (tmp_path / f"project/annotations/{subset}.json").write_text(json.dumps(tree))
        save_image(tmp_path / "project/images" / subset / "a.png", np.zeros((H, W, 3), np.uint8))
    planes = ingest(tmp_path / "project", tmp_path / "project/images")
    np.testing.assert_array_equal([planes["train/a"], planes["val/a"]], [square(0), square(1)])


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


def test_cvat_unpacked_archive_is_read(tmp_path: Path, images: Path) -> None:
    (tmp_path / "download").mkdir()
    images = images.rename(tmp_path / "download/images")
    (tmp_path / "download/annotations.xml").write_text(cvat_xml(("", "a.png"), ("", "b.png")))
    planes = ingest(tmp_path / "download", images)
    np.testing.assert_array_equal([planes["a"], planes["b"]], [square(1)] * 2)


def test_cvat_file_that_is_too_large_for_the_memory_is_refused(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cvat_xml_module, "MAX_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", cvat_xml(("", "a.png")) + " " * 1000)
    args = ("--labels", tmp_path / "x.zip", "--images", images, "--out", tmp_path / "new.zarr")
    assert_ingest_fails(r"annotations.xml has 1,\d+ bytes, more than 1,000", capsys, *args)


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


def test_label_map_without_colors_is_refused(tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_image(tmp_path / "voc/SegmentationClass/a.png", square(1, other=0))
    (tmp_path / "voc/labelmap.txt").write_text("background:::\ncar:::\n")
    args = ("--labels", tmp_path / "voc", "--images", images, "--out", tmp_path / "new.zarr")
    assert_ingest_fails("labelmap.txt has the line 'background:::', which is not a name and a color", capsys, *args)
