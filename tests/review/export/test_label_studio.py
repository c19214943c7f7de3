"""Label Studio: its own decoder finds every pixel, its own reader of interfaces every class, the tasks every fact."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from masksift.review.export.config import LabelStudioConfig
from masksift.review.export.file_names import xml_safe
from masksift.review.export.label_studio import _images_prefix
from masksift.review.rendering.palette import class_colors, hex_colors
from review.export.helpers import ExportedRun, decode_mask, expected_attributes, export, read_with_tool


def tasks(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / "tasks.json").read_text())
    return found


def results(out: Path) -> dict[int, dict[str, Any]]:
    """Every region by its rank."""
    return {one["meta"]["rank"]: one for task in tasks(out) for one in task["predictions"][0]["result"]}


def test_label_studio_decoder_restores_masks(run: ExportedRun, tmp_path: Path) -> None:
    assert export("label-studio", run.out, tmp_path / "x") == 0
    found = read_with_tool("label_studio", tmp_path / "x")
    assert found["labels"] == list(xml_safe(run.classes))
    assert all(found["valid"])
    assert len(found["regions"]) == len(run.regions)
    for one in found["regions"]:
        known = run.regions[int(one["id"].removeprefix("region-"))]
        np.testing.assert_array_equal(decode_mask(one["mask"]), known.mask)
        assert set(one["values"]) <= {0, 255}
        assert one["alike"], "all four channels say the same"
        assert one["again"], "Label Studio's own encoder says the same, bit for bit"


def test_region_has_attributes_and_text(run: ExportedRun, tmp_path: Path) -> None:
    assert export("label-studio", run.out, tmp_path / "x") == 0
    known, found = expected_attributes(run, xml_safe(run.classes)), results(tmp_path / "x")
    assert sorted(found) == list(known)
    for rank, one in found.items():
        told = {name: value for name, value in one["meta"].items() if name != "text"}
        assert told == known[rank]
        assert one["value"]["brushlabels"] == [known[rank]["suggested"]]
        assert (one["original_height"], one["original_width"]) == run.regions[rank].mask.shape
        assert known[rank]["suggested"] in one["meta"]["text"][0]
    assert found[7]["meta"]["text"][0].startswith("no label, suggested ground")
    assert len({one["id"] for one in found.values()}) == len(found)


def test_tasks_are_ordered_images_with_scores(run: ExportedRun, tmp_path: Path) -> None:
    assert export("label-studio", run.out, tmp_path / "x") == 0
    found = tasks(tmp_path / "x")
    assert [(task["data"]["source"], task["data"]["index"]) for task in found] == run.ordered_images()
    assert all(0 <= task["data"]["softmin"] <= 1 for task in found)
    assert all(task["data"]["image"].startswith("/data/local-files/?d=x/images/") for task in found)


def test_task_without_rgb_image_shows_colored_labels(run: ExportedRun, tmp_path: Path) -> None:
    assert export("label-studio", run.out, tmp_path / "x") == 0
    paint = np.concatenate([class_colors(4), np.zeros((252, 3), np.uint8)])
    for task in tasks(tmp_path / "x"):
        source, index = task["data"]["source"], task["data"]["index"]
        name = task["data"]["image"].rsplit("?d=x/", 1)[1]
        from urllib.parse import unquote

        picture = np.asarray(Image.open(tmp_path / "x" / unquote(name)))
        stored, size = run.pictures[source], picture.shape[:2]
        wanted = paint[run.labels[source][index]] if stored is None else stored[index]
        np.testing.assert_array_equal(picture, wanted[: size[0], : size[1]])


def test_interface_has_a_colored_label_per_class(run: ExportedRun, tmp_path: Path) -> None:
    assert export("label-studio", run.out, tmp_path / "x") == 0
    root = ET.parse(tmp_path / "x/label_config.xml").getroot()
    labels = [(one.attrib["value"], one.attrib["background"]) for one in root.iter("Label")]
    assert labels == list(zip(xml_safe(run.classes), hex_colors(4), strict=True))
    (brush,), (image,) = root.iter("BrushLabels"), root.iter("Image")
    one = results(tmp_path / "x")[1]
    assert (one["from_name"], one["to_name"]) == (brush.attrib["name"], image.attrib["name"])


@pytest.mark.parametrize(
    ("out", "images_at", "prefix"),
    [
        ("/data/seg/to review", None, "/data/local-files/?d=to%20review/"),
        ("s3://lake/seg/x/", None, "s3://lake/seg/x/"),
        ("s3://lake/seg/x", None, "s3://lake/seg/x/"),
        ("/data/x", "http://host:8000/x", "http://host:8000/x/"),
        ("/data/x", "/data/local-files/?d=", "/data/local-files/?d="),
    ],
)
def test_image_urls_follow_out_or_images_at(out: str, images_at: str | None, prefix: str) -> None:
    assert _images_prefix(LabelStudioConfig(run="r", out=out, images_at=images_at)) == prefix


def test_images_elsewhere_are_referenced_only(run: ExportedRun, tmp_path: Path) -> None:
    words = ("--pictures", "false", "--images_at", "https://host/seg")
    assert export("label-studio", run.out, tmp_path / "x", *words) == 0
    assert {path.name for path in (tmp_path / "x").iterdir()} == {"tasks.json", "label_config.xml", "export.json"}
    assert all(task["data"]["image"].startswith("https://host/seg/images/") for task in tasks(tmp_path / "x"))


def test_export_without_regions_has_no_tasks(run: ExportedRun, tmp_path: Path) -> None:
    assert export("label-studio", run.out, tmp_path / "x", "--min_area", 1000) == 0
    assert tasks(tmp_path / "x") == []
    assert read_with_tool("label_studio", tmp_path / "x") == {
        "regions": [],
        "labels": list(xml_safe(run.classes)),
        "valid": [],
    }


def test_255_classes_are_supported(run_255_classes: ExportedRun, tmp_path: Path) -> None:
    assert export("label-studio", run_255_classes.out, tmp_path / "x") == 0
    found = read_with_tool("label_studio", tmp_path / "x")
    assert found["labels"] == list(run_255_classes.classes)
    assert all(found["valid"])
    for rank, one in results(tmp_path / "x").items():
        assert one["value"]["brushlabels"] == [run_255_classes.regions[rank].row["suggested_name"]]
