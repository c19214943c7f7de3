"""Read windows of Zarr arrays and report every missing or damaged chunk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from math import prod
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from masksift.core.limits import PREFETCH_BYTES
from masksift.core.specs import ArraySpec
from masksift.storage.zarr.bounded_codecs import bound_array
from masksift.storage.zarr.direct_decode import DirectDecoder, chunk_range
from masksift.storage.zarr.prefetch import Prefetcher
from masksift.storage.zarr.stores import InstrumentedStore, ObjectRange, open_store
from masksift.storage.zarr.validation import ChunkDecodeError, ChunkValidator, MissingChunkError, codec_error_message


class ChunkReader:
    """Decode windows of one array directly into a buffer, if its codecs allow, and prefetch the following windows.

    Args:
        array: The array.
        store: Its store.
        validator: Its validator, which holds the indexes of its shards.
        strict: Treat an absent chunk as missing.
    """

    def __init__(
        self, array: zarr.Array[Any], store: InstrumentedStore, validator: ChunkValidator, *, strict: bool = True
    ) -> None:
        self._store, self._validator, self._strict = store, validator, strict
        size = prod(array.chunks) * array.dtype.itemsize
        self._prefetcher = Prefetcher(store, self._locate, size, PREFETCH_BYTES)
        self._decoder = DirectDecoder(array, validator.locate, self._prefetcher.fetch)

    def prefetch(self, windows: Iterable[tuple[slice, ...]]) -> None:
        """Announce the windows in stored axis order that are read next, in this order."""
        self._prefetcher.prefetch(windows)

    def read(self, window: tuple[slice, ...], out: NDArray[Any]) -> bool:
        """Decode the window into `out`. Return False for a damaged chunk, which the following read by zarr reports."""
        self._store.reset_errors()
        self._prefetcher.advance_to(window)
        try:
            self._validator.check_shards(window, absent_is_missing=self._strict)
            return self._decoder.read(window, out)
        except MemoryError:
            raise
        except Exception:  # codecs have no common base class of errors
            if self._store.failures:
                raise
            return False

    def _locate(self, window: tuple[slice, ...]) -> list[ObjectRange] | None:
        self._validator.check_shards(window, absent_is_missing=self._strict)
        return self._decoder.locate(window)


class ArrayReader:
    """Read windows of one array in canonical axis order. Not thread-safe.

    Args:
        spec: The array.
        options: Storage options of S3.
        absent_is_missing: Treat an absent chunk as missing, instead of as the fill value.
    """

    def __init__(self, spec: ArraySpec, options: Mapping[str, Any], *, absent_is_missing: bool = True) -> None:
        self._spec = spec
        self._absent_is_missing = absent_is_missing
        self._store = InstrumentedStore(open_store(spec.url, options, read_only=True))
        self._array = zarr.open_array(self._store, mode="r", zarr_format=spec.zarr_format)  # type: ignore[arg-type]
        self._store.follow_links(self._array, options)
        self._bounded = bound_array(self._array)
        self._validator = ChunkValidator(self._array, spec.url, self._store.read_range)
        self._store.validator = self._validator
        self._in_order = spec.axes == tuple(sorted(spec.axes))
        self._chunks = ChunkReader(self._array, self._store, self._validator, strict=absent_is_missing)

    @property
    def bytes(self) -> int:
        """Bytes read from the store."""
        return self._store.bytes

    @property
    def requests(self) -> int:
        """Read requests to the store."""
        return self._store.requests

    @property
    def io_counters(self) -> Counter[str]:
        """Store traffic, by field name of `TaskResult`."""
        return self._store.io_counters

    def prefetch(self, windows: Iterable[tuple[slice, ...]]) -> None:
        """Announce the windows that are read next, in this order. A network store prefetches their chunks."""
        if self._in_order:
            self._chunks.prefetch(map(self._stored_window, windows))

    def _stored_window(self, window: tuple[slice, ...]) -> tuple[slice, ...]:
        """Return a window in stored axis order, with the additional axes of length 1."""
        stored = [slice(0, 1)] * self._array.ndim
        for axis, part in zip(self._spec.axes, window, strict=True):
            stored[axis] = part
        return tuple(stored)

    def read(self, *window: slice, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Read a window.

        Args:
            window: One slice with start and stop per axis, in canonical order.
            out: C-contiguous buffer of the window's shape and dtype that may be used for the result.

        Returns:
            C-contiguous array in native byte order: `out` where that avoids a copy.

        Raises:
            ChunkDecodeError: A chunk does not decode; named if the window is within one chunk of images. Missing chunks
                raise MissingChunkError, and errors of the store are raised unchanged.
        """
        stored = self._stored_window(window)
        shape = [part.stop - part.start for part in stored]
        if out is not None and self._in_order and self._chunks.read(stored, out.reshape(shape)):
            return out
        try:
            values = self._read(stored)
        except ChunkDecodeError:
            if len(chunk_range(window[0], self._spec.chunks[0])) == 1:
                self._find_damage(stored)
            raise
        squeezed = (axis for axis in range(values.ndim) if axis not in self._spec.axes)
        values = values.transpose(*self._spec.axes, *squeezed).reshape([part.stop - part.start for part in window])
        if values.dtype.kind in "iu" and values.dtype.name != self._spec.dtype:  # the attribute `_Unsigned`
            values = values.astype(self._spec.dtype)
        if out is not None and not self._in_order:
            np.copyto(out, values)
            return out
        return np.ascontiguousarray(values, None if values.dtype.isnative else values.dtype.newbyteorder("="))

    def _read(self, window: tuple[slice, ...]) -> NDArray[Any]:
        """Read a window in stored axis order."""
        self._store.reset_errors()
        self._validator.check_shards(window, absent_is_missing=self._absent_is_missing)
        try:
            values = np.asarray(self._bounded[window])
        except (ChunkDecodeError, MemoryError):
            raise
        except Exception as e:  # codecs have no common base class of errors
            if self._store.failures:
                raise
            keys = list(self._keys(window))
            which = f"chunk {keys[0]}" if len(keys) == 1 else f"one of the chunks {keys[0]} to {keys[-1]}"
            raise ChunkDecodeError(f"{which} of {self._spec.url} does not decode ({codec_error_message(e)})") from e
        # After a failed read zarr leaves other requests running, which may record absent keys of another window.
        absent = self._store.absent and [key for key in self._keys(window) if key in self._store.absent]
        if self._absent_is_missing and absent:
            file = self._store.describe_file(absent[0])
            raise MissingChunkError(f"chunk {absent[0]} of {self._spec.url} does not exist{file}")
        return values

    def _keys(self, window: tuple[slice, ...]) -> Iterator[str]:
        """Yield the keys of the objects that hold a window, in order."""
        sizes = self._array.shards or self._array.chunks
        for index in product(*map(chunk_range, window, sizes)):
            yield self._array.metadata.encode_chunk_key(index)

    def _find_damage(self, window: tuple[slice, ...]) -> None:
        """Read a damaged window chunk by chunk.

        Raises MissingChunkError for the first missing chunk, else ChunkDecodeError for the first damaged one.
        """
        first: ChunkDecodeError | None = None
        for index in product(*map(chunk_range, window, self._array.chunks)):
            axes = zip(window, index, self._array.chunks, strict=True)
            try:
                self._read(tuple(slice(max(part.start, n * s), min(part.stop, (n + 1) * s)) for part, n, s in axes))
            except ChunkDecodeError as e:
                first = first or e
        if first is not None:
            raise first
