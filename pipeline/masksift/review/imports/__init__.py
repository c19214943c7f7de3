"""`masksift import`: write labels with the changes that reviewers made in annotation tools, one module per format."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masksift.review.imports.reviewed import FileReader

__all__ = ["FORMATS", "file_reader"]

FORMATS: Mapping[str, str] = {
    "cvat": "CVAT for images 1.1 or Segmentation mask 1.1, as CVAT downloads them: .xml or .zip",
    "label-studio": "Label Studio's JSON export; only submitted annotations count",
    "coco": "COCO instances: .json",
    "datumaro": "Datumaro format: directory or .json",
    "fiftyone": "FiftyOneDataset: directory",
    "png": "directory or .zip of PNG masks in the form that was ingested, named by image ID",
}
"""Descriptions for the command line by name. The module of a format has the function ``read``."""


def file_reader(form: str) -> FileReader:
    """Import the function that reads a format."""
    read: FileReader = import_module(f"masksift.review.imports.{form.replace('-', '_')}").read
    return read
