"""Zarr arrays: read in whole chunks with every loss noticed, and written in whole chunks."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest, Store, SuffixByteRequest
from zarr.codecs import ShardingCodec, ZstdCodec
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from masksift.schema import ArraySpec
from masksift.storage.objects import local_path

__all__ = ["CLASSES", "EVIDENCE", "MASK", "ArrayReader", "EvidenceArrays", "MissingChunk", "Unreadable", "open_group", "open_store"]

_NO_CHUNK = 2**64 - 1


class MissingChunk(Exception):
    """A chunk that the array's metadata promises does not exist in the store."""


class Unreadable(Exception):
    """A chunk exists and does not decode."""


class _WatchedStore(WrapperStore[Store]):
    """A store that counts what is read and written and notes the keys that were asked for and are not there.

    zarr reads an absent chunk as the fill value, in silence; here the silence is broken at no further request.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.absent: list[str] = []
        self.bytes = 0
        self.requests = 0
        self.written = 0

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        value = await super().get(key, prototype, byte_range)
        self.requests += 1
        if value is None:
            self.absent.append(key)
        else:
            self.bytes += len(value)
        return value

    async def set(self, key: str, value: Buffer) -> None:
        await super().set(key, value)
        self.written += len(value)


def open_store(url: str, options: Mapping[str, Any], *, read_only: bool) -> Store:
    """The zarr store at a URL."""
    path = local_path(url)
    if path is not None:
        return LocalStore(path, read_only=read_only)
    return FsspecStore.from_url(url, storage_options=dict(options), read_only=read_only)


def open_group(url: str, options: Mapping[str, Any]) -> zarr.Group:
    """The Zarr group (v2 or v3) at a URL, read-only. Raises FileNotFoundError where there is none."""
    return zarr.open_group(open_store(url, options, read_only=True), mode="r")


class ArrayReader:
    """Reads windows of one array in canonical axis order and notices what is not there.

    ``bytes`` and ``requests`` count what was read from the store. One reader serves one thread at a time.
    """

    def __init__(self, spec: ArraySpec, options: Mapping[str, Any], *, absent_is_missing: bool = True) -> None:
        self._spec = spec
        self._absent_is_missing = absent_is_missing
        self._store = _WatchedStore(open_store(spec.url, options, read_only=True))
        self._array = zarr.open_array(self._store, mode="r")
        self._store.absent.clear()
        self._empty_inner: dict[tuple[int, ...], NDArray[np.bool_]] = {}

    @property
    def bytes(self) -> int:
        return self._store.bytes

    @property
    def requests(self) -> int:
        return self._store.requests

    def read(self, *window: slice) -> NDArray[Any]:
        """The window, one slice with start and stop an axis in canonical order, C-contiguous.

        Raises MissingChunk, Unreadable; errors of the store itself (OSError) pass through.
        """
        stored = [slice(0, 0)] * len(window)
        for place, part in zip(self._spec.axes, window, strict=True):
            stored[place] = part
        if self._absent_is_missing and self._spec.shards is not None:
            self._check_shards(tuple(stored))
        self._store.absent.clear()
        try:
            values = np.asarray(self._array[tuple(stored)])
        except (gzip.BadGzipFile, EOFError) as e:
            raise Unreadable(f"{type(e).__name__}: {e}") from e
        except (OSError, MemoryError):
            raise
        except Exception as e:  # every codec has errors of its own
            raise Unreadable(f"{type(e).__name__}: {e}") from e
        if self._absent_is_missing and self._store.absent:
            raise MissingChunk(f"chunk {self._store.absent[0]} of {self._spec.url} does not exist")
        return np.ascontiguousarray(values.transpose(self._spec.axes))

    def _check_shards(self, window: tuple[slice, ...]) -> None:
        """Raise MissingChunk where the index of a shard says that an inner chunk in the window was never written."""
        shape = self._array.shards
        inner = self._array.chunks
        assert shape is not None
        grid = [range(part.start // size, -(-part.stop // size)) for part, size in zip(window, shape, strict=True)]
        for shard in np.ndindex(*(len(places) for places in grid)):
            place = tuple(places[i] for places, i in zip(grid, shard, strict=True))
            empty = self._empty(place)
            parts = []
            for part, size, start, small in zip(window, shape, place, inner, strict=True):
                low, high = max(part.start - start * size, 0), min(part.stop - start * size, size)
                parts.append(slice(low // small, -(-high // small)))
            if empty[tuple(parts)].any():
                first = tuple(int(i) for i in np.argwhere(empty[tuple(parts)])[0])
                number = tuple(part.start + i for part, i in zip(parts, first, strict=True))
                raise MissingChunk(f"inner chunk {number} of shard {place} of {self._spec.url} does not exist")

    def _empty(self, place: tuple[int, ...]) -> NDArray[np.bool_]:
        """Which inner chunks of a shard are absent, by its index (Zarr v3, sharding_indexed)."""
        if place in self._empty_inner:
            return self._empty_inner[place]
        codec = next(codec for codec in self._array.metadata.codecs if isinstance(codec, ShardingCodec))
        per_shard = tuple(size // small for size, small in zip(self._array.shards or (), self._array.chunks, strict=True))
        count = int(np.prod(per_shard))
        checksum = 4 if any(type(c).__name__ == "Crc32cCodec" for c in codec.index_codecs) else 0
        size = 16 * count + checksum
        key = self._array.metadata.encode_chunk_key(place)
        at_end = codec.index_location.value == "end"
        request: ByteRequest = SuffixByteRequest(size) if at_end else zarr.abc.store.RangeByteRequest(0, size)
        index = sync(self._store.get(f"{self._array.path}/{key}".lstrip("/"), default_buffer_prototype(), request))
        if index is None:
            raise MissingChunk(f"shard {key} of {self._spec.url} does not exist")
        if len(index) < size:
            raise Unreadable(f"shard {key} of {self._spec.url} is cut short: its index has {len(index)} of {size} bytes")
        entries = np.frombuffer(index.to_bytes()[: 16 * count], "<u8").reshape(-1, 2)
        self._empty_inner = {place: (entries == _NO_CHUNK).all(axis=1).reshape(per_shard)}  # the last shard is enough
        return self._empty_inner[place]


CLASSES = "predicted_class"
EVIDENCE = ("self_confidence", CLASSES, "predicted_confidence")
MASK = "issue_mask"


class EvidenceArrays:
    """The evidence group of one source: the three planes and the issue mask, each (image, y, x).

    ``bytes``, ``requests`` and ``written`` count what went over the store.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._store = _WatchedStore(open_store(url, options, read_only=False))
        self._group: zarr.Group | None = None

    def create(
        self, names: tuple[str, ...], dtypes: Mapping[str, str], shape: tuple[int, int, int],
        chunks: tuple[int, int, int], attributes: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """Create the arrays that are not there yet; those that are stay as they are."""
        group = zarr.open_group(self._store, mode="a", zarr_format=3)
        group.attrs.update(dict(attributes))
        for name in names:
            if name not in group:
                group.create_array(
                    name, shape=shape, chunks=chunks, dtype=dtypes[name], fill_value=0, compressors=[ZstdCodec(level=1)],
                    dimension_names=("image", "y", "x"), config={"write_empty_chunks": True},
                )  # fmt: skip

    def _array(self, name: str) -> zarr.Array[Any]:
        if self._group is None:
            self._group = zarr.open_group(self._store, mode="r+")
        array = self._group[name]
        assert isinstance(array, zarr.Array)
        return array.with_config({"write_empty_chunks": True})

    @property
    def bytes(self) -> int:
        return self._store.bytes

    @property
    def requests(self) -> int:
        return self._store.requests

    @property
    def written(self) -> int:
        return self._store.written

    def write(self, name: str, start: int, planes: NDArray[Any]) -> None:
        """Write planes (n, H, W) as images [start, start + n): whole chunks, which nobody else writes."""
        self._array(name)[start : start + len(planes)] = planes

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Planes (stop - start, H, W) of images [start, stop)."""
        return np.asarray(self._array(name)[start:stop])
