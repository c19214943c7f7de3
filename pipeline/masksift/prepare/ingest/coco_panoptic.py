"""Read COCO panoptic annotations: one JSON file, and a PNG per image with segment ids (R + 256 G + 65536 B)."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from masksift.core.errors import DataError
from masksift.storage.files import find_files, read_json


@dataclass(frozen=True)
class PanopticAnnotations:
    """Categories, and four facts about each image: PNG name, its URL, image id, and (segment id, class) pairs."""

    classes: tuple[str, ...]
    files: tuple[str, ...]
    urls: tuple[str, ...]
    ids: tuple[str, ...]
    segments: tuple[tuple[tuple[int, int], ...], ...]


def read_panoptic(url: str, options: Mapping[str, Any]) -> PanopticAnnotations:
    """Read a .json file, and list the PNG directory of the same name next to it; DataError if they do not fit."""
    tree = read_json(url, options)
    try:
        class_numbers = {int(category["id"]): k for k, category in enumerate(tree["categories"])}
        classes = tuple(str(category["name"]) for category in tree["categories"])
        annotations = sorted(tree["annotations"], key=lambda annotation: str(annotation["file_name"]))
        segments = tuple(_segments(annotation, class_numbers, url) for annotation in annotations)
        files = tuple(str(annotation["file_name"]) for annotation in annotations)
        ids = tuple(str(annotation.get("image_id", "")) for annotation in annotations)
    except (KeyError, TypeError) as e:
        raise DataError(
            f"{url} is not a COCO panoptic annotation ({type(e).__name__}: {e})",
            "Use the .json file of a panoptic release, with categories, and annotations with file_name and "
            "segments_info",
        ) from e
    directory = find_files(url.removesuffix(".json"), options, [".png"])
    names = {unicodedata.normalize("NFC", name): name for name in directory.names}
    names |= {name: name for name in directory.names}
    stored = [names.get(name) or names.get(unicodedata.normalize("NFC", name)) for name in files]
    missing = [name for name, file in zip(files, stored, strict=True) if file is None]
    if missing:
        raise DataError(
            f"{directory.place} lacks {len(missing):,} of the {len(files):,} PNG files of {url} (the first: "
            f"{missing[0]})",
            "Use a .json file and the directory of the same name from one release",
        )
    return PanopticAnnotations(classes, files, tuple(directory.url(file) for file in stored if file), ids, segments)


def _segments(annotation: Any, class_numbers: Mapping[int, int], url: str) -> tuple[tuple[int, int], ...]:
    segments = []
    for segment in annotation["segments_info"]:
        category = int(segment["category_id"])
        if category not in class_numbers:
            raise DataError(
                f"{annotation['file_name']} of {url} has a segment of category {category}, which does not exist",
                "Add it to the categories, or correct the annotation",
            )
        segments.append((int(segment["id"]), class_numbers[category]))
    return tuple(segments)
