"""Label Studio (labelstud.io/guide/predictions): one task per image with brush predictions, worst region first.

``meta`` of a region holds its columns; the region panel shows ``meta.text``. label_config.xml is the labeling interface
for a project with these tasks.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from masksift.core.errors import DataError
from masksift.review.export.config import LabelStudioConfig
from masksift.review.export.export_writer import ExportWriter, stream_json_list
from masksift.review.export.run_length import label_studio_rle
from masksift.review.export.selection import ExportImage, ExportRegion
from masksift.review.file_names import xml_safe
from masksift.storage.urls import local_path


def write(export: ExportWriter) -> None:
    """Write tasks.json, label_config.xml, and RGB images (or colored labels) in images/."""
    assert isinstance(export.config, LabelStudioConfig)
    classes, prefix = xml_safe(export.classes), _images_prefix(export.config)
    export.directory.write("label_config.xml", _interface(classes, export.hex_colors))
    with stream_json_list(export.directory, "tasks.json") as add:
        for image in export.iter_images():
            if export.config.pictures and (png := export.encode_rgb_or_labels(export.load_view(image))) is not None:
                export.directory.write(f"images/{image.name}.png", png)
            url = f"{prefix}images/{quote(image.name)}.png"
            add(_task(image, url, classes, export.run.context.fingerprint))


def _images_prefix(config: LabelStudioConfig) -> str:
    """Return the URL prefix of images/NAME.png; a local --out is taken to be in Label Studio's local files root."""
    local = local_path(config.out)
    default = config.out if local is None else f"/data/local-files/?d={quote(os.path.basename(local))}"
    prefix = config.images_at or default
    return prefix if prefix.endswith(("/", "=")) else f"{prefix}/"


def _task(image: ExportImage, url: str, classes: tuple[str, ...], run: str) -> dict[str, Any]:
    return {
        "data": {**image.columns, "image": url},  # overrides a path column named `image`
        "predictions": [
            {
                "model_version": f"masksift {run[:12]}",
                "score": max(region.mean_predicted_confidence for region in image.regions),
                "result": [_result(region, image, classes) for region in image.regions],
            }
        ],
    }


def _result(region: ExportRegion, image: ExportImage, classes: tuple[str, ...]) -> dict[str, Any]:
    height, width = image.size
    y0, x0, *_ = region.box
    try:
        rle = label_studio_rle(region.mask(height), (y0, x0), image.size)
    except ValueError as e:
        raise DataError(
            f"Image {image.index} of {image.source} has {height} x {width} pixels",
            "Label Studio's brush masks are limited to 2^30 - 1 pixels",
            "Export another format",
        ) from e
    attributes = region.attributes(classes)
    given = "no label" if attributes["given"] is None else f"given {attributes['given']}"
    text = f"{given}, suggested {attributes['suggested']}, {region.area:,} px, evidence {region.evidence:.1f}"
    return {
        "id": f"region-{region.rank}",
        "from_name": "label",
        "to_name": "image",
        "type": "brushlabels",
        "origin": "prediction",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": region.mean_predicted_confidence,
        "value": {"format": "rle", "rle": rle, "brushlabels": [classes[region.suggested]]},
        "meta": {"text": [text], **attributes},
    }


def _interface(classes: tuple[str, ...], colors: Sequence[str]) -> bytes:
    view = ET.Element("View")
    ET.SubElement(view, "Image", {"name": "image", "value": "$image", "zoom": "true", "zoomControl": "true"})
    labels = ET.SubElement(view, "BrushLabels", {"name": "label", "toName": "image"})
    for name, color in zip(classes, colors, strict=True):
        ET.SubElement(labels, "Label", {"value": name, "background": color})
    ET.indent(view)
    return str(ET.tostring(view, encoding="unicode")).encode() + b"\n"
