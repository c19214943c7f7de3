"""Makers of small Zarr sources on disk, in every form that masksift opens, and what spoils them.

    source = write_source(folder / "a.zarr", data, chunks=(3, 5, 4, 10), shards=(6, 5, 8, 10), codec="blosc")
    erase(source.predictions, slice(3, 6))      # the chunks of images 3 to 5 are gone
    cut(source.chunk("labels", 1, 0, 0), 0.5)   # half of that object is left

Predictions and labels come in canonical axis order (image, class, y, x) and (image, y, x); `order` says how they are
stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec
from zarr.core.metadata import ArrayV3Metadata

from masksift.core.errors import MasksiftError
from support.datasets import Array, Data, dataset

__all__ = [
    "CODECS",
    "LABELS",
    "PREDICTIONS",
    "Source",
    "complaint",
    "contents",
    "cut",
    "erase",
    "flip",
    "inner_chunk",
    "masksift",
    "plain",
    "reads_well",
    "refuses",
    "rows",
    "typed",
    "without",
    "write_array",
    "write_source",
]

PREDICTIONS = ("image", "class", "y", "x")
LABELS = ("image", "y", "x")
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

    def chunk(self, array: str, *place: int) -> Path:
        """The object that a chunk (or shard) lies in."""
        metadata = zarr.open_array(self.path / array, mode="r").metadata
        return self.path / array / metadata.encode_chunk_key(place)

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
    order: Sequence[str] = PREDICTIONS,
    label_order: Sequence[str] = LABELS,
    dimension_names: bool = False,
    names: tuple[str, str] = ("predictions", "labels"),
    ids: Sequence[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
    label_fill: int = 0,
) -> Source:
    """Write a source; by default eight images of 8 x 10 and 4 classes, two images a chunk. Chunks and shards are given
    in canonical axis order. Every chunk is written, whatever it holds. The group's attributes say what `ignore` is,
    unless others are given.
    """
    data = data or plain()
    n, classes, height, width = data.predictions.shape
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)  # type: ignore[arg-type]
    group.attrs.update({"ignore": list(data.ignore)} if attributes is None else dict(attributes))
    write_array(
        group,
        names[0],
        data.predictions,
        PREDICTIONS,
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
        LABELS,
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
    """Write one array of a group with its axes in `order`, every chunk of it."""
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


def plain(**changes: Any) -> Data:
    """Eight images of 8 x 10 and 4 classes, as float32 unless told otherwise."""
    told: dict[str, Any] = {"images": 8, "classes": 4, "height": 8, "width": 10, "dtype": "float32"} | changes
    return dataset(told.pop("seed", 11), **told)


def without(data: Data, images: Sequence[int]) -> Data:
    """The data set as if those images had never been in it."""
    keep = [i for i in range(len(data.labels)) if i not in set(images)]
    return Data(data.predictions[keep], data.labels[keep], data.ignore)


# --------------------------------------------------------------------------------------------------- spoiling


def erase(array: Path, *window: slice) -> None:
    """Make the chunks of a window, stored axis order, absent: the objects or, inside a shard, the inner chunks."""
    opened = zarr.open_array(array, mode="r+").with_config({"write_empty_chunks": False})
    opened[window] = opened.fill_value


def cut(file: Path, share: float) -> None:
    """Leave only a share of an object, from its beginning."""
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])


def flip(file: Path, byte: int, bit: int = 0) -> None:
    """Turn over one bit of an object."""
    data = bytearray(file.read_bytes())
    data[byte] ^= 1 << bit
    file.write_bytes(data)


def inner_chunk(array: Path, shard: Sequence[int], number: Sequence[int]) -> tuple[Path, int, int]:
    """(file, offset, size) of an inner chunk: of `number` in the shard at `shard`."""
    opened = zarr.open_array(array, mode="r")
    assert isinstance(opened.metadata, ArrayV3Metadata)
    assert opened.shards is not None
    counts = tuple(size // small for size, small in zip(opened.shards, opened.chunks, strict=True))
    file = array / opened.metadata.encode_chunk_key(tuple(shard))
    data, size = file.read_bytes(), 16 * int(np.prod(counts))
    index = np.frombuffer(data[-size - 4 : -4], "<u8").reshape(*counts, 2)
    offset, length = (int(value) for value in index[tuple(number)])
    return file, offset, length


# --------------------------------------------------------------------------------------------------- refusing


@contextmanager
def refuses(kind: type[MasksiftError], match: str) -> Iterator[None]:
    """What stands in the block raises that error, whose sentence has its three parts and reads well."""
    with pytest.raises(kind, match=match) as caught:
        yield
    assert len(caught.value.args) in (2, 3)
    reads_well(str(caught.value))


def reads_well(sentence: str) -> None:
    """A fact; a consequence. A remedy. Nothing in it that only a programmer of Python understands."""
    assert re.fullmatch(r"(?s).+[.?!] .+[.?!]", sentence), sentence
    assert not re.search(r"[?!.,;:][.]|[.]{2}| $|  |\bNone\b|<class|object at|Traceback|\[\]|\bb'", sentence), sentence


# ---------------------------------------------------------------------------------------------------- running


def masksift(verb: str, *words: object) -> int:
    """The command line in this process: one loop, no progress. Answers the exit code."""
    from masksift.cli.main import main

    return main([verb, *(str(word) for word in words), "--executor.kind", "serial", "--log-format", "quiet"])


def typed(*words: object) -> int:
    """The exit code of those words, however it comes about."""
    from masksift.cli.main import main

    try:
        return main([str(word) for word in words])
    except SystemExit as e:
        return int(e.code or 0)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence on the standard error stream, with nothing on the other."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("masksift: ")
    sentence = printed.err.removeprefix("masksift: ").removesuffix("\n")
    assert "\n" not in sentence, "no traceback, no second message"
    reads_well(sentence)
    return sentence


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rows(out: Path, table: str = "images") -> list[dict[str, Any]]:
    """The rows of a table of a run."""
    found: list[dict[str, Any]] = pq.read_table(out / table).to_pylist()
    return found
