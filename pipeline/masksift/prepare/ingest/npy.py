"""Read `.npy` and `.npz` files: headers, whole arrays, and single images of arrays larger than memory."""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, MasksiftError
from masksift.storage.files import open_file
from masksift.storage.zarr.links import LinkedMember

EXTENSIONS = (".npy", ".npz")
_LOCAL_HEADER_BYTES = 30
"""Bytes of a member's header in a zip archive, before its name and its extra field."""
_MEMBER_NAMES = {
    "predictions": ("predictions", "pred_probs", "probs", "probabilities", "softmax", "logits"),
    "labels": ("labels", "label", "masks", "mask"),
}
"""Names of the array of predictions, or labels, in an `.npz` file of several arrays."""


@dataclass(frozen=True)
class NpyFile:
    """Header of an array file. ``offset``: bytes before the values."""

    url: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    fortran_order: bool


def read_header(url: str, options: Mapping[str, Any], role: str = "predictions") -> NpyFile:
    """Read the header of an array file, of "predictions" or "labels", and nothing else; DataError if it is invalid."""
    with _open(url, options, role) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects, which may run code")
        return NpyFile(url, shape, dtype, file.tell(), fortran_order)


def read_array(url: str, options: Mapping[str, Any], role: str = "predictions") -> NDArray[Any]:
    """Read the whole array of a file, of "predictions" or "labels"; DataError if it is invalid."""
    with _open(url, options, role) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array


def read_label_size(url: str, options: Mapping[str, Any]) -> tuple[int, int]:
    """Read (H, W) of one image's labels from a header; DataError unless they are integers."""
    header = read_header(url, options, "labels")
    return _check_label(url, header.shape, header.dtype)


def read_label(url: str, options: Mapping[str, Any]) -> NDArray[Any]:
    """Read one image's labels (H, W); DataError unless they are integers."""
    array = read_array(url, options, "labels")
    array = array.reshape(_check_label(url, array.shape, array.dtype))
    return array.astype(np.uint8 if array.dtype == bool else array.dtype.newbyteorder("="), copy=False)


def _check_label(url: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return (H, W) of labels that are stored with any axes of length 1 before or behind."""
    while len(shape) > 2 and 1 in (shape[0], shape[-1]):
        shape = shape[1:] if shape[0] == 1 else shape[:-1]
    if len(shape) != 2 or dtype.kind not in "iub":
        raise DataError(
            f"{url} has the shape {shape} and the dtype {dtype.name}, but labels are class numbers (H, W)",
            "Write integers (uint8 up to 256 values), one array per image",
        )
    return shape[0], shape[1]


def read_image(array: NpyFile, index: int, options: Mapping[str, Any]) -> NDArray[Any]:
    """Read one index of the first axis and no other; DataError if the file ends before it."""
    shape = array.shape[1:]
    size = math.prod(shape) * array.dtype.itemsize
    values = np.empty(size, np.uint8)
    with open_file(array.url, options) as file:
        file.seek(array.offset + index * size)
        if file.readinto(values.data) != size:  # type: ignore[attr-defined]
            raise DataError(f"{array.url} ends before image {index} of {array.shape[0]}", "Copy the file again")
    return values.view(array.dtype).reshape(shape)


@dataclass(frozen=True)
class StoredValues:
    """Location of the values of an array file. ``offset``, ``size``: bytes of the file, of a whole archive member."""

    header: NpyFile
    offset: int
    size: int
    member: LinkedMember | None  # of an archive


def locate_values(url: str, options: Mapping[str, Any], role: str = "predictions") -> StoredValues:
    """Find the values of an array file; DataError if it is invalid, or compressed in a way other than deflate."""
    header = read_header(url, options, role)
    size = math.prod(header.shape) * header.dtype.itemsize
    if not url.lower().endswith(".npz"):
        return StoredValues(header, header.offset, size, None)
    with _convert_errors(url), open_file(url, options) as file, zipfile.ZipFile(file) as archive:
        info = archive.getinfo(_member(archive, url, role))
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it is encrypted, or compressed with another method than deflate")
        if info.file_size != header.offset + size:
            raise ValueError(f"the array of shape {header.shape} has {info.file_size - header.offset:,} bytes")
        file.seek(info.header_offset)
        local = file.read(_LOCAL_HEADER_BYTES)
        names = sum(struct.unpack("<HH", local[26:30]))
        deflated = info.compress_type == zipfile.ZIP_DEFLATED
        member = LinkedMember(info.file_size, header.offset, info.CRC, deflated)
        return StoredValues(header, info.header_offset + _LOCAL_HEADER_BYTES + names, info.compress_size, member)


@contextmanager
def _open(url: str, options: Mapping[str, Any], role: str) -> Iterator[BinaryIO]:
    """Open an array, also inside an archive; errors of the format become a DataError with the URL."""
    with _convert_errors(url), open_file(url, options) as file:
        if not url.lower().endswith(".npz"):
            yield file
            return
        with zipfile.ZipFile(file) as archive, archive.open(_member(archive, url, role)) as member:
            yield member  # type: ignore[misc]


@contextmanager
def _convert_errors(url: str) -> Iterator[None]:
    """Raise errors of the format as a DataError with the URL."""
    try:
        yield
    except MasksiftError:
        raise
    except (OSError, ValueError, EOFError, struct.error, zipfile.BadZipFile) as e:
        raise DataError(
            f"{url} cannot be read as an array ({str(e).rstrip('.')})",
            "Write it again with numpy.save, or remove it from the directory",
        ) from e


def _member(archive: zipfile.ZipFile, url: str, role: str) -> str:
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    candidates = names if len(names) == 1 else [name for name in _MEMBER_NAMES[role] if name in names]
    if not candidates:
        raise DataError(
            f"{url} holds the arrays {', '.join(names)}, none of which is named like {role}",
            f"Name the {role} {role!r}, or save them alone",
        )
    return f"{candidates[0]}.npy"
