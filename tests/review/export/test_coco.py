"""COCO: read back by pycocotools and by Datumaro, every pixel, class and attribute is that of the table of regions."""

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


def opened(out: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(out / "annotations/instances_default.json"))


def test_pycocotools_reads_all_regions(run: ExportedRun, tmp_path: Path) -> None:
    assert export("coco", run.out, tmp_path / "x") == 0
    data = opened(tmp_path / "x")
    assert [one["name"] for one in data.loadCats(data.getCatIds())] == list(run.classes)
    assert list(data.anns) == list(run.regions)
    for rank, one in data.anns.items():
        known = run.regions[rank]
        image = data.imgs[one["image_id"]]
        np.testing.assert_array_equal(data.annToMask(one).astype(bool), known.mask)
        assert data.cats[one["category_id"]]["name"] == known.row["suggested_name"]
        assert one["attributes"] == known.attributes
        assert one["score"] == known.row["mean_predicted_confidence"]
        assert (one["area"], one["iscrowd"]) == (known.mask.sum(), 0)
        x, y, width, height = one["bbox"]
        assert known.mask[y : y + height, x : x + width].sum() == one["area"]
        assert {name: image["attributes"][name] for name in ("image_id", "source", "index")} == {
            name: known.row[name] for name in ("image_id", "source", "index")
        }
        assert (image["height"], image["width"]) == known.mask.shape


def test_images_are_ordered_and_equal_the_source(run: ExportedRun, tmp_path: Path) -> None:
    assert export("coco", run.out, tmp_path / "x") == 0
    images = list(opened(tmp_path / "x").imgs.values())
    assert [(one["attributes"]["source"], one["attributes"]["index"]) for one in images] == run.ordered_images()
    assert [one["id"] for one in images] == list(range(1, len(images) + 1))
    assert len({one["file_name"] for one in images}) == len(images)
    for one in images:
        place, stored = tmp_path / "x/images" / one["file_name"], run.pictures[one["attributes"]["source"]]
        if stored is None:
            assert not place.exists()
        else:
            own = stored[one["attributes"]["index"], : one["height"], : one["width"]]
            np.testing.assert_array_equal(np.asarray(Image.open(place)), own)
    assert PADDED in {(one["height"], one["width"]) for one in images}


def test_datumaro_reads_all_regions(run: ExportedRun, tmp_path: Path) -> None:
    assert export("coco", run.out, tmp_path / "x") == 0
    found = read_with_tool("datumaro", tmp_path / "x", "coco")
    names = {one["id"]: one["file_name"] for one in opened(tmp_path / "x").imgs.values()}
    assert found["labels"] == list(run.classes)
    assert len(found["items"]) == len(names)
    seen = {}
    for item in found["items"]:
        assert names[item["attributes"]["id"]] == f"{item['id']}.png"
        for one in item["regions"]:
            seen[one["id"]] = one
    assert sorted(seen) == list(run.regions)
    for rank, known in run.regions.items():
        np.testing.assert_array_equal(decode_mask(seen[rank]["mask"]), known.mask)
        assert seen[rank]["label"] == known.row["suggested_name"]
        told = seen[rank]["attributes"]
        assert {name: told[name] for name in known.attributes} == known.attributes
        assert told["score"] == known.row["mean_predicted_confidence"]


def test_255_classes_are_supported(run_255_classes: ExportedRun, tmp_path: Path) -> None:
    assert export("coco", run_255_classes.out, tmp_path / "x") == 0
    data = opened(tmp_path / "x")
    assert [one["name"] for one in data.loadCats(data.getCatIds())] == list(run_255_classes.classes)
    for rank, one in data.anns.items():
        assert data.cats[one["category_id"]]["name"] == run_255_classes.regions[rank].row["suggested_name"]


def test_export_without_regions_has_no_images(
    run: ExportedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("coco", run.out, tmp_path / "x", "--min-evidence", "1e9") == 0
    data = opened(tmp_path / "x")
    assert (data.imgs, data.anns, len(data.cats)) == ({}, {}, len(run.classes))
    assert capsys.readouterr().out == f"coco: 0 regions of 0 images, 0 pictures: {tmp_path / 'x'}\n"
    assert read_with_tool("datumaro", tmp_path / "x", "coco")["items"] == []


@pytest.mark.parametrize("words", [("--pictures", "false"), ("--arrays.images", "photos")])
def test_annotations_are_equal_without_rgb_images(run: ExportedRun, tmp_path: Path, words: tuple[str, str]) -> None:
    assert export("coco", run.out, tmp_path / "x") == 0
    assert export("coco", run.out, tmp_path / "y", *words) == 0
    found, bare = read_files(tmp_path / "x"), read_files(tmp_path / "y")
    assert set(bare) == {"annotations/instances_default.json", "export.json", "images/README.txt"}
    assert bare["annotations/instances_default.json"] == found["annotations/instances_default.json"]


def test_file_is_standard_json(run: ExportedRun, tmp_path: Path) -> None:
    assert export("coco", run.out, tmp_path / "x") == 0

    def refuse(text: str) -> Any:
        raise AssertionError(f"{text} is no JSON")

    tree = json.loads((tmp_path / "x/annotations/instances_default.json").read_text(), parse_constant=refuse)
    assert set(tree) == {"info", "licenses", "categories", "images", "annotations"}
    assert all(isinstance(one["segmentation"]["counts"], str) for one in tree["annotations"])
