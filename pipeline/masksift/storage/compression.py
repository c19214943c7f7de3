"""Compress arrays within objects."""

from __future__ import annotations

from typing import Any

import numcodecs
import numpy as np
from numpy.typing import DTypeLike, NDArray

_CODECS = {
    shuffled: numcodecs.Blosc("lz4", 5, numcodecs.Blosc.SHUFFLE if shuffled else numcodecs.Blosc.NOSHUFFLE)
    for shuffled in (False, True)
}


def compress(array: NDArray[Any]) -> bytes:
    """Compress an array with LZ4, the bytes of wide numbers by position."""
    data: bytes = _CODECS[array.itemsize > 1].encode(array) if array.size else b""
    return data


def decompress(data: bytes | NDArray[np.uint8], dtype: DTypeLike) -> NDArray[Any]:
    """Return the flat array of this dtype that `compress` was given."""
    dtype = np.dtype(dtype)
    return np.frombuffer(bytearray(_CODECS[dtype.itemsize > 1].decode(data)) if len(data) else b"", dtype)
