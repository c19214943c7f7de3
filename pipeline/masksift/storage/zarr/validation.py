"""Validate the bytes of chunks and the indexes of shards before a codec reads them.

Without it damage would go unnoticed: zarr reads an absent chunk, and an absent inner chunk of a shard, as the fill
value; it takes an empty inner chunk as absent; and blosc reads beyond the end of its input.
"""

from __future__ import annotations

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

from masksift.storage.zarr.bounded_codecs import decoded_size

_ABSENT_CHUNK = 2**64 - 1
_CACHED_INDEXES = 128
_BLOSC_HEADER_BYTES = 16
_MAX_OFFSET = 2**62

ReadRange = Callable[[str, ByteRequest], Buffer | None]


class MissingChunkError(Exception):
    """A chunk that the metadata of an array require is not in the store."""


class ChunkDecodeError(Exception):
    """A chunk exists and does not decode."""


class ChunkValidator:
    """Validator of one array.

    Args:
        array: The array.
        url: Its URL, for messages.
        read_range: Reads a byte range of an object of the store.
    """

    def __init__(self, array: zarr.Array[Any], url: str, read_range: ReadRange) -> None:
        self._array, self._url, self._read_range = array, url, read_range
        metadata = array.metadata
        codecs: tuple[Any, ...] = metadata.codecs if isinstance(metadata, ArrayV3Metadata) else (metadata.compressor,)
        self._sharding = next((codec for codec in codecs if isinstance(codec, ShardingCodec)), None)
        last = self._sharding.codecs[-1] if self._sharding else codecs[-1]
        self._is_blosc = type(last).__name__ in ("BloscCodec", "Blosc")
        index_codecs = self._sharding.index_codecs if self._sharding else ()
        self._checksum_bytes = 4 if any(type(codec).__name__ == "Crc32cCodec" for codec in index_codecs) else 0
        self._index_at_end = self._sharding is not None and self._sharding.index_location.value == "end"
        self._indexes: dict[str, NDArray[np.uint64]] = {}
        self._size = decoded_size(array)

    @property
    def max_object_bytes(self) -> int:
        """Largest size of a chunk or a shard in the store."""
        return self._size.object_bytes

    def decode_error(self, key: str, reason: str) -> ChunkDecodeError:
        """Make the error for a chunk that cannot be read."""
        return ChunkDecodeError(f"chunk {key} of {self._url} does not decode ({reason})")

    def check_object(self, key: str, size: int) -> None:
        """Raise ChunkDecodeError for an object that is larger than a chunk or a shard can be."""
        if size > self.max_object_bytes:
            raise ChunkDecodeError(
                f"chunk {key} of {self._url} does not decode (it has {size:,} bytes, where at most "
                f"{self.max_object_bytes:,} are expected)"
            )

    def check_range(self, key: str, byte_range: ByteRequest | None) -> None:
        """Raise ChunkDecodeError for a range, from the index of a shard, that cannot be an inner chunk."""
        if self._sharding is None or not isinstance(byte_range, RangeByteRequest):
            return
        size = byte_range.end - byte_range.start
        if not 0 <= size <= max(self._size.chunk_bytes, self._size.index_bytes) or byte_range.end > _MAX_OFFSET:
            raise ChunkDecodeError(
                f"chunk {key} of {self._url} does not decode (its index has an inner chunk of {size:,} bytes at byte "
                f"{byte_range.start:,}, where at most {self._size.chunk_bytes:,} are expected)"
            )

    def check_bytes(self, key: str, value: Buffer, byte_range: ByteRequest | None) -> None:
        """Raise ChunkDecodeError if an answer of the store is truncated."""
        if isinstance(byte_range, RangeByteRequest):
            self._check_size(key, len(value), byte_range.end - byte_range.start)
        if self._sharding is None:
            if self._is_blosc and byte_range is None:
                self._check_blosc(key, value)
        elif key in self._indexes and not isinstance(byte_range, SuffixByteRequest):
            index = self._indexes[key]
            chunks = index[index[:, 0] != _ABSENT_CHUNK].tolist()
            if byte_range is None and not (self._index_at_end and self._checksum_bytes):  # else zarr's checksum tells
                self._check_size(key, len(value), max((offset + size for offset, size in chunks), default=0))
            start = byte_range.start if isinstance(byte_range, RangeByteRequest) else 0
            start = byte_range.offset if isinstance(byte_range, OffsetByteRequest) else start
            for offset, size in chunks if self._is_blosc else ():
                if start <= offset and offset - start + size <= len(value):
                    self._check_blosc(key, value[offset - start : offset - start + size])

    def _check_blosc(self, key: str, value: Buffer) -> None:
        """Compare the size of a blosc chunk with its header."""
        header = value[:_BLOSC_HEADER_BYTES].to_bytes()
        self._check_size(key, len(header), _BLOSC_HEADER_BYTES)
        size = int.from_bytes(header[12:16], "little")
        self._check_size(key, len(value), size)
        if size != len(value):
            raise ChunkDecodeError(
                f"chunk {key} of {self._url} does not decode (its blosc header says {size:,} bytes, it has "
                f"{len(value):,})"
            )

    def _check_size(self, key: str, size: int, expected: int) -> None:
        if size < expected:
            raise ChunkDecodeError(
                f"chunk {key} of {self._url} is truncated: {size:,} bytes where {expected:,} are expected"
            )

    def check_shards(self, window: tuple[slice, ...], *, absent_is_missing: bool) -> None:
        """Read the index of every shard of a window in stored axis order.

        Args:
            window: Slices in stored axis order.
            absent_is_missing: Refuse absent shards and inner chunks.

        Raises:
            MissingChunkError: A shard or an inner chunk of the window is absent, and this is refused.
        """
        if self._sharding is None:
            return
        for oldest in list(self._indexes)[: max(0, len(self._indexes) - _CACHED_INDEXES)]:
            del self._indexes[oldest]
        for shard in self._shards(window):
            key = self._array.metadata.encode_chunk_key(shard)
            index = self._indexes.pop(key, None)
            if index is None:
                index = self._read_index(key)
            if index is None and absent_is_missing:
                raise MissingChunkError(f"shard {key} of {self._url} does not exist")
            if index is None:
                continue
            self._indexes[key] = index  # last, as the most recently used
            absent = self._first_absent(index, window, shard) if absent_is_missing else None
            if absent is not None:
                raise MissingChunkError(f"inner chunk {absent} of shard {key} of {self._url} does not exist")

    def locate(self, chunk: tuple[int, ...]) -> tuple[str, ByteRequest | None] | None:
        """Return key and byte range of a chunk by its index in the array, or None if it was never written.

        With sharding, `check_shards` must have read the index of the shard.
        """
        prefix = f"{self._array.path}/" if self._array.path else ""
        if self._sharding is None:
            return prefix + self._array.metadata.encode_chunk_key(chunk), None
        counts = self._chunks_per_shard()
        key = self._array.metadata.encode_chunk_key(tuple(n // count for n, count in zip(chunk, counts, strict=True)))
        if key not in self._indexes:
            return None
        position = np.ravel_multi_index([n % count for n, count in zip(chunk, counts, strict=True)], counts)
        offset, size = (int(number) for number in self._indexes[key][position])
        if offset == _ABSENT_CHUNK:
            return None
        byte_range = RangeByteRequest(offset, offset + size)
        self.check_range(key, byte_range)
        return prefix + key, byte_range

    def _shards(self, window: tuple[slice, ...]) -> Iterator[tuple[int, ...]]:
        sizes = self._array.shards or ()
        grid = [range(part.start // size, -(-part.stop // size)) for part, size in zip(window, sizes, strict=True)]
        for shard in np.ndindex(*(len(numbers) for numbers in grid)):
            yield tuple(numbers[i] for numbers, i in zip(grid, shard, strict=True))

    def _chunks_per_shard(self) -> tuple[int, ...]:
        return tuple(shard // chunk for shard, chunk in zip(self._array.shards or (), self._array.chunks, strict=True))

    def _first_absent(
        self, index: NDArray[np.uint64], window: tuple[slice, ...], shard: tuple[int, ...]
    ) -> tuple[int, ...] | None:
        """Return the position in the shard of the first absent inner chunk of the window."""
        parts = []
        for part, size, number, chunk in zip(window, self._array.shards or (), shard, self._array.chunks, strict=True):
            low, high = max(part.start - number * size, 0), min(part.stop - number * size, size)
            parts.append(slice(low // chunk, -(-high // chunk)))
        absent = (index == _ABSENT_CHUNK).all(axis=1).reshape(self._chunks_per_shard())[tuple(parts)]
        if not absent.any():
            return None
        return tuple(part.start + int(i) for part, i in zip(parts, np.argwhere(absent)[0], strict=True))

    def _read_index(self, key: str) -> NDArray[np.uint64] | None:
        """Return offset and size of each inner chunk, (inner chunks, 2), or None if the shard does not exist."""
        size = 16 * self._size.chunks_per_object + self._checksum_bytes
        index = self._read_range(key, SuffixByteRequest(size) if self._index_at_end else RangeByteRequest(0, size))
        if index is None:
            return None
        self._check_size(key, len(index), size)
        length = size - self._checksum_bytes
        entries, checksum = index.to_bytes()[:length], index.to_bytes()[length:size]
        if self._checksum_bytes and google_crc32c.value(entries) != int.from_bytes(checksum, "little"):
            raise ChunkDecodeError(
                f"chunk {key} of {self._url} does not decode (the checksum of its shard's index is wrong)"
            )
        return np.frombuffer(entries, "<u8").reshape(-1, 2)


def natural_sort_key(key: str) -> list[tuple[int, str]]:
    """Sort chunk keys by their numbers: c/2/0 before c/10/0."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"[/.]", key)]


def codec_error_message(error: Exception) -> str:
    """Return type and message of a codec's error without the bytes that it quotes."""
    text = re.sub(r"b(['\"])([\w ',]+)\1", r"\2", str(error)).split(". Stored: ")[0]
    text = re.sub(r" ?\(?b(['\"]).*?\1\)?", "", text).strip(" .")
    name = type(error).__name__
    name = name if name[0].isupper() else f"{type(error).__module__}.{name}"
    return f"{name}: {text}" if text else name
