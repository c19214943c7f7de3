"""COCO export, read by pycocotools and Datumaro: pixels, classes and attributes equal the region table."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from review.export.helpers import PADDED, ExportedRun, decode_mask, export, read_with_tool
from support.results import read_files

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def open_coco(out: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(out / "annotations/instances_default.json"))


def test_pycocotools_reads_all_regions(run: ExportedRun, tmp_path: Path) -> None:
    assert export("coco", run.out, tmp_path / "x") == 0
    data = open_coco(tmp_path / "x")
    assert [category["name"] for category in data.loadCats(data.getCatIds())] == list(run.classes)
    assert list(data.anns) == list(run.regions)
    for rank, annotation in data.anns.items():
        expected = run.regions[rank]
        image = data.imgs[annotation["image_id"]]
        np.testing.assert_array_equal(data.annToMask(annotation).astype(bool), expected.mask)
        assert data.cats[annotation["category_id"]]["name"] == expected.row["suggested_name"]
        assert annotation["attributes"] == expected.attributes
        assert annotation["score"] == expected.row["mean_predicted_confidence"]
        assert (annotation["area"], annotation["iscrowd"]) == (expected.mask.sum(), 0)
        x, y, width, height = annotation["bbox"]
        assert expected.mask[y : y + height, x : x + width].sum() == annotation["area"]
        assert {name: image["attributes"][name] for name in ("image_id", "source", "index")} == {
            name: expected.row[name] for name in ("image_id", "source", "index")
        }
        assert (image["height"], image["width"]) == expected.mask.shape


def test_images_are_ordered_and_equal_the_source(run: ExportedRun, tmp_path: Path) -> None:
    assert export("coco", run.out, tmp_path / "x") == 0
    images = list(open_coco(tmp_path / "x").imgs.values())
    assert [(image["attributes"]["source"], image["attributes"]["index"]) for image in images] == run.ordered_images()
    assert [image["id"] for image in images] == list(range(1, len(images) + 1))
    assert len({image["file_name"] for image in images}) == len(images)
    for image in images:
        file, stored = tmp_path / "x/images" / image["file_name"], run.rgb_images[image["attributes"]["source"]]
        if stored is None:
            assert not file.exists()
        else:
            expected = stored[image["attributes"]["index"], : image["height"], : image["width"]]
            np.testing.assert_array_equal(np.asarray(Image.open(file)), expected)
    assert PADDED in {(image["height"], image["width"]) for image in images}


def test_datumaro_reads_all_regions(run: ExportedRun, tmp_path: Path) -> None:
    assert export("coco", run.out, tmp_path / "x") == 0
    content = read_with_tool("datumaro", tmp_path / "x", "coco")
    names = {image["id"]: image["file_name"] for image in open_coco(tmp_path / "x").imgs.values()}
    assert content["labels"] == list(run.classes)
    assert len(content["items"]) == len(names)
    regions = {}
    for item in content["items"]:
        assert names[item["attributes"]["id"]] == f"{item['id']}.png"
        for region in item["regions"]:
            regions[region["id"]] = region
    assert sorted(regions) == list(run.regions)
    for rank, expected in run.regions.items():
        np.testing.assert_array_equal(decode_mask(regions[rank]["mask"]), expected.mask)
        assert regions[rank]["label"] == expected.row["suggested_name"]
        attributes = regions[rank]["attributes"]
        assert {name: attributes[name] for name in expected.attributes} == expected.attributes
        assert attributes["score"] == expected.row["mean_predicted_confidence"]


def test_255_classes_are_supported(run_255_classes: ExportedRun, tmp_path: Path) -> None:
    assert export("coco", run_255_classes.out, tmp_path / "x") == 0
    data = open_coco(tmp_path / "x")
    assert [category["name"] for category in data.loadCats(data.getCatIds())] == list(run_255_classes.classes)
    for rank, annotation in data.anns.items():
        assert data.cats[annotation["category_id"]]["name"] == run_255_classes.regions[rank].row["suggested_name"]


def test_export_without_regions_has_no_images(
    run: ExportedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("coco", run.out, tmp_path / "x", "--min-evidence", "1e9") == 0
    data = open_coco(tmp_path / "x")
    assert (data.imgs, data.anns, len(data.cats)) == ({}, {}, len(run.classes))
    assert capsys.readouterr().out == f"coco: 0 regions of 0 images, 0 pictures: {tmp_path / 'x'}\n"
    assert read_with_tool("datumaro", tmp_path / "x", "coco")["items"] == []


@pytest.mark.parametrize("args", [("--pictures", "false"), ("--arrays.images", "photos")])
def test_annotations_are_equal_without_rgb_images(run: ExportedRun, tmp_path: Path, args: tuple[str, str]) -> None:
    assert export("coco", run.out, tmp_path / "x") == 0
    assert export("coco", run.out, tmp_path / "y", *args) == 0
    with_images, without_images = read_files(tmp_path / "x"), read_files(tmp_path / "y")
    assert set(without_images) == {
        "annotations/instances_default.json",
        "export.json",
        "images.csv",
        "images/README.txt",
    }
    name = "annotations/instances_default.json"
    assert without_images[name] == with_images[name]


def test_file_is_standard_json(run: ExportedRun, tmp_path: Path) -> None:
    assert export("coco", run.out, tmp_path / "x") == 0

    def reject_constant(text: str) -> Any:
        raise AssertionError(f"{text} is not standard JSON")

    tree = json.loads((tmp_path / "x/annotations/instances_default.json").read_text(), parse_constant=reject_constant)
    assert set(tree) == {"info", "licenses", "categories", "images", "annotations"}
    assert all(isinstance(annotation["segmentation"]["counts"], str) for annotation in tree["annotations"])
