"""Read and write the evidence arrays of a source."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from masksift.core.errors import DataError
from masksift.storage.zarr.bounded_codecs import bound_array
from masksift.storage.zarr.metadata import write_metadata
from masksift.storage.zarr.reader import ChunkReader
from masksift.storage.zarr.stores import InstrumentedStore, open_store
from masksift.storage.zarr.validation import ChunkDecodeError, ChunkValidator, codec_error_message
from masksift.storage.zarr.writer import create_array, make_codec

PREDICTED_CLASS = "predicted_class"

EVIDENCE_PLANES = ("self_confidence", PREDICTED_CLASS, "predicted_confidence")

ISSUE_MASK = "issue_mask"


class EvidenceArrays:
    """Group with the evidence planes and the issue mask of a source, each (image, y, x)."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url, self._options = url, options
        self._store = InstrumentedStore(open_store(url, options, read_only=False))
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._bounded: dict[str, zarr.Array[Any]] = {}
        self._validators: dict[str, ChunkValidator] = {}
        self._readers: dict[str, ChunkReader] = {}

    def create(
        self,
        names: tuple[str, ...],
        dtypes: Mapping[str, str],
        shape: tuple[int, int, int],
        chunks: tuple[int, int, int],
        attributes: Mapping[str, Any],
    ) -> None:
        """Create the group and its arrays, with one write each.

        Existing metadata are overwritten: those of an earlier attempt are the same bytes, and no chunk is touched.

        Args:
            names: Names of the arrays.
            dtypes: Dtype of each array.
            shape: Shape (image, y, x) of every array.
            chunks: Shape of a chunk.
            attributes: Attributes of the group.
        """
        group = {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}
        arrays = {f"{name}/zarr.json": _array_metadata(dtypes[name], shape, chunks) for name in names}
        write_metadata(self._url, self._options, {**arrays, "zarr.json": json.dumps(group, indent=2).encode()})

    def create_extras(
        self, shape: tuple[int, int, int], chunks: tuple[int, int, int], *, pictures: bool, padded: bool
    ) -> None:
        """Create the arrays of RGB images and of unpadded sizes for images (N, H, W), with evidence in these chunks."""
        group = zarr.open_group(self._store, mode="r+", zarr_format=3)
        if pictures:
            create_array(
                group,
                "images",
                shape=(*shape, 3),
                chunks=(*chunks, 3),
                dtype="uint8",
                fill_value=0,
                compressors=[ZstdCodec(level=1)],
                dimension_names=("image", "y", "x", "channel"),
            )
        for name in ("height", "width") if padded else ():
            create_array(group, name, shape=shape[:1], chunks=chunks[:1], dtype="int32", fill_value=0)

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the group; none if there is no group."""
        try:
            group = zarr.open_group(self._store, mode="r", zarr_format=3)
        except FileNotFoundError:
            return {}
        return group.attrs.asdict()

    def remove(self, names: tuple[str, ...]) -> None:
        """Remove arrays that exist."""
        group = zarr.open_group(self._store, mode="a", zarr_format=3)
        for name in names:
            if name in group:
                del group[name]

    def _array(self, name: str) -> zarr.Array[Any]:
        if name not in self._arrays:  # opened once, because a block accesses it in many windows
            array = zarr.open_array(self._store, path=name, mode="r+", zarr_format=3)
            self._arrays[name] = array.with_config({"write_empty_chunks": True})
            self._bounded[name] = bound_array(array)
            self._validators[name] = ChunkValidator(array, self._url, self._store.read_range)
            self._readers[name] = ChunkReader(array, self._store, self._validators[name])
        return self._arrays[name]

    @property
    def io_counters(self) -> Counter[str]:
        """Store traffic, by field name of `TaskResult`."""
        return self._store.io_counters

    @property
    def local(self) -> bool:
        """True if the arrays are on a local disk."""
        return self._store.local

    def write(self, name: str, start: int, planes: NDArray[Any]) -> None:
        """Write planes (n, H, W) of images [start, start + n), which must fill whole chunks."""
        self._array(name)[start : start + len(planes)] = planes

    def prefetch(self, name: str, spans: Iterable[tuple[int, int]]) -> None:
        """Announce the spans [start, stop) of images whose planes are read next, in this order."""
        array = self._array(name)
        self._readers[name].prefetch(_window(array, start, stop) for start, stop in spans)

    def read(self, name: str, start: int, stop: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Read the planes of images [start, stop).

        Args:
            name: Name of the array.
            start: Number of the first image.
            stop: Number after the last image.
            out: Buffer (stop - start, H, W) that may be used for the result.

        Returns:
            Planes (stop - start, H, W): `out` if they could be decoded into it, else a new array.

        Raises:
            DataError: A chunk is missing or does not decode. Tasks write every chunk, also if it is all zeros.
        """
        array = self._array(name)
        self._store.validator = self._validators[name]
        try:
            if out is not None and self._readers[name].read(_window(array, start, stop), out):
                return out
            self._store.reset_errors()
            planes = np.asarray(self._bounded[name][start:stop])
        except ChunkDecodeError as e:
            raise self._damaged(str(e)) from e
        except Exception as e:
            if self._store.failures:
                raise
            raise self._damaged(
                f"{name} of images {start} to {stop - 1} does not decode ({codec_error_message(e)})"
            ) from e
        finally:
            self._store.validator = None  # it must not see metadata
        if (absent := self._store.first_absent()) is not None:
            raise self._damaged(f"{absent} of {name} does not exist")
        return planes

    def _damaged(self, cause: str) -> DataError:
        return DataError(f"Evidence at {self._url} is damaged: {cause}", "Repeat the run with a new --out")


@lru_cache(maxsize=64)  # most sources of a data set have arrays of the same shape
def _array_metadata(dtype: str, shape: tuple[int, ...], chunks: tuple[int, ...]) -> bytes:
    """Return the metadata object of an array (image, y, x), as zarr writes it."""
    store = MemoryStore()
    zarr.create_array(
        store,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=0,
        compressors=[make_codec(dtype)],
        dimension_names=("image", "y", "x"),
        zarr_format=3,
    )
    buffer = sync(store.get("zarr.json", default_buffer_prototype()))
    assert buffer is not None
    return buffer.to_bytes()


def _window(array: zarr.Array[Any], start: int, stop: int) -> tuple[slice, ...]:
    return (slice(start, stop), *(slice(0, size) for size in array.shape[1:]))
