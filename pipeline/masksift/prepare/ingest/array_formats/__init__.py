"""Files that hold arrays: one module per format, and the meaning of their content, the same for all formats.

A reader gets an open file and its URL and returns the content as a tree: arrays are `StoredArray`, of which only
headers are read; mappings have names; sequences have one item per image. A new format is one line in `READERS`.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.prepare.ingest.array_formats.npy import read_npy, read_npz
from masksift.prepare.ingest.array_formats.stored_array import StoredArray, format_errors
from masksift.storage.files import open_file
from masksift.storage.patterns import has_wildcard
from masksift.storage.urls import local_path

Role = Literal["predictions", "labels"]

READERS: Mapping[str, Callable[[BinaryIO, str], Any]] = {".npy": read_npy, ".npz": read_npz}
"""Readers by file ending."""
EXTENSIONS = (".npy", ".npz")
"""Endings of the files that may hold the array of one image."""

_ARRAY_NAMES: Mapping[Role, tuple[str, ...]] = {
    "predictions": ("predictions", "pred_probs", "probs", "probabilities", "softmax", "logits"),
    "labels": ("labels", "label", "masks", "mask"),
}
"""Names of the array of predictions, or labels, in a file of several arrays."""


@dataclass(frozen=True)
class ImageArrays:
    """Arrays of all images in one file, and the names of the images, () if the file has none."""

    arrays: tuple[StoredArray, ...]
    names: tuple[str, ...] = ()


def is_array_file(place: str) -> bool:
    """Return whether a place is one file of arrays, not a directory or a glob."""
    if not place.lower().endswith(tuple(READERS)):
        return False
    path = local_path(place)
    return os.path.isfile(path) if path is not None and os.path.exists(path) else not has_wildcard(place)


def read_header(url: str, options: Mapping[str, Any], role: Role = "predictions") -> StoredArray:
    """Find the array of one image, "predictions" or "labels", from headers; DataError if the file is invalid."""
    with format_errors(url):
        return _find_array(_read_content(url, options), url, role)


def read_array(url: str, options: Mapping[str, Any], role: Role = "predictions") -> NDArray[Any]:
    """Read the array of one image, "predictions" or "labels"; DataError if the file is invalid."""
    return read_header(url, options, role).read(options)


def read_image_arrays(url: str, options: Mapping[str, Any], role: Role) -> ImageArrays | StoredArray:
    """Find the arrays of all images in one file, or one array, which may hold all images along its first axis."""
    url = local_path(url) or url  # workers may run in other directories than this process
    with format_errors(url):
        return _find_images(_read_content(url, options), url, role)


def read_label_size(url: str, options: Mapping[str, Any]) -> tuple[int, int]:
    """Read (H, W) of one image's labels from a header; DataError unless they are integers."""
    return label_size(read_header(url, options, "labels"))


def read_label(file: str | StoredArray, options: Mapping[str, Any]) -> NDArray[Any]:
    """Read one image's labels (H, W); DataError unless they are integers."""
    array = read_header(file, options, "labels") if isinstance(file, str) else file
    size = label_size(array)
    values = array.read(options).reshape(size)
    return values.astype(np.uint8 if values.dtype == bool else values.dtype.newbyteorder("="), copy=False)


def label_size(array: StoredArray) -> tuple[int, int]:
    """Return (H, W) of labels that are stored with any axes of length 1 before or behind; DataError for others."""
    shape = array.shape
    while len(shape) > 2 and 1 in (shape[0], shape[-1]):
        shape = shape[1:] if shape[0] == 1 else shape[:-1]
    if len(shape) != 2 or array.dtype.kind not in "iub":
        raise DataError(
            f"{array.location} has the shape {shape} and the dtype {array.dtype.name}, but labels are class numbers "
            "(H, W)",
            "Write integers (uint8 up to 256 values), one array per image",
        )
    return shape[0], shape[1]


def _read_content(url: str, options: Mapping[str, Any]) -> Any:
    reader = next(reader for ending, reader in READERS.items() if url.lower().endswith(ending))
    with open_file(url, options) as file:
        return reader(file, url)


def _find_array(content: Any, url: str, role: Role) -> StoredArray:
    """Find the array of one image: the only one, or the one with a known name."""
    if isinstance(content, StoredArray):
        return content
    if isinstance(content, Exception):
        raise content
    if isinstance(content, Mapping):
        if (key := _known_name(content, role)) is not None:
            return _find_array(content[key], url, role)
        raise DataError(
            f"{url} holds the arrays {', '.join(map(str, content))}, none of which is named like {role}",
            f"Name the {role} {role!r}, or save them alone",
        )
    if isinstance(content, Sequence) and not isinstance(content, str) and len(content) == 1:
        return _find_array(content[0], url, role)
    raise ValueError(f"it holds no array of {role}")


def _known_name(content: Mapping[Any, Any], role: Role) -> Any:
    """Return the only key, or else the first known name, or None."""
    if len(content) == 1:
        return next(iter(content))
    return next((name for name in _ARRAY_NAMES[role] if name in content), None)


def _find_images(content: Any, url: str, role: Role) -> ImageArrays | StoredArray:
    if isinstance(content, StoredArray):
        return content
    if isinstance(content, Mapping) and (key := _known_name(content, role)) is not None:
        return _find_images(content[key], url, role)
    if isinstance(content, Mapping) and content and all(isinstance(value, StoredArray) for value in content.values()):
        return ImageArrays(tuple(content.values()), tuple(unicodedata.normalize("NFC", str(key)) for key in content))
    return _find_array(content, url, role)
