"""Find the arrays in `.npy` and `.npz` files."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from masksift.prepare.ingest.array_formats.stored_array import StoredArray, c_strides

_LOCAL_HEADER_BYTES = 30
"""Bytes of a member's header in a zip archive, before its name and its extra field."""


class PythonObjectsError(ValueError):
    """An array holds pickled objects."""


def read_npy(file: BinaryIO, url: str) -> StoredArray:
    """Find the array of an `.npy` file, or of a member of an archive. Raises ValueError if it is invalid."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    if dtype.hasobject:
        raise PythonObjectsError("it holds Python objects, which may run code")
    strides = c_strides(shape[::-1])[::-1] if fortran_order and len(shape) > 1 else None
    return StoredArray(url, shape, dtype, file.tell(), strides)


def read_npz(file: BinaryIO, url: str) -> dict[str, Any]:
    """Find the arrays of an `.npz` file by name. Raises ValueError or BadZipFile if it is invalid."""
    found: dict[str, Any] = {}
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            with archive.open(info) as member:
                try:
                    array = read_npy(member, url)  # type: ignore[arg-type]
                except PythonObjectsError as e:
                    found[name] = e
                    continue
            start = member_offset(file, info) if info.compress_type == zipfile.ZIP_STORED else -1
            found[name] = replace(array, member=info.filename, member_start=start)
    return found


def member_offset(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Return the position of a member's first byte in its archive. Raises ValueError if the archive is damaged."""
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER_BYTES)
    if len(header) < _LOCAL_HEADER_BYTES or header[:4] != b"PK\x03\x04":
        raise ValueError(f"its member {info.filename} is damaged")
    name, extra = struct.unpack("<HH", header[26:30])
    return info.header_offset + _LOCAL_HEADER_BYTES + int(name) + int(extra)
