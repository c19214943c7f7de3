"""Evidence arrays of a source: the condensed planes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.storage.zarr.reader import ChunkReader
from masksift.storage.zarr.stores import InstrumentedStore, open_store
from masksift.storage.zarr.validation import ChunkDecodeError, ChunkValidator, codec_error_message
from masksift.storage.zarr.writer import create_array, create_group, make_codec

PREDICTED_CLASS = "predicted_class"

EVIDENCE_PLANES = ("self_confidence", PREDICTED_CLASS, "predicted_confidence")

ISSUE_MASK = "issue_mask"


class EvidenceArrays:
    """The evidence group of one source: the three planes and the issue mask, each (image, y, x)."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url = url
        self._store = InstrumentedStore(open_store(url, options, read_only=False))
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._checks: dict[str, ChunkValidator] = {}
        self._chunks: dict[str, ChunkReader] = {}

    def create(
        self,
        names: tuple[str, ...],
        dtypes: Mapping[str, str],
        shape: tuple[int, int, int],
        chunks: tuple[int, int, int],
        attributes: Mapping[str, Any],
    ) -> None:
        """Create the arrays that are not there yet; those that are stay as they are."""
        group = create_group(self._store, attributes)
        for name in names:
            create_array(
                group,
                name,
                shape=shape,
                chunks=chunks,
                dtype=dtypes[name],
                fill_value=0,
                compressors=[make_codec(dtypes[name])],
                dimension_names=("image", "y", "x"),
            )

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
            self._checks[name] = ChunkValidator(array, self._url, self._store.part)
            self._chunks[name] = ChunkReader(array, self._store, self._checks[name])
        return self._arrays[name]

    @property
    def io_counters(self) -> Counter[str]:
        """What went over the store, by field name of `TaskResult`."""
        return self._store.io_counters

    @property
    def local(self) -> bool:
        """Whether they lie on this machine's disk."""
        return self._store.local

    def write(self, name: str, start: int, planes: NDArray[Any]) -> None:
        """Write planes (n, H, W) as images [start, start + n): whole chunks, which nobody else writes."""
        self._array(name)[start : start + len(planes)] = planes

    def prefetch(self, name: str, groups: Iterable[tuple[int, int]]) -> None:
        """The images [start, stop) whose planes of that name are read next, in this order."""
        array = self._array(name)
        self._chunks[name].prefetch(_window(array, start, stop) for start, stop in groups)

    def read(self, name: str, start: int, stop: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Planes (stop - start, H, W) of images [start, stop), in `out` where they could be decoded straight into it.
        Raises DataError where any of it is lost: the tasks write every chunk, all zeros too."""
        array = self._array(name)
        self._store.check = self._checks[name].check_bytes
        try:
            if out is not None and self._chunks[name].read(_window(array, start, stop), out):
                return out
            self._store.reset_errors()
            planes = np.asarray(array[start:stop])
        except ChunkDecodeError as e:
            raise self._lost(str(e)) from e
        except Exception as e:
            if self._store.failures:
                raise
            raise self._lost(
                f"{name} of images {start} to {stop - 1} does not decode ({codec_error_message(e)})"
            ) from e
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
