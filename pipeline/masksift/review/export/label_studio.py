"""Label Studio (labelstud.io/guide/predictions): a task an image, its regions as brush predictions, worst first.

A region carries what is known of it in ``meta``; ``text`` in there is what its panel shows. label_config.xml is the
labelling interface of a project that takes the tasks.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from typing import Any
from urllib.parse import quote

from masksift.core.errors import DataError
from masksift.review.export.config import LabelStudioConfig
from masksift.review.export.export_writer import ExportWriter, stream_json_list
from masksift.review.export.file_names import xml_safe
from masksift.review.export.run_length import label_studio_rle
from masksift.review.export.selection import ExportImage, ExportRegion
from masksift.review.rendering.palette import hex_colors
from masksift.storage.urls import local_path


def write(export: ExportWriter) -> None:
    """tasks.json and label_config.xml, and pictures in images/: where there are none, the given labels in colours."""
    assert isinstance(export.config, LabelStudioConfig)
    classes, before = xml_safe(export.classes), _images_at(export.config)
    export.folder.write("label_config.xml", _interface(classes))
    with stream_json_list(export.folder, "tasks.json") as add:
        for image in export.each():
            picture = export.shown(export.load_view(image)) if export.config.pictures else None
            if picture is not None:
                export.folder.write(f"images/{image.name}.png", picture)
            add(_task(image, f"{before}images/{quote(image.name)}.png", classes, export.run.context.fingerprint))


def _images_at(config: LabelStudioConfig) -> str:
    """What stands before images/NAME.png: of a local folder, what Label Studio calls its local files where the root of
    these is the folder that --out lies in."""
    local = local_path(config.out)
    told = config.images_at or (
        config.out if local is None else f"/data/local-files/?d={quote(os.path.basename(local))}"
    )
    return told if told.endswith(("/", "=")) else f"{told}/"


def _task(image: ExportImage, url: str, classes: tuple[str, ...], run: str) -> dict[str, Any]:
    return {
        "data": {**image.facts, "image": url},  # a part `image=` of a path is none
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
        code = label_studio_rle(region.mask(height), (y0, x0), image.size)
    except ValueError as e:
        raise DataError(
            f"image {image.index} of {image.source} has {height} x {width} pixels",
            "Label Studio's brush code ends at 2^30 - 1 of them",
            "Export it in another format",
        ) from e
    told = region.attributes(classes)
    given = "no label" if told["given"] is None else f"given {told['given']}"
    said = f"{given}, suggested {told['suggested']}, {region.area:,} px, evidence {region.evidence:.1f}"
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
        "value": {"format": "rle", "rle": code, "brushlabels": [classes[region.suggested]]},
        "meta": {"text": [said], **told},
    }


def _interface(classes: tuple[str, ...]) -> bytes:
    view = ET.Element("View")
    ET.SubElement(view, "Image", {"name": "image", "value": "$image", "zoom": "true", "zoomControl": "true"})
    labels = ET.SubElement(view, "BrushLabels", {"name": "label", "toName": "image"})
    for name, colour in zip(classes, hex_colors(len(classes)), strict=True):
        ET.SubElement(labels, "Label", {"value": name, "background": colour})
    ET.indent(view)
    return str(ET.tostring(view, encoding="unicode")).encode() + b"\n"
