"""Find the labels, or the predictions, of all images in one array file."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping
from typing import Any

from masksift.core.errors import DataError, UsageError
from masksift.prepare.ingest.array_formats import ImageArrays, Role, is_array_file, label_size, read_image_arrays
from masksift.prepare.ingest.array_formats.stored_array import StoredArray
from masksift.prepare.ingest.config import IngestConfig
from masksift.prepare.ingest.labels import ClassMap
from masksift.prepare.ingest.matching import stem
from masksift.prepare.ingest.predictions import drop_axes
from masksift.prepare.ingest.presets import Preset
from masksift.storage.files import open_file


def find_label_arrays(
    config: IngestConfig, preset: Preset, options: Mapping[str, Any]
) -> tuple[ImageArrays, ClassMap | None]:
    """Find the labels of all images in one file, with the classes of their values; DataError for other arrays."""
    values = preset.encodings.get("")
    if preset.encodings and values is None and config.remap is None:
        raise UsageError(
            f"Label values in {config.labels} could be any of the ids of {config.preset}",
            "Pass --remap 7:0,8:1 to map them to classes",
        )
    found = read_image_arrays(config.labels, options, "labels")
    if isinstance(found, StoredArray):
        is_one = len(found.shape) == 2
        found = ImageArrays((found,), (_file_name(found),)) if is_one else _along_first_axis(found, "labels")
    for array in found.arrays:
        label_size(array)
    return found, values


def find_prediction_arrays(place: str, labels: Collection[str], options: Mapping[str, Any]) -> ImageArrays | None:
    """Find the predictions of all images in one file; None for other places, or a file named like one of the labels."""
    if not is_array_file(place):
        return None
    found = read_image_arrays(place, options, "predictions")
    if isinstance(found, ImageArrays):
        return found
    if len(drop_axes(found.shape)) <= 3 and stem(_file_name(found)) in labels:
        return None
    return _along_first_axis(found, "predictions")


def read_ids(url: str, images: int, place: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Read the names of the images of ``place`` from a text file with one per line; DataError unless they fit."""
    with open_file(url, options) as file:
        ids = [unicodedata.normalize("NFC", line.decode("utf-8-sig").strip()) for line in file]
    if len(ids) != images or len(set(ids)) < images:
        raise DataError(
            f"{url} has {len(set(ids)):,} image ids in {len(ids):,} lines, but {place} holds {images:,} images",
            "Write one line per image, each with a different id",
        )
    return tuple(ids)


def _file_name(array: StoredArray) -> str:
    return array.url.rpartition("/")[2]


def _along_first_axis(array: StoredArray, role: Role) -> ImageArrays:
    fits = len(array.shape) == 3 if role == "labels" else len(array.shape) >= 3
    if not fits or not array.shape[0]:
        raise DataError(
            f"{array.url} has the shape {array.shape}",
            "Its images cannot be read one at a time",
            "Write labels (N, H, W) and predictions (N, K, H, W) or (N, H, W)",
        )
    return ImageArrays(tuple(array.images()))
