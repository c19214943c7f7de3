"""Arrays that are written: the evidence of a run, and the predictions and labels of a source in the making."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, ZstdCodec
from zarr.core.sync import sync
from zarr.errors import ContainsArrayError, ContainsGroupError

from masksift.core.errors import UsageError
from masksift.core.specs import SourceSpec
from masksift.storage.zarr.stores import InstrumentedStore, open_store


def make_codec(dtype: str) -> BloscCodec:
    """LZ4: on real confidences it packs twice as fast as zstd's fastest level, into a sixth more bytes."""
    return BloscCodec(cname="lz4", clevel=5, shuffle="noshuffle" if dtype == "uint8" else "shuffle")


# Several writers may begin a source at once. Each puts the same metadata, whole and in one object, so that it does not
# matter who is first, nor who is last.


def create_group(store: Any, attributes: Mapping[str, Any]) -> zarr.Group:
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


def create_array(group: zarr.Group, name: str, **facts: Any) -> zarr.Array[Any]:
    """The array of that name, made where it is not there; every chunk is written, whatever it holds."""
    if name not in group:
        with suppress(ContainsArrayError):
            group.create_array(name, **facts)
    found = group[name]
    assert isinstance(found, zarr.Array)
    return found.with_config({"write_empty_chunks": True})


class PredictionArrays:
    """The predictions and labels of a source that is being written, in shards of ``shard`` images; with ``pictures``
    also `images`, with ``padded`` also `height` and `width`."""

    def __init__(
        self,
        url: str,
        spec: SourceSpec,
        shard: int,
        attributes: Mapping[str, Any],
        options: Mapping[str, Any],
        *,
        pictures: bool = False,
        padded: bool = False,
    ) -> None:
        """Create what is not there. Raises UsageError where another source is."""
        self._store, self._shard = InstrumentedStore(open_store(url, options, read_only=False)), shard
        group = create_group(self._store, attributes)
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
            found = create_array(
                group,
                name,
                shape=shape,
                dtype=dtype,
                chunks=(1, *shape[1:]) if shards else (shard,),
                shards=shards,
                compressors=[ZstdCodec(level=1)],
                fill_value=0,
                dimension_names=axes,
            )
            if (found.shape, found.dtype.name, found.shards) != (shape, dtype, shards):
                raise UsageError(
                    f"{url} holds {name} of the shape {found.shape} and the dtype {found.dtype}, and {shape} of "
                    f"{dtype} are to be written",
                    "they would not fit together",
                    "Give every writer the same facts, or another URL",
                )
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


def write_image_ids(
    url: str, options: Mapping[str, Any], images: int, chunk: int, start: int, ids: Sequence[str]
) -> None:
    """Write what images [start, start + n) of a source are called: a whole chunk, which nobody else writes."""
    group = zarr.open_group(open_store(url, options, read_only=False), mode="r+", zarr_format=3)
    array = create_array(group, "image_id", shape=(images,), dtype=str, chunks=(chunk,))
    array[start : start + len(ids)] = np.array(ids, dtype=object)


def write_integers(url: str, options: Mapping[str, Any], name: str, values: NDArray[np.integer[Any]]) -> None:
    """Write one number for each image of a source (N,), in one chunk."""
    group = zarr.open_group(open_store(url, options, read_only=False), mode="r+", zarr_format=3)
    array = create_array(
        group,
        name,
        shape=values.shape,
        dtype=values.dtype.name,
        chunks=values.shape,
        fill_value=0,
        dimension_names=("image",),
    )
    array[:] = values
