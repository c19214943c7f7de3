"""Files of CVAT: shapes of `CVAT for images 1.1`, or planes of `Segmentation mask 1.1`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masksift.annotations.cvat_xml import ANNOTATIONS, read_cvat
from masksift.annotations.label_map import BACKGROUND, FILE, MASKS, parse_label_map
from masksift.core.errors import DataError
from masksift.engine.completed_run import CompletedRun
from masksift.review.file_names import label_map_names, make_unique, xml_safe
from masksift.review.imports.edits import NO_LABEL
from masksift.review.imports.masks import MaskFiles, is_archive, list_masks
from masksift.review.imports.reviewed import ReviewedImage, reviewed_images


def read(url: str, run: CompletedRun, options: Mapping[str, Any]) -> list[ReviewedImage]:
    """Read an export of either format; see `FileReader`."""
    classes = make_unique(run.class_names)
    if not url.lower().endswith(".xml"):
        files = list_masks(url, options, (".png", ".txt", ".xml"))
        label_maps = [name for name in files.names if f"/{name}".endswith(f"/{FILE}")]
        if label_maps:
            return _read_planes(files, label_maps[0], label_map_names(classes), options)
        if not is_archive(url):
            url = f"{url.rstrip('/')}/{ANNOTATIONS}"
    return reviewed_images(read_cvat(url, options, xml_safe(classes), None))


def _read_planes(
    files: MaskFiles, label_map: str, classes: tuple[str, ...], options: Mapping[str, Any]
) -> list[ReviewedImage]:
    """List the planes of `Segmentation mask 1.1`."""
    numbers = {name: k for k, name in enumerate(classes)} | {BACKGROUND: NO_LABEL}
    colors: dict[int, int] = {}
    place = f"{label_map} in {files.url}"
    for (red, green, blue), name in parse_label_map(files.read_text(label_map, options), place).items():
        if name not in numbers:
            raise DataError(
                f"{place} has the label {name!r}, which is not one of the classes {', '.join(classes)}",
                "Rename the label in CVAT, or remove it",
            )
        colors[red << 16 | green << 8 | blue] = numbers[name]
    return [ReviewedImage(name, plane) for name, plane in files.planes(f"/{MASKS}/", colors)]
