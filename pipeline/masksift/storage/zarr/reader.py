"""Zarr arrays: read in whole chunks with every loss noticed, and written in whole chunks."""

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
from masksift.storage.zarr.direct_decode import DirectDecoder, chunk_range
from masksift.storage.zarr.prefetch import Prefetcher
from masksift.storage.zarr.stores import InstrumentedStore, ObjectRange, open_store
from masksift.storage.zarr.validation import ChunkDecodeError, ChunkValidator, MissingChunkError, codec_error_message


class ChunkReader:
    """Decodes windows of one array (stored axis order) straight into given memory, where it is stored in a plain way;
    what the windows after it need is under way meanwhile."""

    def __init__(
        self, array: zarr.Array[Any], store: InstrumentedStore, check: ChunkValidator, *, strict: bool = True
    ) -> None:
        """``check``: has the indexes of the array's shards; ``strict``: a chunk that is absent is missing."""
        self._store, self._check, self._strict = store, check, strict
        size = prod(array.chunks) * array.dtype.itemsize
        self._ahead = Prefetcher(store, self._parts, size, PREFETCH_BYTES)
        self._direct = DirectDecoder(array, check.locate, self._ahead.fetch)

    def prefetch(self, windows: Iterable[tuple[slice, ...]]) -> None:
        """The windows that are read next, in this order."""
        self._ahead.prefetch(windows)

    def read(self, window: tuple[slice, ...], out: NDArray[Any]) -> bool:
        """Whether the window could be decoded straight into `out`. Errors of the store itself pass through; what is
        wrong with a chunk comes out again where zarr reads it."""
        self._store.reset_errors()
        self._ahead.advance_to(window)
        try:
            self._check.check_shards(window, absent_is_missing=self._strict)
            return self._direct.read(window, out)
        except MemoryError:
            raise
        except Exception:  # every codec has errors of its own
            if self._store.failures:
                raise
            return False

    def _parts(self, window: tuple[slice, ...]) -> list[ObjectRange] | None:
        self._check.check_shards(window, absent_is_missing=self._strict)
        return self._direct.parts(window)


class ArrayReader:
    """Reads windows of one array in canonical axis order and notices what is not there.

    ``bytes`` and ``requests`` count what was read from the store. One reader serves one thread at a time.
    """

    def __init__(self, spec: ArraySpec, options: Mapping[str, Any], *, absent_is_missing: bool = True) -> None:
        self._spec = spec
        self._absent_is_missing = absent_is_missing
        self._store = InstrumentedStore(open_store(spec.url, options, read_only=True))
        self._array = zarr.open_array(self._store, mode="r", zarr_format=spec.zarr_format)  # type: ignore[arg-type]
        self._check = ChunkValidator(self._array, spec.url, self._store.part)
        self._store.check = self._check.check_bytes
        self._in_order = spec.axes == tuple(range(len(spec.axes)))
        self._chunks = ChunkReader(self._array, self._store, self._check, strict=absent_is_missing)

    @property
    def bytes(self) -> int:
        return self._store.bytes

    @property
    def requests(self) -> int:
        return self._store.requests

    @property
    def io_counters(self) -> Counter[str]:
        """What went over the store, by field name of `TaskResult`."""
        return self._store.io_counters

    def prefetch(self, windows: Iterable[tuple[slice, ...]]) -> None:
        """The windows that are read next, in canonical order and in this order: where the array lies on a network, what
        they need is asked for while those before them are worked on."""
        if self._in_order:
            self._chunks.prefetch(windows)

    def read(self, *window: slice, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The window, one slice with start and stop an axis in canonical order, C-contiguous, in native byte order.

        ``out``: memory of the window's shape and dtype, C-contiguous; what is answered lies in it where that saves
        work, else elsewhere. Raises MissingChunk, Unreadable, which name the chunk where the window lies in one chunk
        of images; errors of the store itself pass through.
        """
        stored = [slice(0, 0)] * len(window)
        for place, part in zip(self._spec.axes, window, strict=True):
            stored[place] = part
        if out is not None and self._in_order and self._chunks.read(tuple(stored), out):
            return out
        try:
            values = self._read(tuple(stored))
        except ChunkDecodeError:
            if len(chunk_range(window[0], self._spec.chunks[0])) == 1:
                self._find_fault(tuple(stored))
            raise
        if out is not None and not self._in_order:
            np.copyto(out, values.transpose(self._spec.axes))
            return out
        return np.ascontiguousarray(values.transpose(self._spec.axes), values.dtype.newbyteorder("="))

    def _read(self, window: tuple[slice, ...]) -> NDArray[Any]:
        """The window in stored axis order."""
        self._store.reset_errors()
        self._check.check_shards(window, absent_is_missing=self._absent_is_missing)
        try:
            values = np.asarray(self._array[window])
        except (ChunkDecodeError, MemoryError):
            raise
        except Exception as e:  # every codec has errors of its own
            if self._store.failures:
                raise
            keys = list(self._keys(window))
            which = f"chunk {keys[0]}" if len(keys) == 1 else f"one of the chunks {keys[0]} to {keys[-1]}"
            raise ChunkDecodeError(f"{which} of {self._spec.url} does not decode ({codec_error_message(e)})") from e
        # zarr does not wait for the other chunks of a read that failed: what it notes late is no matter of this window.
        absent = self._store.absent and [key for key in self._keys(window) if key in self._store.absent]
        if self._absent_is_missing and absent:
            raise MissingChunkError(f"chunk {absent[0]} of {self._spec.url} does not exist")
        return values

    def _keys(self, window: tuple[slice, ...]) -> Iterator[str]:
        """The objects that a window lies in, in order."""
        sizes = self._array.shards or self._array.chunks
        for place in product(*map(chunk_range, window, sizes)):
            yield self._array.metadata.encode_chunk_key(place)

    def _find_fault(self, window: tuple[slice, ...]) -> None:
        """Read a window in which something does not decode chunk by chunk, in order. Raises MissingChunk for the first
        chunk that is not there, else Unreadable for the first that does not decode."""
        first: ChunkDecodeError | None = None
        for place in product(*map(chunk_range, window, self._array.chunks)):
            inside = zip(window, place, self._array.chunks, strict=True)
            try:
                self._read(tuple(slice(max(part.start, n * s), min(part.stop, (n + 1) * s)) for part, n, s in inside))
            except ChunkDecodeError as e:
                first = first or e
        if first is not None:
            raise first
