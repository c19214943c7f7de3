"""`masksift import`: write labels with the changes that reviewers made in annotation tools, one module per format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masksift.review.imports.reviewed import FileReader

__all__ = ["FORMATS", "ImportFormat"]


@dataclass(frozen=True)
class ImportFormat:
    """One format; its module is imported when it is read.

    Attributes:
        module: Module with the function ``read``.
        text: Description for the command line.
    """

    module: str
    text: str

    def reader(self) -> FileReader:
        """Import the function that reads the format."""
        read: FileReader = import_module(f"masksift.review.imports.{self.module}").read
        return read


FORMATS: Mapping[str, ImportFormat] = {
    "cvat": ImportFormat("cvat", "CVAT for images 1.1 or Segmentation mask 1.1, as CVAT downloads them: .xml or .zip"),
    "label-studio": ImportFormat("label_studio", "Label Studio's JSON export; only submitted annotations count"),
    "coco": ImportFormat("coco", "COCO instances: .json"),
    "datumaro": ImportFormat("datumaro", "Datumaro format: directory or .json"),
    "fiftyone": ImportFormat("fiftyone", "FiftyOneDataset: directory"),
    "png": ImportFormat("png", "directory or .zip of PNG masks in the form that was ingested, named by image ID"),
}
"""Formats by command-line name."""
