"""CVAT for images 1.1 (docs.cvat.ai, "CVAT for images"): one mask per region.

CVAT imports only attributes that its labels declare: paste labels.json into its label constructor under "Raw".
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from masksift.review.export.export_writer import ExportWriter, open_zip, stream_file, to_json
from masksift.review.export.run_length import row_run_lengths
from masksift.review.export.selection import ExportImage, ExportRegion
from masksift.review.file_names import xml_safe

ATTRIBUTES = (
    "given",
    "suggested",
    "priority",
    "evidence",
    "reason",
    "rank",
    "mean_self_confidence",
    "mean_predicted_confidence",
)
"""Exported as text: they describe a region and offer no choices."""


def write(export: ExportWriter) -> None:
    """Write annotations.xml and labels.json, and with RGB images also dataset.zip with these and the annotations."""
    classes = xml_safe(export.classes)
    labels = raw_labels(classes, export.hex_colors, ATTRIBUTES)
    export.directory.write("labels.json", to_json(labels, indent=1))
    with stream_file(export.directory, "annotations.xml") as write_chunk:
        for chunk in _document(export.images, classes, labels):
            write_chunk(chunk)
    with open_zip(export.directory, "dataset.zip") as archive:
        for image in export.iter_images():
            png = export.load_png(image)
            if png is not None:
                archive.write(f"images/{image.name}.png", png)
        if export.rgb_images:
            archive.write_chunks("annotations.xml", _document(export.images, classes, labels))


def _document(
    images: Sequence[ExportImage], classes: tuple[str, ...], labels: Sequence[Mapping[str, Any]]
) -> Iterator[bytes]:
    """Yield the XML file in chunks: header, one chunk per image, footer."""
    yield b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
    yield _format(_meta(labels, len(images)))
    for number, image in enumerate(images):
        height, width = image.size
        attributes = {"id": str(number), "name": f"{image.name}.png", "width": str(width), "height": str(height)}
        element = ET.Element("image", attributes)
        element.extend(_mask(region, height, classes) for region in image.regions)
        yield _format(element)
    yield b"</annotations>\n"


def _format(element: ET.Element) -> bytes:
    ET.indent(element, level=1)
    return f"  {ET.tostring(element, encoding='unicode').rstrip()}\n".encode()


def _meta(raw_labels: Sequence[Mapping[str, Any]], images: int) -> ET.Element:
    """Describe the task as CVAT does; its readers need the labels."""
    meta = ET.Element("meta")
    task = ET.SubElement(meta, "task")
    for name, text in (("name", "masksift"), ("size", str(images)), ("mode", "annotation"), ("overlap", "0")):
        ET.SubElement(task, name).text = text
    labels = ET.SubElement(task, "labels")
    for raw_label in raw_labels:
        label = ET.SubElement(labels, "label")
        for name in ("name", "color", "type"):
            ET.SubElement(label, name).text = raw_label[name]
        attributes = ET.SubElement(label, "attributes")
        for attribute in raw_label["attributes"]:
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
    attributes = region.attributes(classes)
    for name in ATTRIBUTES:
        value = attributes[name]
        ET.SubElement(element, "attribute", name=name).text = "" if value is None else str(value)
    return element


def raw_labels(classes: Sequence[str], colors: Sequence[str], attributes: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Make one label per class for CVAT's label constructor."""
    declarations = [
        {"name": name, "mutable": False, "input_type": "text", "default_value": "", "values": [""]}
        for name in attributes
    ]
    return [
        {"name": name, "color": color, "type": "any", "attributes": declarations}
        for name, color in zip(classes, colors, strict=True)
    ]
