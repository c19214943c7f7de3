"""Find the tensors in `.safetensors` files.

Format (https://github.com/huggingface/safetensors): 8 bytes with the size of the header, the header as JSON, and the
values.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np

from masksift.core.json_text import parse_json
from masksift.prepare.ingest.array_formats.stored_array import StoredArray, check_inside

_SIZE_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000
"""Limit of the format."""
_DTYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "I16": "<i2",
    "U16": "<u2",
    "I32": "<i4",
    "U32": "<u4",
    "I64": "<i8",
    "U64": "<u8",
    "F16": "<f2",
    "BF16": "<f4",
    "F32": "<f4",
    "F64": "<f8",
}


def read_safetensors(file: BinaryIO, url: str) -> dict[str, Any]:
    """Find the tensors of a file by name. Raises ValueError if it is invalid."""
    total = file.seek(0, 2)
    file.seek(0)
    size = int.from_bytes(file.read(_SIZE_BYTES), "little")
    if not 0 < size <= min(_MAX_HEADER_BYTES, total - _SIZE_BYTES):
        raise ValueError("it is not a safetensors file")
    header = parse_json(file.read(size))
    if not isinstance(header, dict):
        raise ValueError("it is not a safetensors file")
    start = _SIZE_BYTES + size
    return {name: _tensor(url, name, entry, start, total) for name, entry in header.items() if name != "__metadata__"}


def _tensor(url: str, name: str, entry: Any, start: int, total: int) -> StoredArray:
    try:
        dtype, shape, (first, last) = entry["dtype"], tuple(map(int, entry["shape"])), entry["data_offsets"]
    except (KeyError, TypeError) as e:
        raise ValueError(f"its header has no dtype, shape or place of {name}") from e
    if dtype not in _DTYPES:
        raise ValueError(f"{name} is stored as {dtype}")
    array = StoredArray(url, shape, np.dtype(_DTYPES[dtype]), start + int(first), bfloat16=dtype == "BF16", name=name)
    if array.span * array.stored_itemsize != last - first:
        raise ValueError(f"{name} of shape {shape} has {last - first:,} bytes")
    return check_inside(array, total)
