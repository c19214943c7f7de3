"""Decode chunks directly into buffers of the caller.

zarr decodes a chunk into new memory and copies it into more new memory. The system must clear both first, and in a Dask
worker, which returns freed memory at once (MALLOC_TRIM_THRESHOLD_), it does so for every chunk: as much work again as
decoding. Common encodings are therefore decoded here. zarr reads all others and reports damaged chunks.
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

from masksift.storage.zarr.bounded_codecs import Bytes, blosc_size, zstd_size
from masksift.storage.zarr.stores import ObjectRange

Slices = tuple[slice, ...]
Fetch = Callable[[Slices, list[ObjectRange]], Iterator[Bytes | None]]
LocateChunk = Callable[[tuple[int, ...]], ObjectRange | None]


class DirectDecoder:
    """Decoder of windows of one array.

    Args:
        array: The array.
        locate: Returns the byte range of a chunk by its index, None for a chunk that was never written.
        fetch: Yields the bytes of a window's byte ranges, None for an absent one. They are valid until the next step.
    """

    def __init__(self, array: zarr.Array[Any], locate: LocateChunk, fetch: Fetch) -> None:
        self._array, self._locate_chunk, self._fetch = array, locate, fetch
        self._codec = _find_codec(array)
        self._scratch: NDArray[Any] | None = None

    def read(self, window: Slices, out: NDArray[Any]) -> bool:
        """Decode a window.

        Args:
            window: Slices with start and stop, in stored axis order.
            out: C-contiguous array of the window's shape and the array's dtype; undefined after a failure.

        Returns:
            False if the encoding is not supported, or a chunk is absent or has another size. Errors of store and
            codec are raised.
        """
        ranges = self.locate(window)
        if ranges is None:
            return False
        for index, data in zip(self._chunks(window), self._fetch(window, ranges), strict=True):
            if data is None or not self._read_chunk(data, index, window, out):
                return False
        return True

    def locate(self, window: Slices) -> list[ObjectRange] | None:
        """Return the byte ranges of a window's chunks in order, or None if it cannot be decoded here."""
        if self._codec is None:
            return None
        ranges = []
        for index in self._chunks(window):
            located = self._locate_chunk(index)
            if located is None:
                return None
            ranges.append(located)
        return ranges

    def _chunks(self, window: Slices) -> Iterator[tuple[int, ...]]:
        return product(*map(chunk_range, window, self._array.chunks))

    def _read_chunk(self, data: Bytes, index: tuple[int, ...], window: Slices, out: NDArray[Any]) -> bool:
        """Decode one chunk and copy its overlap with the window."""
        sizes = self._array.chunks
        starts = [number * size for number, size in zip(index, sizes, strict=True)]
        overlap = [
            slice(max(part.start, start), min(part.stop, start + size))
            for part, start, size in zip(window, starts, sizes, strict=True)
        ]
        target = out[tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(overlap, window, strict=True))]
        if target.shape == sizes and target.flags.c_contiguous:
            return self._decode(data, target)
        if self._scratch is None:
            self._scratch = np.empty(sizes, out.dtype)
        if not self._decode(data, self._scratch):
            return False
        target[...] = self._scratch[
            tuple(slice(a.start - start, a.stop - start) for a, start in zip(overlap, starts, strict=True))
        ]
        return True

    def _decode(self, data: Bytes, target: NDArray[Any]) -> bool:
        """Decode a chunk into `target`. Return False if the chunk has another size."""
        flat = target.reshape(-1).view(np.uint8)
        if isinstance(self._codec, numcodecs.Zstd | numcodecs.Blosc):
            size = zstd_size(data) if isinstance(self._codec, numcodecs.Zstd) else blosc_size(data)
            if size != flat.size:
                return False
            self._codec.decode(data, flat)
            return True
        if data.size != flat.size:
            return False
        flat[:] = data
        return True


def chunk_range(part: slice, size: int) -> range:
    """Return the numbers of the chunks along an axis that overlap a slice."""
    return range(part.start // size, -(-part.stop // size))


class _Uncompressed:
    """Codec of chunks that are stored as they are."""


def _find_codec(array: zarr.Array[Any]) -> numcodecs.Zstd | numcodecs.Blosc | _Uncompressed | None:
    """Return the codec of numbers in native byte order with at most one compressor; None for other encodings."""
    metadata = array.metadata
    if array.dtype.kind not in "uif" or array.dtype.hasobject:
        return None
    if isinstance(metadata, ArrayV2Metadata):
        if metadata.filters or metadata.order != "C" or not array.dtype.isnative:
            return None
        codec: Any = metadata.compressor
        if codec is None:
            return _Uncompressed()
        return codec if isinstance(codec, numcodecs.Zstd | numcodecs.Blosc) else None
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
        return _Uncompressed()
    decoders = {ZstdCodec: numcodecs.Zstd, BloscCodec: numcodecs.Blosc}
    return decoders[type(others[0])]() if type(others[0]) in decoders else None
