"""Export for CVAT for images 1.1, read by CVAT's mask decoder and by Datumaro."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from masksift.review.file_names import xml_safe
from masksift.review.rendering.palette import hex_colors
from review.export.helpers import PADDED, ExportedRun, decode_mask, expected_attributes, export, read_with_tool


def to_text(attributes: dict[str, Any]) -> dict[str, str]:
    """Convert attributes to CVAT's form: text, empty for None."""
    return {name: "" if value is None else str(value) for name, value in attributes.items()}


def read_masks(out: Path) -> list[tuple[ET.Element, ET.Element]]:
    """Pairs (image, mask) of all annotations."""
    root = ET.parse(out / "annotations.xml").getroot()
    return [(image, mask) for image in root.iter("image") for mask in image.iter("mask")]


def read_attributes(mask: ET.Element) -> dict[str, str]:
    return {element.attrib["name"]: element.text or "" for element in mask.iter("attribute")}


def test_cvat_decoder_restores_masks_and_attributes(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat", run.out, tmp_path / "x") == 0
    pairs = read_masks(tmp_path / "x")
    expected = expected_attributes(run, xml_safe(run.classes))
    assert len(pairs) == len(expected)
    for image, mask in pairs:
        rank = int(read_attributes(mask)["rank"])
        assert read_attributes(mask) == to_text(expected[rank])
        assert mask.attrib["label"] == expected[rank]["suggested"]
        assert (int(image.attrib["height"]), int(image.attrib["width"])) == run.regions[rank].mask.shape
    points = [_points(image, mask) for image, mask in pairs]
    content = read_with_tool("cvat", stdin=json.dumps(points))
    for (_, mask), decoded, encoded, (code, *_) in zip(
        pairs, content["masks"], content["encoded"], points, strict=True
    ):
        np.testing.assert_array_equal(decode_mask(decoded), run.regions[int(read_attributes(mask)["rank"])].mask)
        assert encoded == code, "CVAT's encoder returns the same counts and box"


def _points(image: ET.Element, mask: ET.Element) -> tuple[list[int], int, int]:
    """CVAT's encoding of a mask (counts and inclusive box), and the width and height of its image."""
    left, top, width, height = (int(mask.attrib[name]) for name in ("left", "top", "width", "height"))
    counts = [int(text) for text in mask.attrib["rle"].split(",")]
    box = [left, top, left + width - 1, top + height - 1]
    return counts + box, int(image.attrib["width"]), int(image.attrib["height"])


def test_images_are_ordered_with_unique_names(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat", run.out, tmp_path / "x") == 0
    images = list(ET.parse(tmp_path / "x/annotations.xml").getroot().iter("image"))
    assert [image.attrib["id"] for image in images] == [str(number) for number in range(len(images))]
    assert [min(int(read_attributes(mask)["rank"]) for mask in image.iter("mask")) for image in images] == [
        run.ranks(source, index)[0] for source, index in run.ordered_images()
    ]
    assert len({image.attrib["name"].casefold() for image in images}) == len(images)


def test_labels_have_colors_and_declare_attributes(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat", run.out, tmp_path / "x") == 0
    labels_json = json.loads((tmp_path / "x/labels.json").read_text())
    assert [label["name"] for label in labels_json] == list(xml_safe(run.classes))
    assert [label["color"] for label in labels_json] == hex_colors(len(run.classes))
    assert {attribute["name"] for attribute in labels_json[0]["attributes"]} == set(run.regions[1].attributes)
    labels = list(ET.parse(tmp_path / "x/annotations.xml").getroot().iter("label"))
    assert [(label.findtext("name"), label.findtext("color")) for label in labels] == [
        (label["name"], label["color"]) for label in labels_json
    ]
    assert {attribute.findtext("name") for attribute in labels[0].iter("attribute")} == set(run.regions[1].attributes)


def test_datumaro_reads_the_archive(run: ExportedRun, tmp_path: Path) -> None:
    # Datumaro needs the RGB images of all entries, and only the first source has them.
    assert export("cvat", run.out, tmp_path / "x", "--top", 1) == 0
    zipfile.ZipFile(tmp_path / "x/dataset.zip").extractall(tmp_path / "y")
    content = read_with_tool("datumaro", tmp_path / "y", "cvat")
    assert content["labels"] == list(xml_safe(run.classes))
    (item,) = content["items"]
    (region,) = item["regions"]
    expected = run.regions[1]
    np.testing.assert_array_equal(decode_mask(region["mask"]), expected.mask)
    assert region["label"] == expected_attributes(run, xml_safe(run.classes))[1]["suggested"]
    assert {name: region["attributes"][name] for name in expected.attributes} == to_text(
        expected_attributes(run, xml_safe(run.classes))[1]
    )
    stored = run.rgb_images["s"]
    assert stored is not None
    assert item["pixel_sum"] == stored[2].sum()


def test_archive_holds_rgb_images_and_annotations(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat", run.out, tmp_path / "x") == 0
    archive = zipfile.ZipFile(tmp_path / "x/dataset.zip")
    assert archive.read("annotations.xml") == (tmp_path / "x/annotations.xml").read_bytes()
    names = {image.attrib["name"] for image, mask in read_masks(tmp_path / "x") if _source(run, mask) == "s"}
    assert set(archive.namelist()) == {"annotations.xml", *(f"images/{name}" for name in names)}


def _source(run: ExportedRun, mask: ET.Element) -> str:
    return str(run.regions[int(read_attributes(mask)["rank"])].row["source"])


def test_export_without_rgb_images_has_no_archive(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat", run.out, tmp_path / "x", "--pictures", "false") == 0
    assert {path.name for path in (tmp_path / "x").iterdir()} == {
        "annotations.xml",
        "labels.json",
        "export.json",
        "images.csv",
    }
    assert PADDED in {
        (int(image.attrib["height"]), int(image.attrib["width"])) for image, _ in read_masks(tmp_path / "x")
    }


def test_export_without_regions_has_no_images(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat", run.out, tmp_path / "x", "--min_area", 1000) == 0
    root = ET.parse(tmp_path / "x/annotations.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert list(root.iter("image")) == []
    assert len(list(root.iter("label"))) == len(run.classes)


def test_255_classes_are_supported(run_255_classes: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat", run_255_classes.out, tmp_path / "x") == 0
    zipfile.ZipFile(tmp_path / "x/dataset.zip").extractall(tmp_path / "y")
    assert [mask.attrib["label"] for _, mask in read_masks(tmp_path / "x")] == [
        region.row["suggested_name"] for region in run_255_classes.regions.values()
    ]
    content = read_with_tool("datumaro", tmp_path / "y", "cvat")
    assert content["labels"] == list(run_255_classes.classes)
    assert [region["label"] for region in content["items"][0]["regions"]] == [
        region.row["suggested_name"] for region in run_255_classes.regions.values()
    ]


@pytest.mark.parametrize("class_name", ["</mask><script>", "a\x00b", 'x" y="', "]]>"])
def test_markup_in_class_names_is_escaped(class_name: str) -> None:
    (name,) = xml_safe((class_name,))
    element = ET.fromstring(ET.tostring(ET.Element("mask", label=name), encoding="unicode"))
    assert (element.tag, element.attrib) == ("mask", {"label": name})
