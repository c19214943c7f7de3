"""What can be told of a chunk by its bytes and by its shard's index, before any codec sees it.

zarr reads an absent chunk, and an absent inner chunk of a shard, as the fill value; it takes an inner chunk of no bytes
for an absent one; and blosc reads on behind the end of its input. None of them says so. Here it is said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.codecs import ShardingCodec
from zarr.core.buffer import Buffer
from zarr.core.metadata import ArrayV3Metadata

_NO_CHUNK = 2**64 - 1
_KEPT = 128
"""Shards whose indexes are kept."""
_BLOSC_HEADER = 16

Get = Callable[[str, ByteRequest], Buffer | None]


class MissingChunkError(Exception):
    """A chunk that the array's metadata promises does not exist in the store."""


class ChunkDecodeError(Exception):
    """A chunk exists and does not decode."""


class ChunkValidator:
    """The checks of one array at ``url``. ``get`` reads a part of an object of the store."""

    def __init__(self, array: zarr.Array[Any], url: str, get: Get) -> None:
        self._array, self._url, self._get = array, url, get
        metadata = array.metadata
        codecs: tuple[Any, ...] = metadata.codecs if isinstance(metadata, ArrayV3Metadata) else (metadata.compressor,)
        self._sharding = next((codec for codec in codecs if isinstance(codec, ShardingCodec)), None)
        last = self._sharding.codecs[-1] if self._sharding else codecs[-1]
        self._blosc = type(last).__name__ in ("BloscCodec", "Blosc")
        index_codecs = self._sharding.index_codecs if self._sharding else ()
        self._checksum = 4 if any(type(codec).__name__ == "Crc32cCodec" for codec in index_codecs) else 0
        self._at_end = self._sharding is not None and self._sharding.index_location.value == "end"
        self._indexes: dict[str, NDArray[np.uint64]] = {}

    def check_bytes(self, key: str, value: Buffer, byte_range: ByteRequest | None) -> None:
        """Look at bytes that came. Raises Unreadable where they are fewer than they should be."""
        if isinstance(byte_range, RangeByteRequest):
            self._at_least(key, len(value), byte_range.end - byte_range.start)
        if self._sharding is None:
            if self._blosc and byte_range is None:
                self._check_blosc(key, value)
        elif key in self._indexes and not isinstance(byte_range, SuffixByteRequest):
            index = self._indexes[key]
            written = index[index[:, 0] != _NO_CHUNK].tolist()
            if byte_range is None and not (self._at_end and self._checksum):  # there zarr's own checksum tells
                self._at_least(key, len(value), max((offset + size for offset, size in written), default=0))
            start = byte_range.start if isinstance(byte_range, RangeByteRequest) else 0
            start = byte_range.offset if isinstance(byte_range, OffsetByteRequest) else start
            for offset, size in written if self._blosc else ():
                if start <= offset and offset - start + size <= len(value):
                    self._check_blosc(key, value[offset - start : offset - start + size])

    def _check_blosc(self, key: str, value: Buffer) -> None:
        """The header of a blosc chunk says how long it is."""
        header = value[:_BLOSC_HEADER].to_bytes()
        self._at_least(key, len(header), _BLOSC_HEADER)
        size = int.from_bytes(header[12:16], "little")
        self._at_least(key, len(value), size)
        if size != len(value):
            raise ChunkDecodeError(
                f"chunk {key} of {self._url} does not decode (its blosc header says {size:,} bytes, it has "
                f"{len(value):,})"
            )

    def _at_least(self, key: str, size: int, needed: int) -> None:
        if size < needed:
            raise ChunkDecodeError(
                f"chunk {key} of {self._url} is cut short: {size:,} bytes where {needed:,} should be"
            )

    def check_shards(self, window: tuple[slice, ...], *, absent_is_missing: bool) -> None:
        """Look into the index of every shard of a window (stored axis order). Raises MissingChunk where it says that
        an inner chunk of the window was never written."""
        if self._sharding is None:
            return
        for old in list(self._indexes)[: max(0, len(self._indexes) - _KEPT)]:
            del self._indexes[old]
        for place in self._shards(window):
            key = self._array.metadata.encode_chunk_key(place)
            index = self._indexes.pop(key, None)
            if index is None:
                index = self._read_index(key)
            if index is None and absent_is_missing:
                raise MissingChunkError(f"shard {key} of {self._url} does not exist")
            if index is None:
                continue
            self._indexes[key] = index  # the last one read stands last
            number = self._first_absent(index, window, place) if absent_is_missing else None
            if number is not None:
                raise MissingChunkError(f"inner chunk {number} of shard {key} of {self._url} does not exist")

    def locate(self, place: tuple[int, ...]) -> tuple[str, ByteRequest | None] | None:
        """Where a chunk lies, by its place in the array; inside a shard, whose index `check_shards` has read, its part
        of it. None where it was never written."""
        path = f"{self._array.path}/" if self._array.path else ""
        if self._sharding is None:
            return path + self._array.metadata.encode_chunk_key(place), None
        counts = self._per_shard()
        key = self._array.metadata.encode_chunk_key(tuple(n // count for n, count in zip(place, counts, strict=True)))
        if key not in self._indexes:
            return None
        inside = np.ravel_multi_index([n % count for n, count in zip(place, counts, strict=True)], counts)
        offset, size = (int(number) for number in self._indexes[key][inside])
        return None if offset == _NO_CHUNK else (path + key, RangeByteRequest(offset, offset + size))

    def _shards(self, window: tuple[slice, ...]) -> Iterator[tuple[int, ...]]:
        sizes = self._array.shards or ()
        grid = [range(part.start // size, -(-part.stop // size)) for part, size in zip(window, sizes, strict=True)]
        for shard in np.ndindex(*(len(places) for places in grid)):
            yield tuple(places[i] for places, i in zip(grid, shard, strict=True))

    def _per_shard(self) -> tuple[int, ...]:
        sizes = zip(self._array.shards or (), self._array.chunks, strict=True)
        return tuple(size // small for size, small in sizes)

    def _first_absent(
        self, index: NDArray[np.uint64], window: tuple[slice, ...], place: tuple[int, ...]
    ) -> tuple[int, ...] | None:
        """The place in its shard of the first inner chunk of the window that is absent, or None."""
        parts = []
        sizes = zip(window, self._array.shards or (), place, self._array.chunks, strict=True)
        for part, size, number, small in sizes:
            low, high = max(part.start - number * size, 0), min(part.stop - number * size, size)
            parts.append(slice(low // small, -(-high // small)))
        absent = (index == _NO_CHUNK).all(axis=1).reshape(self._per_shard())[tuple(parts)]
        if not absent.any():
            return None
        return tuple(part.start + int(i) for part, i in zip(parts, np.argwhere(absent)[0], strict=True))

    def _read_index(self, key: str) -> NDArray[np.uint64] | None:
        """(inner chunks, 2): offset and size of each, as the shard's index has them; None where there is no shard."""
        count = math.prod(self._per_shard())
        size = 16 * count + self._checksum
        index = self._get(key, SuffixByteRequest(size) if self._at_end else RangeByteRequest(0, size))
        if index is None:
            return None
        self._at_least(key, len(index), size)
        entries, checksum = index.to_bytes()[: 16 * count], index.to_bytes()[16 * count : size]
        if self._checksum and google_crc32c.value(entries) != int.from_bytes(checksum, "little"):
            raise ChunkDecodeError(
                f"chunk {key} of {self._url} does not decode (the checksum of its shard's index is wrong)"
            )
        return np.frombuffer(entries, "<u8").reshape(-1, 2)


def natural_sort_key(key: str) -> list[tuple[int, str]]:
    """Chunk keys in the order of their numbers: c/2/0 before c/10/0."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"[/.]", key)]


def codec_error_message(error: Exception) -> str:
    """What a codec says, without the bytes it quotes."""
    text = re.sub(r"b(['\"])([\w ',]+)\1", r"\2", str(error)).split(". Stored: ")[0]
    text = re.sub(r" ?\(?b(['\"]).*?\1\)?", "", text).strip(" .")
    name = type(error).__name__
    name = name if name[0].isupper() else f"{type(error).__module__}.{name}"
    return f"{name}: {text}" if text else name
