"""Decode chunks in memory that is bounded by the metadata of their array.

The size of a decoded chunk follows from the metadata, but most codecs allocate what the chunk declares or inflates to:
16 bytes of zstd can ask for a terabyte, and 6 MB of gzip for 6 GiB. Here every compressor stops at the bound of its
array. Other codecs change the size of their input by a fixed factor; those that do not are refused.
"""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import lzma
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numcodecs
import numpy as np
import pyarrow as pa
import zarr
from numcodecs.compat import ensure_contiguous_ndarray, ndarray_copy
from numpy.typing import NDArray
from zarr.abc.codec import BytesBytesCodec, Codec
from zarr.codecs import ShardingCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer
from zarr.core.metadata import ArrayV3Metadata

MAX_CHUNK_BYTES = 64 << 30
"""Largest decoded chunk. No worker holds more."""
MAX_CHUNKS_PER_SHARD = 1 << 22
"""Chunks of a shard: its index has 16 bytes for each."""
MAX_TEXT_BYTES = 256
"""Mean bytes of the texts of a chunk, with `_MARGIN_BYTES` for longer ones in small chunks."""
MAX_DICTIONARY_BYTES = 128 << 20
"""Memory of an LZMA decoder in addition to its output; the highest preset needs half of it."""
_MARGIN_BYTES = 1 << 16
_BLOSC_HEADER_BYTES = 16

Bytes = NDArray[np.uint8]
Config = Mapping[str, Any]


# ------------------------------------------------------------------------------------------------ compressors


def zstd_size(data: Bytes) -> int | None:
    """Return the decoded size from the header of a zstd frame, if it contains one (RFC 8878, 3.1.1.1)."""
    if data[:4].tobytes() != b"\x28\xb5\x2f\xfd" or data.size < 5:
        return None
    descriptor = int(data[4])
    single, flag = descriptor >> 5 & 1, descriptor >> 6
    length = (single, 2, 4, 8)[flag]
    start = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    if length == 0 or data.size < start + length:
        return None
    return int.from_bytes(data[start : start + length].tobytes(), "little") + (256 if length == 2 else 0)


def blosc_size(data: Bytes) -> int | None:
    """Return the decoded size from the header of a Blosc chunk."""
    return int.from_bytes(data[4:8].tobytes(), "little") if data.size >= _BLOSC_HEADER_BYTES else None


def _check(size: int, limit: int) -> int:
    if size > limit:
        raise ValueError(f"it declares {size:,} bytes, but a chunk has at most {limit:,}")
    return size


def _limited(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise ValueError(f"it has more than the {limit:,} bytes of a chunk")
    return data


def _zstd(data: Bytes, limit: int, config: Config) -> Any:
    size = zstd_size(data)
    if size:
        out = np.empty(_check(size, limit), np.uint8)
        try:
            return numcodecs.Zstd().decode(data, out)
        except (RuntimeError, ValueError):  # several frames: only the size of the first one is known
            pass
    with pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(data)), "zstd") as stream:
        return _limited(stream.read(limit + 1), limit)


def _blosc(data: Bytes, limit: int, config: Config) -> Any:
    _check(blosc_size(data) or 0, limit)
    _check(int.from_bytes(data[8:12].tobytes(), "little"), limit)  # memory for a block
    return numcodecs.Blosc().decode(data)


def _lz4(data: Bytes, limit: int, config: Config) -> Any:
    _check(int.from_bytes(data[:4].tobytes(), "little"), limit)
    return numcodecs.LZ4().decode(data)


def _gzip(data: Bytes, limit: int, config: Config) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data.data)) as file:
        return _limited(file.read(limit + 1), limit)


def _bz2(data: Bytes, limit: int, config: Config) -> bytes:
    with bz2.BZ2File(io.BytesIO(data.data)) as file:
        return _limited(file.read(limit + 1), limit)


def _zlib(data: Bytes, limit: int, config: Config) -> bytes:
    stream = zlib.decompressobj()
    return _whole(_limited(stream.decompress(data.data, limit + 1), limit), stream.eof)


def _lzma(data: Bytes, limit: int, config: Config) -> bytes:
    form, filters = config.get("format", lzma.FORMAT_XZ), config.get("filters")
    bound = None if form == lzma.FORMAT_RAW else limit + MAX_DICTIONARY_BYTES
    stream = lzma.LZMADecompressor(form, bound, filters if form == lzma.FORMAT_RAW else None)
    return _whole(_limited(stream.decompress(data.data, limit + 1), limit), stream.eof)


def _whole(data: bytes, ended: bool) -> bytes:
    if not ended:
        raise ValueError("it is truncated")
    return data


COMPRESSORS: Mapping[str, Callable[[Bytes, int, Config], Any]] = {
    "zstd": _zstd,
    "blosc": _blosc,
    "lz4": _lz4,
    "gzip": _gzip,
    "zlib": _zlib,
    "bz2": _bz2,
    "lzma": _lzma,
}
"""Functions of data, largest decoded size and configuration that return the decoded bytes."""
_LINEAR = ("bytes", "transpose", "shuffle", "bitround", "delta", "fixedscaleoffset", "quantize", "astype", "packbits")
_CHECKSUMS = ("base64", "crc32c", "crc32", "adler32", "fletcher32", "jenkins_lookup3")
_TEXT = ("vlen-utf8", "vlen-bytes")
_KNOWN = {*COMPRESSORS, *_LINEAR, *_CHECKSUMS, *_TEXT}


# ---------------------------------------------------------------------------------------------- arrays of zarr


@dataclass(frozen=True)
class DecodedSize:
    """Bounds of the chunks of an array, from its metadata.

    Attributes:
        elements: Values of a chunk.
        chunk_bytes: Largest size of a decoded chunk, and of its encoded forms.
        chunks_per_object: Chunks in an object of the store: those of a shard, else 1.
        unbounded: Codecs whose decoded size has no bound.
    """

    elements: int
    chunk_bytes: int
    chunks_per_object: int
    unbounded: tuple[str, ...]

    @property
    def index_bytes(self) -> int:
        """Largest size of the index of a shard."""
        return 16 * self.chunks_per_object + 4

    @property
    def object_bytes(self) -> int:
        """Largest size of an object of the store."""
        return self.chunks_per_object * self.chunk_bytes + self.index_bytes


def decoded_size(array: zarr.Array[Any]) -> DecodedSize:
    """Return the bounds of an array's chunks."""
    codecs, is_text = _configurations(array), array.dtype.hasobject or array.dtype.kind == "T"
    names = [name for name, _ in codecs]
    elements = math.prod(array.chunks)
    widths = [np.dtype(config[key]).itemsize for _, config in codecs for key in ("dtype", "astype") if key in config]
    size = elements * max([8 + MAX_TEXT_BYTES if is_text else array.dtype.itemsize, *widths])
    size = size * (4 if "base64" in names else 3) // 3
    inner = math.prod(array.shards) // elements if array.shards else 1
    chunk_bytes = size + size // 8 + (16 * _MARGIN_BYTES if is_text else _MARGIN_BYTES)
    dictionaries = [config.get("dict_size", 0) for _, options in codecs for config in options.get("filters") or ()]
    unbounded = [name for name in names if name not in _KNOWN or (name in _TEXT and not is_text)]
    unbounded += ["lzma" for size in dictionaries if size > MAX_DICTIONARY_BYTES]
    return DecodedSize(elements, chunk_bytes, inner, tuple(unbounded))


def bound_array(array: zarr.Array[Any]) -> zarr.Array[Any]:
    """Return the array with compressors that decode at most the size of a chunk."""
    metadata, size = array.metadata, decoded_size(array)
    if isinstance(metadata, ArrayV3Metadata):
        metadata = replace(metadata, codecs=_bound_v3(metadata.codecs, size))
    else:
        metadata = replace(
            metadata,
            compressor=None if metadata.compressor is None else _bound_v2(metadata.compressor, size),
            filters=metadata.filters and tuple(_bound_v2(codec, size) for codec in metadata.filters),
        )
    return zarr.Array(zarr.AsyncArray(metadata, store_path=array.store_path))


def _configurations(array: zarr.Array[Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return name and configuration of the codecs, those of the inner chunks for shards."""
    metadata = array.metadata
    if not isinstance(metadata, ArrayV3Metadata):
        return [
            (codec.codec_id, codec.get_config()) for codec in (*(metadata.filters or ()), metadata.compressor) if codec
        ]
    codecs = metadata.codecs
    if len(codecs) == 1 and isinstance(codecs[0], ShardingCodec):
        codecs = codecs[0].codecs
    while isinstance(codecs[0], ShardingCodec):  # shards in shards
        codecs = (*codecs[0].codecs, *codecs[1:])
    return [_configuration(codec) for codec in codecs]


def _configuration(codec: Codec) -> tuple[str, dict[str, Any]]:
    tree: Mapping[str, Any] = codec.to_dict()
    return str(tree["name"]).removeprefix("numcodecs."), dict(tree.get("configuration", {}))


class _BoundedNumcodec(numcodecs.abc.Codec):  # type: ignore[misc]
    """Codec that decodes at most the size of a chunk."""

    codec_id = ""

    def __init__(self, name: str, config: Config, size: DecodedSize, codec: Any) -> None:
        self.codec_id, self._config, self._size, self._codec = name, config, size, codec

    def encode(self, buf: Any) -> Any:
        return self._codec.encode(buf)

    def decode(self, buf: Any, out: Any = None) -> Any:
        data = ensure_contiguous_ndarray(buf).reshape(-1).view(np.uint8)
        if self.codec_id in _TEXT:
            _check_text(data, self._size.elements)
            return self._codec.decode(data, out)
        return ndarray_copy(COMPRESSORS[self.codec_id](data, self._size.chunk_bytes, self._config), out)

    def get_config(self) -> dict[str, Any]:
        return {"id": self.codec_id, **self._config}


def _bound_v2(codec: Any, size: DecodedSize) -> Any:
    if codec.codec_id not in (*COMPRESSORS, *_TEXT):
        return codec
    return _BoundedNumcodec(codec.codec_id, codec.get_config(), size, codec)


def _bound_v3(codecs: Sequence[Codec], size: DecodedSize) -> tuple[Codec, ...]:
    bounded: list[Codec] = []
    for codec in codecs:
        name, config = _configuration(codec)
        if isinstance(codec, ShardingCodec):
            bounded.append(replace(codec, codecs=_bound_v3(codec.codecs, size)))
        elif name in COMPRESSORS:
            bounded.append(_BoundedCompressor(name, config, size.chunk_bytes))
        else:
            bounded.append(codec)
        if name in _TEXT:
            bounded.append(_TextCount(size.elements))
    return tuple(bounded)


@dataclass(frozen=True)
class _BoundedCompressor(BytesBytesCodec):
    """Compressor that decodes at most `limit` bytes."""

    name: str
    config: Config
    limit: int

    is_fixed_size = False

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        decompress = COMPRESSORS[self.name]
        data = await asyncio.to_thread(decompress, chunk_data.as_numpy_array(), self.limit, self.config)
        return chunk_spec.prototype.buffer.from_array_like(np.frombuffer(data, np.uint8))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        raise NotImplementedError


@dataclass(frozen=True)
class _TextCount(BytesBytesCodec):
    """Check of the number of texts before they are decoded. The bytes stay as they are."""

    elements: int

    is_fixed_size = True

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        _check_text(chunk_data.as_numpy_array(), self.elements)
        return chunk_data

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        return input_byte_length


def _check_text(data: Bytes, elements: int) -> None:
    """Compare the number of texts, for which the decoder allocates memory, with that of a chunk."""
    count = int.from_bytes(data[:4].tobytes(), "little")
    if count != elements:
        raise ValueError(f"it declares {count:,} texts, but a chunk has {elements:,}")
