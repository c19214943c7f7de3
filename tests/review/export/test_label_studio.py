"""Export for Label Studio, read by its SDK: brush masks, labeling interface and tasks."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from masksift.review.export.config import LabelStudioConfig
from masksift.review.export.label_studio import _images_prefix
from masksift.review.file_names import xml_safe
from masksift.review.rendering.palette import class_colors, hex_colors
from review.export.helpers import ExportedRun, decode_mask, expected_attributes, export, read_with_tool


def read_tasks(out: Path) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = json.loads((out / "tasks.json").read_text())
    return tasks


def read_results(out: Path) -> dict[int, dict[str, Any]]:
    """Results (regions) of all tasks by rank."""
    return {result["meta"]["rank"]: result for task in read_tasks(out) for result in task["predictions"][0]["result"]}


def test_label_studio_decoder_restores_masks(run: ExportedRun, tmp_path: Path) -> None:
    assert export("label-studio", run.out, tmp_path / "x") == 0
    content = read_with_tool("label_studio", tmp_path / "x")
    assert content["labels"] == list(xml_safe(run.classes))
    assert all(content["valid"])
    assert len(content["regions"]) == len(run.regions)
    for region in content["regions"]:
        expected = run.regions[int(region["id"].removeprefix("region-"))]
        np.testing.assert_array_equal(decode_mask(region["mask"]), expected.mask)
        assert set(region["values"]) <= {0, 255}
        assert region["channels_equal"], "all four channels are equal"
        assert region["encoding_equal"], "Label Studio's encoder returns the same bits"


def test_region_has_attributes_and_text(run: ExportedRun, tmp_path: Path) -> None:
    assert export("label-studio", run.out, tmp_path / "x") == 0
    expected, results = expected_attributes(run, xml_safe(run.classes)), read_results(tmp_path / "x")
    assert sorted(results) == list(expected)
    for rank, result in results.items():
        attributes = {name: value for name, value in result["meta"].items() if name != "text"}
        assert attributes == expected[rank]
        assert result["value"]["brushlabels"] == [expected[rank]["suggested"]]
        assert (result["original_height"], result["original_width"]) == run.regions[rank].mask.shape
        assert expected[rank]["suggested"] in result["meta"]["text"][0]
    assert results[7]["meta"]["text"][0].startswith("no label, suggested ground")
    assert len({result["id"] for result in results.values()}) == len(results)


def test_tasks_are_ordered_images_with_scores(run: ExportedRun, tmp_path: Path) -> None:
    assert export("label-studio", run.out, tmp_path / "x") == 0
    tasks = read_tasks(tmp_path / "x")
    assert [(task["data"]["source"], task["data"]["index"]) for task in tasks] == run.ordered_images()
    assert all(0 <= task["data"]["softmin"] <= 1 for task in tasks)
    assert all(task["data"]["image"].startswith("/data/local-files/?d=x/images/") for task in tasks)


def test_task_without_rgb_image_shows_colored_labels(run: ExportedRun, tmp_path: Path) -> None:
    assert export("label-studio", run.out, tmp_path / "x") == 0
    palette = np.concatenate([class_colors(4), np.zeros((252, 3), np.uint8)])
    for task in read_tasks(tmp_path / "x"):
        source, index = task["data"]["source"], task["data"]["index"]
        name = task["data"]["image"].rsplit("?d=x/", 1)[1]

        image = np.asarray(Image.open(tmp_path / "x" / unquote(name)))
        stored, size = run.rgb_images[source], image.shape[:2]
        expected = palette[run.labels[source][index]] if stored is None else stored[index]
        np.testing.assert_array_equal(image, expected[: size[0], : size[1]])


def test_interface_has_a_colored_label_per_class(run: ExportedRun, tmp_path: Path) -> None:
    assert export("label-studio", run.out, tmp_path / "x") == 0
    root = ET.parse(tmp_path / "x/label_config.xml").getroot()
    labels = [(label.attrib["value"], label.attrib["background"]) for label in root.iter("Label")]
    assert labels == list(zip(xml_safe(run.classes), hex_colors(4), strict=True))
    (brush,), (image,) = root.iter("BrushLabels"), root.iter("Image")
    result = read_results(tmp_path / "x")[1]
    assert (result["from_name"], result["to_name"]) == (brush.attrib["name"], image.attrib["name"])


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
    args = ("--pictures", "false", "--images_at", "https://host/seg")
    assert export("label-studio", run.out, tmp_path / "x", *args) == 0
    assert {path.name for path in (tmp_path / "x").iterdir()} == {
        "tasks.json",
        "label_config.xml",
        "export.json",
        "images.csv",
    }
    assert all(task["data"]["image"].startswith("https://host/seg/images/") for task in read_tasks(tmp_path / "x"))


def test_export_without_regions_has_no_tasks(run: ExportedRun, tmp_path: Path) -> None:
    assert export("label-studio", run.out, tmp_path / "x", "--min_area", 1000) == 0
    assert read_tasks(tmp_path / "x") == []
    assert read_with_tool("label_studio", tmp_path / "x") == {
        "regions": [],
        "labels": list(xml_safe(run.classes)),
        "valid": [],
    }


def test_255_classes_are_supported(run_255_classes: ExportedRun, tmp_path: Path) -> None:
    assert export("label-studio", run_255_classes.out, tmp_path / "x") == 0
    content = read_with_tool("label_studio", tmp_path / "x")
    assert content["labels"] == list(run_255_classes.classes)
    assert all(content["valid"])
    for rank, result in read_results(tmp_path / "x").items():
        assert result["value"]["brushlabels"] == [run_255_classes.regions[rank].row["suggested_name"]]
