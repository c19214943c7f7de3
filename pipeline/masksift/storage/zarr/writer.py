"""Create groups and arrays, and write the predictions and labels of a new source."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, ZstdCodec
from zarr.core.sync import sync
from zarr.errors import ContainsArrayError, ContainsGroupError

from masksift.core.errors import UsageError
from masksift.core.specs import SourceSpec
from masksift.storage.objects import ObjectDirectory
from masksift.storage.urls import join
from masksift.storage.zarr.links import ATTRIBUTE as LINKS_ATTRIBUTE
from masksift.storage.zarr.links import LINKS_PER_TABLE, Link, pack_links, table_name
from masksift.storage.zarr.stores import InstrumentedStore, open_store


def make_codec(dtype: str) -> BloscCodec:
    """Return LZ4: on real confidences twice as fast as the fastest level of zstd, with a sixth more bytes."""
    return BloscCodec(cname="lz4", clevel=5, shuffle="noshuffle" if dtype == "uint8" else "shuffle")


# Several writers may create a source at once. Each writes the same metadata as one object, so the order is irrelevant.


def create_group(store: Any, attributes: Mapping[str, Any]) -> zarr.Group:
    """Open a group, or create it, and set its attributes."""
    try:
        group = zarr.open_group(store, mode="r+", zarr_format=3)
    except FileNotFoundError:
        with suppress(ContainsGroupError):
            return zarr.create_group(store, zarr_format=3, attributes=dict(attributes))
        group = zarr.open_group(store, mode="r+", zarr_format=3)
    if any(group.attrs.asdict().get(name) != value for name, value in attributes.items()):
        group.attrs.update(dict(attributes))
    return group


def create_array(group: zarr.Group, name: str, **options: Any) -> zarr.Array[Any]:
    """Open an array, or create it. Chunks that equal the fill value are written, too."""
    if name not in group:
        with suppress(ContainsArrayError):
            group.create_array(name, **options)
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array.with_config({"write_empty_chunks": True})


class PredictionArrays:
    """Arrays of a source that is being written.

    Args:
        url: URL of the group.
        spec: The source.
        shard: Images per shard.
        attributes: Attributes of the group.
        options: Storage options of S3.
        with_predictions: Store `predictions`.
        with_images: Also store `images`.
        padded: Also store `height` and `width`.

    Raises:
        UsageError: The group contains arrays of other shapes or dtypes.
    """

    def __init__(
        self,
        url: str,
        spec: SourceSpec,
        shard: int,
        attributes: Mapping[str, Any],
        options: Mapping[str, Any],
        *,
        with_predictions: bool = True,
        with_images: bool = False,
        padded: bool = False,
    ) -> None:
        self._store, self._shard = InstrumentedStore(open_store(url, options, read_only=False)), shard
        group = create_group(self._store, attributes)
        n, height, width = spec.labels.shape
        arrays: list[tuple[str, tuple[int, ...], str, tuple[str, ...]]] = []
        if with_predictions:
            arrays += [("predictions", spec.predictions.shape, spec.predictions.dtype, ("image", "class", "y", "x"))]
        arrays += [("images", (n, height, width, 3), "uint8", ("image", "y", "x", "channel"))] if with_images else []
        arrays += [(name, (n,), "int32", ("image",)) for name in ("height", "width") if padded]
        arrays += [("labels", spec.labels.shape, spec.labels.dtype, ("image", "y", "x"))]
        self._arrays: dict[str, zarr.Array[Any]] = {}
        for name, shape, dtype, axes in arrays:
            # arrays with one number per image need no shards: a chunk holds the images of a shard
            shards = (shard, *shape[1:]) if shape[1:] else None
            array = create_array(
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
            if (array.shape, array.dtype.name, array.shards) != (shape, dtype, shards):
                raise UsageError(
                    f"{url} contains {name} of shape {array.shape} and dtype {array.dtype}, but {shape} of {dtype} are "
                    "to be written",
                    "Pass the same arguments to every writer, or use another URL",
                )
            self._arrays[name] = array

    @property
    def written(self) -> int:
        """Bytes written to the store."""
        return self._store.written

    def has(self, image: int) -> bool:
        """Return whether the shards that begin with an image are complete: labels are written last."""
        labels = self._arrays["labels"]
        key = f"{labels.path}/{labels.metadata.encode_chunk_key((image // self._shard, 0, 0))}"
        return sync(self._store.exists(key))

    def write(self, start: int, values: Mapping[str, NDArray[Any]]) -> None:
        """Write images [start, start + n) of every array, which must fill whole shards."""
        for name, array in self._arrays.items():
            array[start : start + len(values[name])] = values[name]


def write_image_ids(
    url: str, options: Mapping[str, Any], images: int, chunk: int, start: int, ids: Sequence[str]
) -> None:
    """Write the ids of images [start, start + n) of a source, which must fill whole chunks."""
    group = zarr.open_group(open_store(url, options, read_only=False), mode="r+", zarr_format=3)
    array = create_array(group, "image_id", shape=(images,), dtype=str, chunks=(chunk,))
    array[start : start + len(ids)] = np.array(ids, dtype=object)


def create_linked_array(
    url: str,
    options: Mapping[str, Any],
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    axes: Sequence[str],
    attributes: Mapping[str, Any],
    *,
    places: Sequence[str],
) -> None:
    """Create an array whose chunks, one per index of the first axis, are in other files; see `links`.

    Args:
        url: URL of the group, which is created if it does not exist.
        options: Storage options by cloud.
        name: Name of the array.
        shape: Shape.
        dtype: Dtype with the byte order of the files.
        axes: Names of the axes.
        attributes: Further attributes of the array.
        places: Buckets or hosts of the files; none for local ones.
    """
    group = create_group(open_store(url, options, read_only=False), {})
    big = dtype.byteorder == ">" or (dtype.byteorder == "=" and sys.byteorder == "big")
    create_array(
        group,
        name,
        shape=shape,
        dtype=dtype.newbyteorder("="),
        chunks=(1, *shape[1:]),
        serializer=BytesCodec(endian=None if dtype.itemsize == 1 else "big" if big else "little"),
        compressors=None,
        fill_value=0,
        dimension_names=tuple(axes),
        attributes={**attributes, LINKS_ATTRIBUTE: {"rows": LINKS_PER_TABLE, "places": list(places)}},
    )


def write_links(url: str, options: Mapping[str, Any], name: str, number: int, links: Sequence[Link]) -> None:
    """Write a table of links of an array: those of the chunks from `number` x `LINKS_PER_TABLE` on."""
    ObjectDirectory(join(url, name), options).write(table_name(number), pack_links(links))


def write_integers(url: str, options: Mapping[str, Any], name: str, values: NDArray[np.integer[Any]]) -> None:
    """Write one number per image of a source (N,), in one chunk."""
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
