"""Datumaro format: polygons, boxes and masks of each item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masksift.annotations.datumaro import read_datumaro
from masksift.engine.completed_run import CompletedRun
from masksift.review.file_names import make_unique
from masksift.review.imports.reviewed import ReviewedImage, reviewed_images
from masksift.storage.files import find_files


def read(url: str, run: CompletedRun, options: Mapping[str, Any]) -> list[ReviewedImage]:
    """Read a .json file, or the directory `annotations` of a data set; see `FileReader`."""
    place = url if url.lower().endswith(".json") else f"{url.rstrip('/')}/annotations"
    files = find_files(place, options, (".json",))
    return reviewed_images(read_datumaro(files, options, make_unique(run.class_names), None))
