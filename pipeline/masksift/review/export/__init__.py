"""What a run has found, worst first, as the files that annotation tools open: one format, one file.

The table below is light: a format's own module is imported where it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masksift.review.export.export_writer import ExportWriter

__all__ = ["FORMATS", "ExportFormat"]


@dataclass(frozen=True)
class ExportFormat:
    """One format: what its help says, and the names directly below `--out` that are its own."""

    module: str
    text: str
    outputs: tuple[str, ...]

    def writer(self) -> Callable[[ExportWriter], None]:
        """What writes it."""
        write: Callable[[ExportWriter], None] = import_module(f"masksift.review.export.{self.module}").write
        return write


FORMATS: Mapping[str, ExportFormat] = {
    "coco": ExportFormat("coco", "COCO instances with run-length masks", ("annotations", "images")),
    "cvat": ExportFormat(
        "cvat", "CVAT for images 1.1: a mask a region", ("annotations.xml", "labels.json", "dataset.zip")
    ),
    "cvat-mask": ExportFormat(
        "cvat_mask", "CVAT Segmentation mask 1.1: the given labels, to be corrected", ("labels.json", "dataset.zip")
    ),
    "label-studio": ExportFormat(
        "label_studio", "Label Studio: tasks with brush predictions", ("tasks.json", "label_config.xml", "images")
    ),
    "fiftyone": ExportFormat(
        "fiftyone", "FiftyOneDataset: regions, labels, scores", ("metadata.json", "samples.json", "data", "fields")
    ),
    "datumaro": ExportFormat("datumaro", "Datumaro's own format", ("annotations", "images")),
}
"""The formats by the name that is typed."""
