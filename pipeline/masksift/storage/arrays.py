"""Zarr arrays: read in whole chunks with every loss noticed, and written in whole chunks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from obstore.store import S3Store
from zarr.abc.store import ByteRequest, RangeByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, ObjectStore, WrapperStore

from masksift.schema import ArraySpec
from masksift.storage.access import for_fsspec, for_obstore, options_of
from masksift.storage.chunks import ChunkCheck, MissingChunk, Unreadable, natural, said
from masksift.storage.direct import DirectReader, Part, chunks_of
from masksift.storage.objects import local_path, unknown_place

__all__ = [
    "ArrayReader",
    "MissingChunk",
    "Unreadable",
    "WatchedStore",
    "open_group",
    "open_store",
    "read_directly",
]


AT_ONCE = 10
"""Objects that are asked for at a time, as zarr does."""


class WatchedStore(WrapperStore[Store]):
    """A store that counts what is read and written and notes the keys that were asked for and are not there.

    ``failures``: what the store itself raised, which is no fault of a chunk. ``check``: looks at the bytes that come.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.check: Callable[[str, Buffer, ByteRequest | None], None] | None = None
        self.bytes = 0
        self.requests = 0
        self.written = 0
        self._kept = np.empty(0, np.uint8)
        self.forget()

    def forget(self) -> None:
        """Begin a read: nothing is noted yet."""
        self.absent: list[str] = []
        self.failures: list[Exception] = []

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        self.requests += 1
        try:
            value = await super().get(key, prototype, byte_range)
        except Exception as e:
            self.failures.append(e)
            raise
        if value is None:
            self.absent.append(key)
            return None
        self.bytes += len(value)
        if self.check is not None:
            self.check(key, value, byte_range)
        return value

    def fetch(self, parts: list[Part]) -> Iterator[NDArray[np.uint8] | None]:
        """The bytes of objects or of parts of them, None for one that is not there; those from the local disk lie in
        memory that the next one is read into."""
        if isinstance(self._store, LocalStore):
            for part in parts:
                yield self._from_disk(self._store.root / part[0], *part)
            return
        for first in range(0, len(parts), AT_ONCE):
            for value in sync(self._get_all(parts[first : first + AT_ONCE])):
                yield None if value is None else value.as_numpy_array()

    async def _get_all(self, parts: list[Part]) -> list[Buffer | None]:
        """All asked for at once and all waited for."""
        prototype = default_buffer_prototype()
        found = await asyncio.gather(*(self.get(key, prototype, part) for key, part in parts), return_exceptions=True)
        for value in found:
            if isinstance(value, BaseException):
                raise value
        return found  # type: ignore[return-value]

    def _from_disk(self, path: Path, key: str, part: ByteRequest | None) -> NDArray[np.uint8] | None:
        self.requests += 1
        try:
            with path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if isinstance(part, RangeByteRequest):
                    file.seek(part.start)
                    size = max(0, min(size, part.end) - part.start)
                if self._kept.size < size:
                    self._kept = np.empty(size + size // 4, np.uint8)
                data = self._kept[:size]
                data = data[: file.readinto(data.data)]
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except Exception as e:
            self.failures.append(e)
            raise
        self.bytes += data.size
        if self.check is not None:
            self.check(key, default_buffer_prototype().buffer.from_array_like(data), part)
        return data

    def part(self, key: str, part: ByteRequest) -> Buffer | None:
        """A part of an object, or None where there is none."""
        return sync(self.get(key, default_buffer_prototype(), part))

    def first_absent(self) -> str | None:
        """The first key that was asked for and is not there."""
        return min(self.absent, key=natural, default=None)

    async def set(self, key: str, value: Buffer) -> None:
        await super().set(key, value)
        self.written += len(value)


def open_store(url: str, options: Mapping[str, Any], *, read_only: bool) -> Store:
    """The zarr store at a URL."""
    path = local_path(url)
    if path is not None:
        return LocalStore(path, read_only=read_only)
    own = options_of(url, options)
    if own.get("client") == "obstore":
        return ObjectStore(_s3_store(url, tuple(own.items())), read_only=read_only)
    try:
        return FsspecStore.from_url(url, storage_options=for_fsspec(own), read_only=read_only)
    except (ValueError, ImportError) as e:
        raise unknown_place(url, e) from e


@lru_cache(maxsize=256)  # a block opens some arrays, and its worker many blocks: they share their connections
def _s3_store(url: str, options: tuple[tuple[str, Any], ...]) -> S3Store:
    bucket, _, prefix = url.split("://", 1)[1].strip("/").partition("/")
    return S3Store(bucket, prefix=prefix or None, **for_obstore(dict(options)))


def open_group(url: str, options: Mapping[str, Any]) -> zarr.Group:
    """The Zarr group (v2 or v3) at a URL, read-only, as it is now: consolidated metadata may be older than its arrays.
    Raises FileNotFoundError where there is none."""
    return zarr.open_group(open_store(url, options, read_only=True), mode="r", use_consolidated=False)


class ArrayReader:
    """Reads windows of one array in canonical axis order and notices what is not there.

    ``bytes`` and ``requests`` count what was read from the store. One reader serves one thread at a time.
    """

    def __init__(self, spec: ArraySpec, options: Mapping[str, Any], *, absent_is_missing: bool = True) -> None:
        self._spec = spec
        self._absent_is_missing = absent_is_missing
        self._store = WatchedStore(open_store(spec.url, options, read_only=True))
        self._array = zarr.open_array(self._store, mode="r")
        self._check = ChunkCheck(self._array, spec.url, self._store.part)
        self._store.check = self._check.check_bytes
        self._in_order = spec.axes == tuple(range(len(spec.axes)))
        self._direct = DirectReader(self._array, self._check.locate, self._store.fetch)

    @property
    def bytes(self) -> int:
        return self._store.bytes

    @property
    def requests(self) -> int:
        return self._store.requests

    def read(self, *window: slice, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The window, one slice with start and stop an axis in canonical order, C-contiguous, in native byte order.

        ``out``: memory of the window's shape and dtype, C-contiguous; what is answered lies in it where that saves
        work, else elsewhere. Raises MissingChunk, Unreadable, which name the chunk where the window lies in one chunk
        of images; errors of the store itself pass through.
        """
        stored = [slice(0, 0)] * len(window)
        for place, part in zip(self._spec.axes, window, strict=True):
            stored[place] = part
        if out is not None and self._in_order and self._read_directly(tuple(stored), out):
            return out
        try:
            values = self._read(tuple(stored))
        except Unreadable:
            if len(chunks_of(window[0], self._spec.chunks[0])) == 1:
                self._find_fault(tuple(stored))
            raise
        if out is not None and not self._in_order:
            np.copyto(out, values.transpose(self._spec.axes))
            return out
        return np.ascontiguousarray(values.transpose(self._spec.axes), values.dtype.newbyteorder("="))

    def _read_directly(self, window: tuple[slice, ...], out: NDArray[Any]) -> bool:
        try:
            self._check.check_shards(window, absent_is_missing=self._absent_is_missing)
        except (MissingChunk, Unreadable):
            return False  # it comes out again where zarr reads the window
        return read_directly(self._direct, self._store, window, out)

    def _read(self, window: tuple[slice, ...]) -> NDArray[Any]:
        """The window in stored axis order."""
        self._store.forget()
        self._check.check_shards(window, absent_is_missing=self._absent_is_missing)
        try:
            values = np.asarray(self._array[window])
        except (Unreadable, MemoryError):
            raise
        except Exception as e:  # every codec has errors of its own
            if self._store.failures:
                raise
            keys = list(self._keys(window))
            which = f"chunk {keys[0]}" if len(keys) == 1 else f"one of the chunks {keys[0]} to {keys[-1]}"
            raise Unreadable(f"{which} of {self._spec.url} does not decode ({said(e)})") from e
        # zarr does not wait for the other chunks of a read that failed: what it notes late is no matter of this window.
        absent = self._store.absent and [key for key in self._keys(window) if key in self._store.absent]
        if self._absent_is_missing and absent:
            raise MissingChunk(f"chunk {absent[0]} of {self._spec.url} does not exist")
        return values

    def _keys(self, window: tuple[slice, ...]) -> Iterator[str]:
        """The objects that a window lies in, in order."""
        sizes = self._array.shards or self._array.chunks
        for place in product(*map(chunks_of, window, sizes)):
            yield self._array.metadata.encode_chunk_key(place)

    def _find_fault(self, window: tuple[slice, ...]) -> None:
        """Read a window in which something does not decode chunk by chunk, in order. Raises MissingChunk for the first
        chunk that is not there, else Unreadable for the first that does not decode."""
        first: Unreadable | None = None
        for place in product(*map(chunks_of, window, self._array.chunks)):
            inside = zip(window, place, self._array.chunks, strict=True)
            try:
                self._read(tuple(slice(max(part.start, n * s), min(part.stop, (n + 1) * s)) for part, n, s in inside))
            except Unreadable as e:
                first = first or e
        if first is not None:
            raise first


def read_directly(reader: DirectReader, store: WatchedStore, window: tuple[slice, ...], out: NDArray[Any]) -> bool:
    """Whether the window (stored axis order) could be decoded straight into `out`. Errors of the store itself pass
    through; what is wrong with a chunk comes out again where zarr reads it."""
    store.forget()
    try:
        return reader.read(window, out)
    except MemoryError:
        raise
    except Exception:  # every codec has errors of its own
        if store.failures:
            raise
        return False
