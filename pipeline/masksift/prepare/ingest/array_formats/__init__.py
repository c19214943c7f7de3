"""Files that hold arrays: one module per format, and the meaning of their content, the same for all formats.

A reader gets an open file and its URL and returns the content as a tree: arrays are `StoredArray`, of which only
headers are read; mappings have names; sequences have one item per image. A new format is one line in `READERS`.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.prepare.ingest.array_formats.npy import read_npy, read_npz
from masksift.prepare.ingest.array_formats.pickled import Object, read_pickle
from masksift.prepare.ingest.array_formats.safetensors import read_safetensors
from masksift.prepare.ingest.array_formats.stored_array import StoredArray, format_errors
from masksift.prepare.ingest.array_formats.torch_file import read_torch
from masksift.storage.files import open_file
from masksift.storage.patterns import has_wildcard
from masksift.storage.urls import local_path

Role = Literal["predictions", "labels"]

READERS: Mapping[str, Callable[[BinaryIO, str], Any]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".pt": read_torch,
    ".pth": read_torch,
    ".safetensors": read_safetensors,
    ".pkl": read_pickle,
    ".pickle": read_pickle,
}
"""Readers by file ending."""
EXTENSIONS = tuple(ending for ending, reader in READERS.items() if reader is not read_pickle)
"""Endings of the files in a directory that may hold the array of one image. nnU-Net writes other data as `.pkl`."""

_ARRAY_NAMES: Mapping[Role, tuple[str, ...]] = {
    "predictions": (
        *("predictions", "pred_probs", "probs", "probabilities", "softmax", "logits", "seg_logits", "pred_sem_seg"),
        "data",
    ),
    "labels": ("labels", "label", "masks", "mask", "gt_sem_seg", "data"),
}
"""Names of the array of predictions, or labels, in a file of several arrays: nnU-Net's (probabilities, softmax),
mmsegmentation's (seg_logits, pred_sem_seg, each with data), and usual ones."""
_ID_NAMES = ("ids", "image_ids", "image_id", "names", "file_names", "filenames", "img_path")
"""Names of the list of image ids next to an array of all images, and of the file name in the results of one image."""
_MAX_LISTED_NAMES = 8


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
    content = _unwrap(content)
    if isinstance(content, StoredArray):
        return content
    if isinstance(content, Exception):
        raise content
    if isinstance(content, Mapping) and content:
        if (key := _known_name(content, role)) is not None:
            return _find_array(content[key], url, role)
        names = [str(name) for name in content]
        listed = ", ".join(names[:_MAX_LISTED_NAMES]) + (", ..." if len(names) > _MAX_LISTED_NAMES else "")
        raise DataError(
            f"{url} holds the arrays {listed}, none of which is named like {role}",
            f"Name the {role} {role!r}, or save them alone",
        )
    if isinstance(content, list | tuple) and len(content) == 1:
        return _find_array(content[0], url, role)
    raise ValueError(f"it holds no array of {role}")


def _unwrap(content: Any) -> Any:
    """Return the array or the attributes of an object in a pickle."""
    while isinstance(content, Object):
        content = content.state
    return content


def _known_name(content: Mapping[Any, Any], role: Role) -> Any:
    """Return the only key, or else the first known name, or None."""
    if len(content) == 1:
        return next(iter(content))
    return next((name for name in _ARRAY_NAMES[role] if content.get(name) is not None), None)


def _find_images(content: Any, url: str, role: Role) -> ImageArrays | StoredArray:
    """Find the arrays of all images: a list, a mapping from image ids, or one array."""
    content = _unwrap(content)
    if isinstance(content, StoredArray):
        return content
    if isinstance(content, list | tuple) and len(content) > 1:
        arrays = (replace(_find_array(item, url, role), name=i) for i, item in enumerate(content))
        return ImageArrays(tuple(arrays), _texts([_path_of(item) for item in content]))
    if isinstance(content, Mapping) and (key := _known_name(content, role)) is not None:
        found = _find_images(content[key], url, role)
        ids = next((ids for name in _ID_NAMES if (ids := _texts(content.get(name)))), ())
        return _with_names(found, ids, url) if ids else found
    if isinstance(content, Mapping) and content and all(isinstance(_unwrap(v), StoredArray) for v in content.values()):
        named = {unicodedata.normalize("NFC", str(key)): _unwrap(value) for key, value in content.items()}
        return ImageArrays(tuple(replace(value, name=key) for key, value in named.items()), tuple(named))
    return _find_array(content, url, role)


def _with_names(found: ImageArrays | StoredArray, ids: tuple[str, ...], url: str) -> ImageArrays:
    arrays = found.arrays if isinstance(found, ImageArrays) else tuple(found.images())
    if len(arrays) != len(ids) or len(set(ids)) < len(ids):
        raise DataError(
            f"{url} holds {len(arrays):,} images and {len(set(ids)):,} different image ids",
            "Write one id per image",
        )
    return ImageArrays(arrays, ids)


def _path_of(item: Any) -> Any:
    """Return the path of the image in mmsegmentation's results of it."""
    content = _unwrap(item)
    return content.get("img_path") if isinstance(content, Mapping) else None


def _texts(values: Any) -> tuple[str, ...]:
    """Return a list of texts, () for anything else."""
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        return ()
    return tuple(unicodedata.normalize("NFC", value) for value in values)
