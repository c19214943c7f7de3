"""Label Studio's JSON export: brush masks, polygons, boxes and ellipses of submitted annotations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masksift.annotations.label_studio import parse_label_studio
from masksift.engine.completed_run import CompletedRun
from masksift.review.file_names import make_unique, xml_safe
from masksift.review.imports.reviewed import ReviewedImage, reviewed_images
from masksift.storage.files import read_json


def read(url: str, run: CompletedRun, options: Mapping[str, Any]) -> list[ReviewedImage]:
    """Read a .json file; see `FileReader`. Tasks without an annotation are left out."""
    classes = xml_safe(make_unique(run.class_names))
    return reviewed_images(parse_label_studio(read_json(url, options), url, classes, None), submitted=True)
