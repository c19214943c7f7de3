"""COCO instances: polygons or run-length codes of each image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masksift.annotations.coco_instances import parse_instances
from masksift.engine.completed_run import CompletedRun
from masksift.review.decisions import ImageKey
from masksift.review.file_names import make_unique
from masksift.review.imports.reviewed import ReviewedImage
from masksift.storage.files import read_json


def read(url: str, run: CompletedRun, options: Mapping[str, Any]) -> list[ReviewedImage]:
    """Read a .json file; see `FileReader`."""
    tree = read_json(url, options)
    shapes = parse_instances(tree, url, make_unique(run.class_names), None)
    keys = {str(image["id"]): image_key(image.get("attributes")) for image in tree["images"]}
    return [
        ReviewedImage(name, labels, keys[image_id])
        for name, labels, image_id in zip(shapes.names, shapes.labels, shapes.ids, strict=True)
    ]


def image_key(attributes: Any) -> ImageKey | None:
    """Return source and index of an exported image, None if its attributes lack them."""
    if not isinstance(attributes, Mapping) or not {"source", "index"} <= attributes.keys():
        return None
    return str(attributes["source"]), int(attributes["index"])
