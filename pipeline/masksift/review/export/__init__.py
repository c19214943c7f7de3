"""`masksift export`: write the worst regions of a run in the formats of annotation tools, one module per format."""

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
    """One format; its module is imported when it is written.

    Attributes:
        module: Module with the function ``write``.
        text: Description for the command line.
        outputs: Names that the format writes directly below `--out`.
        on_map: The format needs sources with a georeference.
    """

    module: str
    text: str
    outputs: tuple[str, ...]
    on_map: bool = False

    def writer(self) -> Callable[[ExportWriter], None]:
        """Import the function that writes the format."""
        write: Callable[[ExportWriter], None] = import_module(f"masksift.review.export.{self.module}").write
        return write


FORMATS: Mapping[str, ExportFormat] = {
    "coco": ExportFormat("coco", "COCO instances with run-length masks", ("annotations", "images")),
    "cvat": ExportFormat(
        "cvat", "CVAT for images 1.1: one mask per region", ("annotations.xml", "labels.json", "dataset.zip")
    ),
    "cvat-mask": ExportFormat(
        "cvat_mask", "CVAT Segmentation mask 1.1: given labels to correct", ("labels.json", "dataset.zip")
    ),
    "label-studio": ExportFormat(
        "label_studio", "Label Studio: tasks with brush predictions", ("tasks.json", "label_config.xml", "images")
    ),
    "fiftyone": ExportFormat(
        "fiftyone", "FiftyOneDataset: regions, labels, scores", ("metadata.json", "samples.json", "data", "fields")
    ),
    "geojson": ExportFormat("geojson", "GeoJSON: polygons of regions on the map", ("regions.geojson",), on_map=True),
    "geoparquet": ExportFormat("geoparquet", "GeoParquet: polygons of regions on the map", ("regions",), on_map=True),
    "datumaro": ExportFormat("datumaro", "Datumaro format: one mask per region", ("annotations", "images")),
}
"""Formats by command-line name."""
