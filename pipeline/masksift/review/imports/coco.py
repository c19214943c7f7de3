"""COCO instances: polygons or run-length codes of each image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masksift.annotations.coco_instances import parse_instances
from masksift.engine.completed_run import CompletedRun
from masksift.review.file_names import make_unique
from masksift.review.imports.reviewed import ReviewedImage, reviewed_images
from masksift.storage.files import read_json


def read(url: str, run: CompletedRun, options: Mapping[str, Any]) -> list[ReviewedImage]:
    """Read a .json file; see `FileReader`."""
    return reviewed_images(parse_instances(read_json(url, options), url, make_unique(run.class_names), None))
