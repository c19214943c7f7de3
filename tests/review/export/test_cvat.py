"""CVAT for images 1.1: CVAT's own decoder finds every mask, Datumaro's reader of the format everything."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from masksift.review.export.file_names import xml_safe
from masksift.review.rendering.palette import hex_colors
from review.export.helpers import PADDED, ExportedRun, decode_mask, expected_attributes, export, read_with_tool


def plain(attributes: dict[str, Any]) -> dict[str, str]:
    """Attributes as CVAT has them: text, empty where there is nothing."""
    return {name: "" if value is None else str(value) for name, value in attributes.items()}


def masks(out: Path) -> list[tuple[ET.Element, ET.Element]]:
    """(image, mask) of every annotation."""
    root = ET.parse(out / "annotations.xml").getroot()
    return [(image, mask) for image in root.iter("image") for mask in image.iter("mask")]


def told(mask: ET.Element) -> dict[str, str]:
    return {one.attrib["name"]: one.text or "" for one in mask.iter("attribute")}


def test_cvat_decoder_restores_masks_and_attributes(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat", run.out, tmp_path / "x") == 0
    found = masks(tmp_path / "x")
    known = expected_attributes(run, xml_safe(run.classes))
    assert len(found) == len(known)
    for image, mask in found:
        rank = int(told(mask)["rank"])
        assert told(mask) == plain(known[rank])
        assert mask.attrib["label"] == known[rank]["suggested"]
        assert (int(image.attrib["height"]), int(image.attrib["width"])) == run.regions[rank].mask.shape
    points = [_points(image, mask) for image, mask in found]
    answer = read_with_tool("cvat", stdin=json.dumps(points))
    for (_, mask), decoded, again, (code, *_) in zip(found, answer["masks"], answer["again"], points, strict=True):
        np.testing.assert_array_equal(decode_mask(decoded), run.regions[int(told(mask)["rank"])].mask)
        assert again == code, "CVAT's own encoder says the same, box and all"


def _points(image: ET.Element, mask: ET.Element) -> tuple[list[int], int, int]:
    """A mask as CVAT's server keeps it: the counts, and the box with its last row and column."""
    left, top, width, height = (int(mask.attrib[name]) for name in ("left", "top", "width", "height"))
    counts = [int(text) for text in mask.attrib["rle"].split(",")]
    box = [left, top, left + width - 1, top + height - 1]
    return counts + box, int(image.attrib["width"]), int(image.attrib["height"])


def test_images_are_ordered_with_unique_names(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat", run.out, tmp_path / "x") == 0
    images = list(ET.parse(tmp_path / "x/annotations.xml").getroot().iter("image"))
    assert [image.attrib["id"] for image in images] == [str(number) for number in range(len(images))]
    assert [min(int(told(mask)["rank"]) for mask in image.iter("mask")) for image in images] == [
        run.ranks(*place)[0] for place in run.ordered_images()
    ]
    assert len({image.attrib["name"].casefold() for image in images}) == len(images)


def test_labels_have_colors_and_declare_attributes(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat", run.out, tmp_path / "x") == 0
    raw = json.loads((tmp_path / "x/labels.json").read_text())
    assert [one["name"] for one in raw] == list(xml_safe(run.classes))
    assert [one["color"] for one in raw] == hex_colors(len(run.classes))
    assert {one["name"] for one in raw[0]["attributes"]} == set(run.regions[1].attributes)
    labels = list(ET.parse(tmp_path / "x/annotations.xml").getroot().iter("label"))
    assert [(one.findtext("name"), one.findtext("color")) for one in labels] == [
        (one["name"], one["color"]) for one in raw
    ]
    assert {one.findtext("name") for one in labels[0].iter("attribute")} == set(run.regions[1].attributes)


def test_datumaro_reads_the_archive(run: ExportedRun, tmp_path: Path) -> None:
    # its reader wants the pictures of all images: those of the first source, which come among the first regions
    assert export("cvat", run.out, tmp_path / "x", "--top", 1) == 0
    zipfile.ZipFile(tmp_path / "x/dataset.zip").extractall(tmp_path / "y")
    found = read_with_tool("datumaro", tmp_path / "y", "cvat")
    assert found["labels"] == list(xml_safe(run.classes))
    (item,) = found["items"]
    (one,) = item["regions"]
    known = run.regions[1]
    np.testing.assert_array_equal(decode_mask(one["mask"]), known.mask)
    assert one["label"] == expected_attributes(run, xml_safe(run.classes))[1]["suggested"]
    assert {name: one["attributes"][name] for name in known.attributes} == plain(
        expected_attributes(run, xml_safe(run.classes))[1]
    )
    stored = run.pictures["s"]
    assert stored is not None
    assert item["pixels"] == stored[2].sum()


def test_archive_holds_rgb_images_and_annotations(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat", run.out, tmp_path / "x") == 0
    archive = zipfile.ZipFile(tmp_path / "x/dataset.zip")
    assert archive.read("annotations.xml") == (tmp_path / "x/annotations.xml").read_bytes()
    names = {image.attrib["name"] for image, mask in masks(tmp_path / "x") if _source(run, mask) == "s"}
    assert set(archive.namelist()) == {"annotations.xml", *(f"images/{name}" for name in names)}


def _source(run: ExportedRun, mask: ET.Element) -> str:
    return str(run.regions[int(told(mask)["rank"])].row["source"])


def test_no_archive_without_rgb_images(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat", run.out, tmp_path / "x", "--pictures", "false") == 0
    assert {path.name for path in (tmp_path / "x").iterdir()} == {"annotations.xml", "labels.json", "export.json"}
    assert PADDED in {(int(i.attrib["height"]), int(i.attrib["width"])) for i, _ in masks(tmp_path / "x")}


def test_export_without_regions_has_no_images(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat", run.out, tmp_path / "x", "--min_area", 1000) == 0
    root = ET.parse(tmp_path / "x/annotations.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert list(root.iter("image")) == []
    assert len(list(root.iter("label"))) == len(run.classes)


def test_255_classes_are_supported(run_255_classes: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat", run_255_classes.out, tmp_path / "x") == 0
    zipfile.ZipFile(tmp_path / "x/dataset.zip").extractall(tmp_path / "y")
    assert [mask.attrib["label"] for _, mask in masks(tmp_path / "x")] == [
        one.row["suggested_name"] for one in run_255_classes.regions.values()
    ]
    found = read_with_tool("datumaro", tmp_path / "y", "cvat")
    assert found["labels"] == list(run_255_classes.classes)
    assert [one["label"] for one in found["items"][0]["regions"]] == [
        one.row["suggested_name"] for one in run_255_classes.regions.values()
    ]


@pytest.mark.parametrize("hostile", ["</mask><script>", "a\x00b", 'x" y="', "]]>"])
def test_markup_in_class_names_is_escaped(hostile: str) -> None:
    (name,) = xml_safe((hostile,))
    element = ET.fromstring(ET.tostring(ET.Element("mask", label=name), encoding="unicode"))
    assert (element.tag, element.attrib) == ("mask", {"label": name})
