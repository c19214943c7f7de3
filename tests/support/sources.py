"""Write small Zarr sources in every supported format, and damage them.

    source = write_source(directory / "a.zarr", data, chunks=(3, 5, 4, 10), shards=(6, 5, 8, 10), codec="blosc")
    erase_chunks(source.predictions, slice(3, 6))             # removes the chunks of images 3 to 5
    truncate_file(source.chunk_file("labels", 1, 0, 0), 0.5)  # keeps half of that object

Predictions and labels are passed in canonical axis order (image, class, y, x) and (image, y, x); `order` is the stored
axis order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec
from zarr.core.metadata import ArrayV3Metadata

from support.datasets import Array, Data, make_dataset

__all__ = [
    "CODECS",
    "LABEL_AXES",
    "PREDICTION_AXES",
    "Source",
    "drop_images",
    "erase_chunks",
    "flip_bit",
    "locate_inner_chunk",
    "make_data",
    "truncate_file",
    "write_array",
    "write_source",
]

PREDICTION_AXES = ("image", "class", "y", "x")
LABEL_AXES = ("image", "y", "x")
CODECS = ("zstd", "blosc", "gzip", "crc32c", "none")

_V3: Mapping[str, Any] = {
    "zstd": ZstdCodec(),
    "blosc": BloscCodec(cname="zstd"),
    "gzip": GzipCodec(),
    "crc32c": Crc32cCodec(),
    "none": None,
}
_V2: Mapping[str, Any] = {
    "zstd": numcodecs.Zstd(),
    "blosc": numcodecs.Blosc(cname="zstd"),
    "gzip": numcodecs.GZip(),
    "none": None,
}


@dataclass(frozen=True)
class Source:
    """A source on disk."""

    path: Path
    names: tuple[str, str] = ("predictions", "labels")

    @property
    def predictions(self) -> Path:
        return self.path / self.names[0]

    @property
    def labels(self) -> Path:
        return self.path / self.names[1]

    def chunk_file(self, array: str, *index: int) -> Path:
        """Return the object of a chunk or, with sharding, of a shard."""
        metadata = zarr.open_array(self.path / array, mode="r").metadata
        return self.path / array / metadata.encode_chunk_key(index)

    def __str__(self) -> str:
        return str(self.path)


def write_source(
    path: Path,
    data: Data | None = None,
    *,
    zarr_format: int = 3,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    label_chunks: Sequence[int] | None = None,
    label_shards: Sequence[int] | None = None,
    index_location: str = "end",
    codec: str = "zstd",
    order: Sequence[str] = PREDICTION_AXES,
    label_order: Sequence[str] = LABEL_AXES,
    dimension_names: bool = False,
    names: tuple[str, str] = ("predictions", "labels"),
    ids: Sequence[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
    label_fill: int = 0,
) -> Source:
    """Write a source; by default that of `make_data` with two images per chunk.

    Chunks and shards are passed in canonical axis order. Every chunk is written, even if it equals the fill value. The
    group's attributes hold the ignore values, unless `attributes` is passed.
    """
    data = data or make_data()
    n, classes, height, width = data.predictions.shape
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)  # type: ignore[arg-type]
    group.attrs.update({"ignore": list(data.ignore)} if attributes is None else dict(attributes))
    write_array(
        group,
        names[0],
        data.predictions,
        PREDICTION_AXES,
        order,
        chunks or (2, classes, height, width),
        shards,
        codec=codec,
        index_location=index_location,
        dimension_names=dimension_names,
    )
    write_array(
        group,
        names[1],
        data.labels,
        LABEL_AXES,
        label_order,
        label_chunks or (2, height, width),
        label_shards,
        codec=codec,
        index_location=index_location,
        dimension_names=dimension_names,
        fill=label_fill,
    )
    if ids is not None:
        written = group.create_array("image_id", shape=(n,), dtype=str, chunks=(max(1, n // 2),))
        written[:] = np.array(ids, dtype=object)
    return Source(path, names)


def write_array(
    group: zarr.Group,
    name: str,
    values: Array,
    dims: Sequence[str],
    order: Sequence[str],
    chunks: Sequence[int],
    shards: Sequence[int] | None,
    *,
    codec: str = "zstd",
    index_location: str = "end",
    dimension_names: bool = False,
    fill: int = 0,
) -> None:
    """Write one array of a group with its axes in `order`, every chunk included."""
    axes = [tuple(dims).index(dim) for dim in order]
    fmt = group.metadata.zarr_format
    inner = tuple(min(chunks[axis], values.shape[axis]) for axis in axes)
    outer = None if shards is None else tuple(shards[axis] for axis in axes)
    array = group.create_array(
        name,
        shape=tuple(values.shape[axis] for axis in axes),
        dtype=values.dtype,
        chunks=inner,
        shards=None if outer is None else {"shape": outer, "index_location": index_location},  # type: ignore[arg-type]
        compressors=(_V3 if fmt == 3 else _V2)[codec],
        fill_value=fill,
        config={"write_empty_chunks": True},
        dimension_names=tuple(order) if dimension_names and fmt == 3 else None,
    )
    array[...] = values.transpose(axes)


def make_data(**changes: Any) -> Data:
    """Make eight float32 images of 8 x 10 pixels and 4 classes, with changes by keyword of `make_dataset`."""
    options: dict[str, Any] = {"images": 8, "classes": 4, "height": 8, "width": 10, "dtype": "float32"} | changes
    return make_dataset(options.pop("seed", 11), **options)


def drop_images(data: Data, images: Sequence[int]) -> Data:
    """Return the data set without some images."""
    keep = [i for i in range(len(data.labels)) if i not in set(images)]
    return Data(data.predictions[keep], data.labels[keep], data.ignore)


# ----------------------------------------------------------------------------------------------------- damage


def erase_chunks(array: Path, *window: slice) -> None:
    """Remove the chunks of a window in stored axis order: objects or, inside a shard, inner chunks."""
    opened = zarr.open_array(array, mode="r+").with_config({"write_empty_chunks": False})
    opened[window] = opened.fill_value


def truncate_file(file: Path, share: float) -> None:
    """Keep only the first share of an object."""
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])


def flip_bit(file: Path, byte: int, bit: int = 0) -> None:
    """Invert one bit of an object."""
    data = bytearray(file.read_bytes())
    data[byte] ^= 1 << bit
    file.write_bytes(data)


def locate_inner_chunk(array: Path, shard: Sequence[int], index: Sequence[int]) -> tuple[Path, int, int]:
    """Return file, offset and size of an inner chunk of a shard."""
    opened = zarr.open_array(array, mode="r")
    assert isinstance(opened.metadata, ArrayV3Metadata)
    assert opened.shards is not None
    counts = tuple(size // small for size, small in zip(opened.shards, opened.chunks, strict=True))
    file = array / opened.metadata.encode_chunk_key(tuple(shard))
    data, size = file.read_bytes(), 16 * int(np.prod(counts))
    spans = np.frombuffer(data[-size - 4 : -4], "<u8").reshape(*counts, 2)
    offset, length = (int(value) for value in spans[tuple(index)])
    return file, offset, length
