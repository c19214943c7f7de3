"""CVAT for images 1.1 (docs.cvat.ai, "CVAT for images"): a mask a region, so that one annotation is one connected set.

CVAT takes attributes over where its labels declare them: labels.json is what its label constructor takes, under "Raw".
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from typing import Any

from masksift.review.export.export_writer import DeterministicZip, ExportWriter, open_zip, stream_file, to_json
from masksift.review.export.file_names import xml_safe
from masksift.review.export.run_length import row_run_lengths
from masksift.review.export.selection import ExportImage, ExportRegion
from masksift.review.rendering.palette import hex_colors

ATTRIBUTES = ("given", "suggested", "evidence", "reason", "rank", "mean_self_confidence", "mean_predicted_confidence")
"""All as text: they say what was found, and are nothing to choose from."""


def write(export: ExportWriter) -> None:
    """annotations.xml and labels.json; where there are pictures also dataset.zip, with these and the annotations."""
    classes = xml_safe(export.classes)
    export.folder.write("labels.json", to_json(raw_labels(classes, ATTRIBUTES), indent=1))
    with stream_file(export.folder, "annotations.xml") as write_piece:
        for piece in _document(export.images, classes):
            write_piece(piece)
    with open_zip(export.folder, "dataset.zip") as archive:
        _pictures(export, archive)
        if export.pictures:
            archive.join("annotations.xml", _document(export.images, classes))


def _pictures(export: ExportWriter, archive: DeterministicZip) -> None:
    for image in export.each():
        picture = export.picture(image)
        if picture is not None:
            archive.put(f"images/{image.name}.png", picture)


def _document(images: Sequence[ExportImage], classes: tuple[str, ...]) -> Iterator[bytes]:
    """The file, piece by piece: an image each, but for its beginning and end."""
    yield b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
    yield _piece(_meta(classes, len(images)))
    for number, image in enumerate(images):
        height, width = image.size
        told = {"id": str(number), "name": f"{image.name}.png", "width": str(width), "height": str(height)}
        element = ET.Element("image", told)
        element.extend(_mask(region, height, classes) for region in image.regions)
        yield _piece(element)
    yield b"</annotations>\n"


def _piece(element: ET.Element) -> bytes:
    ET.indent(element, level=1)
    return f"  {ET.tostring(element, encoding='unicode').rstrip()}\n".encode()


def _meta(classes: tuple[str, ...], images: int) -> ET.Element:
    """What CVAT writes of its task: the labels are what its readers want of it."""
    meta = ET.Element("meta")
    task = ET.SubElement(meta, "task")
    for name, text in (("name", "masksift"), ("size", str(images)), ("mode", "annotation"), ("overlap", "0")):
        ET.SubElement(task, name).text = text
    labels = ET.SubElement(task, "labels")
    for told in raw_labels(classes, ATTRIBUTES):
        label = ET.SubElement(labels, "label")
        for name in ("name", "color", "type"):
            ET.SubElement(label, name).text = told[name]
        attributes = ET.SubElement(label, "attributes")
        for attribute in told["attributes"]:
            element = ET.SubElement(attributes, "attribute")
            ET.SubElement(element, "name").text = attribute["name"]
            for name, text in (("mutable", "False"), ("input_type", "text"), ("default_value", ""), ("values", "")):
                ET.SubElement(element, name).text = text
    return meta


def _mask(region: ExportRegion, height: int, classes: tuple[str, ...]) -> ET.Element:
    y0, x0, y1, x1 = region.box
    element = ET.Element(
        "mask",
        {
            "label": classes[region.suggested],
            "source": "auto",
            "occluded": "0",
            "rle": ", ".join(map(str, row_run_lengths(region.mask(height)))),
            "left": str(x0),
            "top": str(y0),
            "width": str(x1 - x0),
            "height": str(y1 - y0),
            "z_order": "0",
        },
    )
    told = region.attributes(classes)
    for name in ATTRIBUTES:
        ET.SubElement(element, "attribute", name=name).text = "" if told[name] is None else str(told[name])
    return element


def raw_labels(classes: tuple[str, ...], attributes: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """A label a class, as CVAT's label constructor takes them."""
    told = [
        {"name": name, "mutable": False, "input_type": "text", "default_value": "", "values": [""]}
        for name in attributes
    ]
    return [
        {"name": name, "color": colour, "type": "any", "attributes": told}
        for name, colour in zip(classes, hex_colors(len(classes)), strict=True)
    ]
