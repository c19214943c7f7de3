"""Arrays that are written: the evidence of a run, and the predictions and labels of a source in the making."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, ZstdCodec
from zarr.core.sync import sync
from zarr.errors import ContainsArrayError, ContainsGroupError

from masksift.core.errors import DataError, UsageError
from masksift.core.specs import DataSpec
from masksift.storage.zarr.reader import ChunkReader
from masksift.storage.zarr.stores import WatchedStore, open_store
from masksift.storage.zarr.validation import ChunkCheck, Unreadable, said

__all__ = ["CLASSES", "EVIDENCE", "MASK", "VOTES", "EvidenceArrays", "PredictionArrays", "write_ids", "write_numbers"]

CLASSES = "predicted_class"
EVIDENCE = ("self_confidence", CLASSES, "predicted_confidence")
VOTES = "votes_against"
"""A fourth plane, of ensembles: how many members predict another class than the label."""
MASK = "issue_mask"


def _codec(dtype: str) -> BloscCodec:
    """LZ4: on real confidences it packs twice as fast as zstd's fastest level, into a sixth more bytes."""
    return BloscCodec(cname="lz4", clevel=5, shuffle="noshuffle" if dtype == "uint8" else "shuffle")


# Several writers may begin a source at once. Each puts the same metadata, whole and in one object, so that it does not
# matter who is first, nor who is last.


def _group(store: Any, attributes: Mapping[str, Any]) -> zarr.Group:
    """The group, made where it is not there, with these attributes."""
    try:
        group = zarr.open_group(store, mode="r+", zarr_format=3)
    except FileNotFoundError:
        with suppress(ContainsGroupError):
            return zarr.create_group(store, zarr_format=3, attributes=dict(attributes))
        group = zarr.open_group(store, mode="r+", zarr_format=3)
    if any(group.attrs.asdict().get(name) != value for name, value in attributes.items()):
        group.attrs.update(dict(attributes))
    return group


def _array(group: zarr.Group, name: str, **facts: Any) -> zarr.Array[Any]:
    """The array of that name, made where it is not there; every chunk is written, whatever it holds."""
    if name not in group:
        with suppress(ContainsArrayError):
            group.create_array(name, **facts)
    found = group[name]
    assert isinstance(found, zarr.Array)
    return found.with_config({"write_empty_chunks": True})


class EvidenceArrays:
    """The evidence group of one source: the three planes and the issue mask, each (image, y, x)."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url = url
        self._store = WatchedStore(open_store(url, options, read_only=False))
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._checks: dict[str, ChunkCheck] = {}
        self._chunks: dict[str, ChunkReader] = {}

    def create(
        self, names: tuple[str, ...], dtypes: Mapping[str, str], shape: tuple[int, int, int],
        chunks: tuple[int, int, int], attributes: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """Create the arrays that are not there yet; those that are stay as they are."""
        group = _group(self._store, attributes)
        for name in names:
            _array(
                group, name, shape=shape, chunks=chunks, dtype=dtypes[name], fill_value=0,
                compressors=[_codec(dtypes[name])], dimension_names=("image", "y", "x"),
            )  # fmt: skip

    def attributes(self) -> dict[str, Any]:
        """The group's attributes, none where there is no group."""
        try:
            group = zarr.open_group(self._store, mode="r", zarr_format=3)
        except FileNotFoundError:
            return {}
        return group.attrs.asdict()

    def remove(self, names: tuple[str, ...]) -> None:
        """Remove the arrays; nothing happens where one is not there."""
        group = zarr.open_group(self._store, mode="a", zarr_format=3)
        for name in names:
            if name in group:
                del group[name]

    def _array(self, name: str) -> zarr.Array[Any]:
        if name not in self._arrays:  # opened once: a block reads and writes it group by group
            array = zarr.open_array(self._store, path=name, mode="r+", zarr_format=3)
            self._arrays[name] = array.with_config({"write_empty_chunks": True})
            self._checks[name] = ChunkCheck(array, self._url, self._store.part)
            self._chunks[name] = ChunkReader(array, self._store, self._checks[name])
        return self._arrays[name]

    @property
    def used(self) -> Counter[str]:
        """What went over the store, by the names of a receipt."""
        return self._store.used

    @property
    def local(self) -> bool:
        """Whether they lie on this machine's disk."""
        return self._store.local

    def write(self, name: str, start: int, planes: NDArray[Any]) -> None:
        """Write planes (n, H, W) as images [start, start + n): whole chunks, which nobody else writes."""
        self._array(name)[start : start + len(planes)] = planes

    def expect(self, name: str, groups: Iterable[tuple[int, int]]) -> None:
        """The images [start, stop) whose planes of that name are read next, in this order."""
        array = self._array(name)
        self._chunks[name].expect(_window(array, start, stop) for start, stop in groups)

    def read(self, name: str, start: int, stop: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Planes (stop - start, H, W) of images [start, stop), in `out` where they could be decoded straight into it.
        Raises DataError where any of it is lost: the tasks write every chunk, all zeros too."""
        array = self._array(name)
        self._store.check = self._checks[name].check_bytes
        try:
            if out is not None and self._chunks[name].read(_window(array, start, stop), out):
                return out
            self._store.forget()
            planes = np.asarray(array[start:stop])
        except Unreadable as e:
            raise self._lost(str(e)) from e
        except Exception as e:
            if self._store.failures:
                raise
            raise self._lost(f"{name} of images {start} to {stop - 1} does not decode ({said(e)})") from e
        finally:
            self._store.check = None  # metadata are no chunks
        if (absent := self._store.first_absent()) is not None:
            raise self._lost(f"{absent} of {name} does not exist")
        return planes

    def _lost(self, fact: str) -> DataError:
        return DataError(
            f"evidence at {self._url} is lost: {fact}", "it cannot be scored", "Run it again into a new --out"
        )


def _window(array: zarr.Array[Any], start: int, stop: int) -> tuple[slice, ...]:
    return (slice(start, stop), *(slice(0, size) for size in array.shape[1:]))


class PredictionArrays:
    """The predictions and labels of a source that is being written, in shards of ``shard`` images; with ``pictures``
    also `images`, with ``padded`` also `height` and `width`."""

    def __init__(
        self, url: str, spec: DataSpec, shard: int, attributes: Mapping[str, Any], options: Mapping[str, Any], *,
        pictures: bool = False, padded: bool = False,
    ) -> None:  # fmt: skip
        """Create what is not there. Raises UsageError where another source is."""
        self._store, self._shard = WatchedStore(open_store(url, options, read_only=False)), shard
        group = _group(self._store, attributes)
        n, height, width = spec.labels.shape
        wanted: list[tuple[str, tuple[int, ...], str, tuple[str, ...]]] = [
            ("predictions", spec.predictions.shape, spec.predictions.dtype, ("image", "class", "y", "x"))
        ]
        wanted += [("images", (n, height, width, 3), "uint8", ("image", "y", "x", "channel"))] if pictures else []
        wanted += [(name, (n,), "int32", ("image",)) for name in ("height", "width") if padded]
        wanted += [("labels", spec.labels.shape, spec.labels.dtype, ("image", "y", "x"))]
        self._arrays: dict[str, zarr.Array[Any]] = {}
        for name, shape, dtype, axes in wanted:
            # one number an image: so few that a chunk holds those of a whole shard
            shards = (shard, *shape[1:]) if shape[1:] else None
            found = _array(
                group, name, shape=shape, dtype=dtype, chunks=(1, *shape[1:]) if shards else (shard,), shards=shards,
                compressors=[ZstdCodec(level=1)], fill_value=0, dimension_names=axes,
            )  # fmt: skip
            if (found.shape, found.dtype.name, found.shards) != (shape, dtype, shards):
                raise UsageError(
                    f"{url} holds {name} of the shape {found.shape} and the dtype {found.dtype}, and {shape} of "
                    f"{dtype} are to be written",
                    "they would not fit together", "Give every writer the same facts, or another URL",
                )  # fmt: skip
            self._arrays[name] = found

    @property
    def written(self) -> int:
        """Bytes put into the store."""
        return self._store.written

    def has(self, image: int) -> bool:
        """Whether the shards that begin with an image are there: labels are written last."""
        labels = self._arrays["labels"]
        key = f"{labels.path}/{labels.metadata.encode_chunk_key((image // self._shard, 0, 0))}"
        return sync(self._store.exists(key))

    def write(self, start: int, values: Mapping[str, NDArray[Any]]) -> None:
        """Write images [start, start + n) of every array: whole shards, which nobody else writes."""
        for name, array in self._arrays.items():
            array[start : start + len(values[name])] = values[name]


def write_ids(
    url: str, options: Mapping[str, Any], images: int, chunk: int, start: int, ids: Sequence[str]
) -> None:  # fmt: skip
    """Write what images [start, start + n) of a source are called: a whole chunk, which nobody else writes."""
    group = zarr.open_group(open_store(url, options, read_only=False), mode="r+", zarr_format=3)
    array = _array(group, "image_id", shape=(images,), dtype=str, chunks=(chunk,))
    array[start : start + len(ids)] = np.array(ids, dtype=object)


def write_numbers(url: str, options: Mapping[str, Any], name: str, values: NDArray[np.integer[Any]]) -> None:
    """Write one number for each image of a source (N,), in one chunk."""
    group = zarr.open_group(open_store(url, options, read_only=False), mode="r+", zarr_format=3)
    array = _array(
        group, name, shape=values.shape, dtype=values.dtype.name, chunks=values.shape, fill_value=0,
        dimension_names=("image",),
    )  # fmt: skip
    array[:] = values
