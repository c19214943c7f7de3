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
from masksift.review.export.label_studio import _images_at
from masksift.review.rendering.palette import class_colors, hex_colors
from review.export.helpers import Made, export, of_classes, read, unpacked


def tasks(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / "tasks.json").read_text())
    return found


def results(out: Path) -> dict[int, dict[str, Any]]:
    """Every region by its rank."""
    return {one["meta"]["rank"]: one for task in tasks(out) for one in task["predictions"][0]["result"]}


def test_label_studios_decoder_finds_every_pixel(made: Made, tmp_path: Path) -> None:
    assert export("label-studio", made.out, tmp_path / "x") == 0
    found = read("label_studio", tmp_path / "x")
    assert found["labels"] == list(xml_safe(made.classes))
    assert all(found["valid"])
    assert len(found["regions"]) == len(made.regions)
    for one in found["regions"]:
        known = made.regions[int(one["id"].removeprefix("region-"))]
        np.testing.assert_array_equal(unpacked(one["mask"]), known.mask)
        assert set(one["values"]) <= {0, 255}
        assert one["alike"], "all four channels say the same"
        assert one["again"], "Label Studio's own encoder says the same, bit for bit"


def test_a_region_says_what_is_known_of_it(made: Made, tmp_path: Path) -> None:
    assert export("label-studio", made.out, tmp_path / "x") == 0
    known, found = of_classes(made, xml_safe(made.classes)), results(tmp_path / "x")
    assert sorted(found) == list(known)
    for rank, one in found.items():
        told = {name: value for name, value in one["meta"].items() if name != "text"}
        assert told == known[rank]
        assert one["value"]["brushlabels"] == [known[rank]["suggested"]]
        assert (one["original_height"], one["original_width"]) == made.regions[rank].mask.shape
        assert known[rank]["suggested"] in one["meta"]["text"][0]
    assert found[7]["meta"]["text"][0].startswith("no label, suggested ground")
    assert len({one["id"] for one in found.values()}) == len(found)


def test_a_task_is_an_image_in_order_with_its_scores(made: Made, tmp_path: Path) -> None:
    assert export("label-studio", made.out, tmp_path / "x") == 0
    found = tasks(tmp_path / "x")
    assert [(task["data"]["source"], task["data"]["index"]) for task in found] == made.first()
    assert all(0 <= task["data"]["softmin"] <= 1 for task in found)
    assert all(task["data"]["image"].startswith("/data/local-files/?d=x/images/") for task in found)


def test_every_task_has_a_picture_and_where_there_is_none_the_labels_are_drawn(made: Made, tmp_path: Path) -> None:
    assert export("label-studio", made.out, tmp_path / "x") == 0
    paint = np.concatenate([class_colors(4), np.zeros((252, 3), np.uint8)])
    for task in tasks(tmp_path / "x"):
        source, index = task["data"]["source"], task["data"]["index"]
        name = task["data"]["image"].rsplit("?d=x/", 1)[1]
        from urllib.parse import unquote

        picture = np.asarray(Image.open(tmp_path / "x" / unquote(name)))
        stored, size = made.pictures[source], picture.shape[:2]
        wanted = paint[made.labels[source][index]] if stored is None else stored[index]
        np.testing.assert_array_equal(picture, wanted[: size[0], : size[1]])


def test_the_interface_has_a_label_a_class_in_its_colour(made: Made, tmp_path: Path) -> None:
    assert export("label-studio", made.out, tmp_path / "x") == 0
    root = ET.parse(tmp_path / "x/label_config.xml").getroot()
    labels = [(one.attrib["value"], one.attrib["background"]) for one in root.iter("Label")]
    assert labels == list(zip(xml_safe(made.classes), hex_colors(4), strict=True))
    (brush,), (image,) = root.iter("BrushLabels"), root.iter("Image")
    one = results(tmp_path / "x")[1]
    assert (one["from_name"], one["to_name"]) == (brush.attrib["name"], image.attrib["name"])


@pytest.mark.parametrize(
    ("out", "told", "before"),
    [
        ("/data/seg/to review", None, "/data/local-files/?d=to%20review/"),
        ("s3://lake/seg/x/", None, "s3://lake/seg/x/"),
        ("s3://lake/seg/x", None, "s3://lake/seg/x/"),
        ("/data/x", "http://host:8000/x", "http://host:8000/x/"),
        ("/data/x", "/data/local-files/?d=", "/data/local-files/?d="),
    ],
)
def test_tasks_name_pictures_as_label_studio_reaches_them(out: str, told: str | None, before: str) -> None:
    assert _images_at(LabelStudioConfig(run="r", out=out, images_at=told)) == before


def test_pictures_that_lie_elsewhere_are_named_and_not_written(made: Made, tmp_path: Path) -> None:
    words = ("--pictures", "false", "--images_at", "https://host/seg")
    assert export("label-studio", made.out, tmp_path / "x", *words) == 0
    assert {path.name for path in (tmp_path / "x").iterdir()} == {"tasks.json", "label_config.xml", "export.json"}
    assert all(task["data"]["image"].startswith("https://host/seg/images/") for task in tasks(tmp_path / "x"))


def test_no_region_is_no_task(made: Made, tmp_path: Path) -> None:
    assert export("label-studio", made.out, tmp_path / "x", "--min_area", 1000) == 0
    assert tasks(tmp_path / "x") == []
    assert read("label_studio", tmp_path / "x") == {"regions": [], "labels": list(xml_safe(made.classes)), "valid": []}


def test_there_may_be_255_classes(crowded: Made, tmp_path: Path) -> None:
    assert export("label-studio", crowded.out, tmp_path / "x") == 0
    found = read("label_studio", tmp_path / "x")
    assert found["labels"] == list(crowded.classes)
    assert all(found["valid"])
    for rank, one in results(tmp_path / "x").items():
        assert one["value"]["brushlabels"] == [crowded.regions[rank].row["suggested_name"]]
