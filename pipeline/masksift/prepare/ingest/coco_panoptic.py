"""COCO panoptic: one JSON of annotations, and a PNG an image whose colours are segment ids (R + 256 G + 65536 B)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from masksift.core.errors import DataError
from masksift.storage.files import find_files, open_file


@dataclass(frozen=True)
class Panoptic:
    """``classes``: the categories' names, in their order; ``files``: PNGs by name; ``ids``: what else each image is
    called; ``segments``: the ids of each and their classes."""

    classes: tuple[str, ...]
    files: tuple[str, ...]
    urls: tuple[str, ...]
    ids: tuple[str, ...]
    segments: tuple[tuple[tuple[int, int], ...], ...]


def read_panoptic(place: str, options: Mapping[str, Any]) -> Panoptic:
    """The annotations of a .json, with the PNG folder of the same name beside it. Raises DataError."""
    with open_file(place, options) as file:
        try:
            tree = json.load(file)
        except ValueError as e:
            raise DataError(f"{place} is no JSON ({e})", "there are no annotations", "Copy it again") from e
    try:
        numbers = {int(category["id"]): k for k, category in enumerate(tree["categories"])}
        classes = tuple(str(category["name"]) for category in tree["categories"])
        found = sorted(tree["annotations"], key=lambda annotation: str(annotation["file_name"]))
        segments = tuple(_segments(annotation, numbers, place) for annotation in found)
        files = tuple(str(annotation["file_name"]) for annotation in found)
        ids = tuple(str(annotation.get("image_id", "")) for annotation in found)
    except (KeyError, TypeError) as e:
        raise DataError(
            f"{place} is no COCO panoptic annotation ({type(e).__name__}: {e})",
            "what its segments are is not known",
            "Give the .json of a panoptic release: annotations, each with file_name and segments_info, and categories",
        ) from e
    folder = find_files(place.removesuffix(".json"), options, [".png"])
    there = set(folder.names)
    missing = [name for name in files if name not in there]
    if missing:
        raise DataError(
            f"{len(missing):,} of the {len(files):,} PNG files of {place} are not in {folder.place} (the first: "
            f"{missing[0]})",
            "their labels are not known",
            "Give a .json beside the folder of the same name, of the same release",
        )
    return Panoptic(classes, files, tuple(map(folder.url, files)), ids, segments)


def _segments(annotation: Any, numbers: Mapping[int, int], place: str) -> tuple[tuple[int, int], ...]:
    found = []
    for segment in annotation["segments_info"]:
        category = int(segment["category_id"])
        if category not in numbers:
            raise DataError(
                f"{annotation['file_name']} of {place} has a segment of category {category}",
                "there is no such category",
                "Add it to the categories, or mend the annotation",
            )
        found.append((int(segment["id"]), numbers[category]))
    return tuple(found)
