"""Chunks decoded straight into memory that the caller keeps and uses again.

zarr decodes a chunk into fresh memory and copies it from there into fresh memory. The system must clear both first,
and in a Dask worker, which gives what is freed back at once (MALLOC_TRIM_THRESHOLD_), it must do so for every chunk:
as much work again as decoding. What is stored in a plain way is therefore decoded here; zarr reads all else, and
whatever is wrong with a chunk is for zarr to tell.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numcodecs
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, ShardingCodec, ZstdCodec
from zarr.core.metadata import ArrayV2Metadata

from masksift.storage.zarr.stores import ObjectRange

Bytes = NDArray[np.uint8]
Slices = tuple[slice, ...]
Fetch = Callable[[Slices, list[ObjectRange]], Iterator[Bytes | None]]
Locate = Callable[[tuple[int, ...]], ObjectRange | None]


class DirectDecoder:
    """Reads windows of one array. ``locate`` answers where a chunk lies, None for one that was never written;
    ``fetch`` the bytes of a window's parts one after the other, None for one that is not there; they need not outlast
    the step to the next."""

    def __init__(self, array: zarr.Array[Any], locate: Locate, fetch: Fetch) -> None:
        self._array, self._locate, self._fetch = array, locate, fetch
        self._codec = _codec_of(array)
        self._scratch: NDArray[Any] | None = None

    def read(self, window: Slices, out: NDArray[Any]) -> bool:
        """Read a window (stored axis order, start and stop given) into ``out``, C-contiguous, of the array's dtype.

        False, with ``out`` in any state, where the array is not stored in a plain way, a chunk is not there or does not
        hold what it should. Errors of the store and of the decoder pass through.
        """
        parts = self.parts(window)
        if parts is None:
            return False
        for place, data in zip(self._places(window), self._fetch(window, parts), strict=True):
            if data is None or not self._take(data, place, window, out):
                return False
        return True

    def parts(self, window: Slices) -> list[ObjectRange] | None:
        """Where the chunks of a window lie, in their order; None where it cannot be read here."""
        if self._codec is None:
            return None
        parts = [self._locate(place) for place in self._places(window)]
        known = [part for part in parts if part is not None]
        return known if len(known) == len(parts) else None

    def _places(self, window: Slices) -> list[tuple[int, ...]]:
        return list(product(*map(chunk_range, window, self._array.chunks)))

    def _take(self, data: Bytes, place: tuple[int, ...], window: Slices, out: NDArray[Any]) -> bool:
        """Decode one chunk and put what the window wants of it in its place."""
        sizes = self._array.chunks
        starts = [number * size for number, size in zip(place, sizes, strict=True)]
        inside = [
            slice(max(part.start, start), min(part.stop, start + size))
            for part, start, size in zip(window, starts, sizes, strict=True)
        ]
        target = out[tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(inside, window, strict=True))]
        if target.shape == sizes and target.flags.c_contiguous:
            return self._decode(data, target)
        if self._scratch is None:
            self._scratch = np.empty(sizes, out.dtype)
        if not self._decode(data, self._scratch):
            return False
        target[...] = self._scratch[
            tuple(slice(a.start - start, a.stop - start) for a, start in zip(inside, starts, strict=True))
        ]
        return True

    def _decode(self, data: Bytes, target: NDArray[Any]) -> bool:
        """Decode into all of ``target``; False where the chunk says, or turns out, to be of another size."""
        flat = target.reshape(-1).view(np.uint8)
        if isinstance(self._codec, numcodecs.Zstd | numcodecs.Blosc):
            size = _zstd_size(data) if isinstance(self._codec, numcodecs.Zstd) else _blosc_size(data)
            if size != flat.size:
                return False
            self._codec.decode(data, flat)
            return True
        if data.size != flat.size:
            return False
        flat[:] = data
        return True


def chunk_range(part: slice, size: int) -> range:
    """The numbers of the chunks of a size that a part of an axis lies in."""
    return range(part.start // size, -(-part.stop // size))


class _Stored:
    """Chunks that lie there as they are."""


def _codec_of(array: zarr.Array[Any]) -> numcodecs.Zstd | numcodecs.Blosc | _Stored | None:
    """What decodes a chunk: None where that takes more than one of these, on numbers in native byte order."""
    metadata = array.metadata
    if array.dtype.kind not in "uif" or array.dtype.hasobject:
        return None
    if isinstance(metadata, ArrayV2Metadata):
        if metadata.filters or metadata.order != "C" or not array.dtype.isnative:
            return None
        codec: Any = metadata.compressor
        return _Stored() if codec is None else codec if isinstance(codec, numcodecs.Zstd | numcodecs.Blosc) else None
    codecs = metadata.codecs
    if len(codecs) == 1 and isinstance(codecs[0], ShardingCodec):
        codecs = codecs[0].codecs
    first, *others = codecs
    native = isinstance(first, BytesCodec) and (
        array.dtype.itemsize == 1 or (first.endian is not None and first.endian.value == sys.byteorder)
    )
    if not native or len(others) > 1:
        return None
    if not others:
        return _Stored()
    known = {ZstdCodec: numcodecs.Zstd, BloscCodec: numcodecs.Blosc}
    return known[type(others[0])]() if type(others[0]) in known else None


def _blosc_size(data: Bytes) -> int | None:
    """Decoded bytes, as the header of a Blosc chunk says them."""
    return int.from_bytes(data[4:8].tobytes(), "little") if data.size >= 16 else None


def _zstd_size(data: Bytes) -> int | None:
    """Decoded bytes, as the header of a zstd frame says them, if it does (RFC 8878, 3.1.1.1)."""
    if data[:4].tobytes() != b"\x28\xb5\x2f\xfd" or data.size < 5:
        return None
    descriptor = int(data[4])
    single, flag = descriptor >> 5 & 1, descriptor >> 6
    length = (single, 2, 4, 8)[flag]
    start = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    if length == 0 or data.size < start + length:
        return None
    return int.from_bytes(data[start : start + length].tobytes(), "little") + (256 if length == 2 else 0)
