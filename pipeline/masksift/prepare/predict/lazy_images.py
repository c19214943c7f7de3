"""Pictures and labels of a source as sequences, read from the store when they are asked for: no data set is too large
for them. The chunk of the image that was asked for last is kept, for the next one lies in it as a rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.scoring.image import LabelValidator
from masksift.scoring.kernels.condense import class_dtype
from masksift.storage.credentials import StorageOptions
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.validation import ChunkDecodeError, MissingChunkError


class LazyImages(Sequence[NDArray[Any]]):
    """The images of an array (image, y, x, ...) at some ``places``, in their order. Raises DataError where one of them
    is lost: what it was would be guessed."""

    def __init__(
        self, spec: ArraySpec, options: StorageOptions, places: Sequence[int], *, absent_is_missing: bool = True
    ) -> None:
        self._spec, self._places = spec, places
        self._reader = ArrayReader(spec, options, absent_is_missing=absent_is_missing)
        self._first, self._kept = -1, np.empty(0, np.uint8)

    @property
    def bytes(self) -> int:
        """Read from the store."""
        return self._reader.bytes

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[Any]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[Any] | list[NDArray[Any]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place, chunk = int(self._places[index]), self._spec.chunks[0]
        first = place // chunk * chunk
        if first != self._first:
            self._first, self._kept = first, self._read(first, min(first + chunk, self._spec.shape[0]))
        image: NDArray[Any] = self._kept[place - first].copy()
        return image

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        inside = (slice(0, size) for size in self._spec.shape[1:])
        try:
            return self._reader.read(slice(start, stop), *inside)
        except (MissingChunkError, ChunkDecodeError) as e:
            raise DataError(
                f"images {start} to {stop - 1} are lost: {e}",
                "they can neither be trained on nor predicted",
                "Write that chunk again",
            ) from e


class LazyLabels(Sequence[NDArray[np.unsignedinteger[Any]]]):
    """Labels as class planes (H, W); see `class_plane_of`. ``sizes`` (N, 2): of all images of the source."""

    def __init__(self, spec: SourceSpec, labels: LazyImages, places: Sequence[int], sizes: NDArray[np.int64]) -> None:
        self._spec, self._labels, self._places, self._sizes = spec, labels, places, sizes

    def __len__(self) -> int:
        return len(self._labels)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.unsignedinteger[Any]]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.unsignedinteger[Any]]]: ...
    def __getitem__(
        self, index: int | slice
    ) -> NDArray[np.unsignedinteger[Any]] | list[NDArray[np.unsignedinteger[Any]]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return class_plane_of(self._spec, self._labels[index], self._sizes[self._places[index]])[0]


def class_plane_of(
    spec: SourceSpec, labels: NDArray[np.integer[Any]], size: NDArray[np.int64]
) -> tuple[NDArray[np.unsignedinteger[Any]], bool]:
    """Class numbers (H, W) of stored labels (H, W), the largest number of the dtype where a pixel does not count: it is
    ignored, or beyond the image's own ``size`` (rows, columns); and whether all labels are good. An image with a bad
    one has no pixel that counts: a run quarantines it whole."""
    numbers = class_dtype(spec.classes)
    plane = np.full(labels.shape, np.iinfo(numbers).max, numbers)
    own = tuple(slice(0, max(0, int(side))) for side in size)
    check = LabelValidator(spec.classes, spec.ignore, spec.remap)
    found = check.to_class_indices(np.ascontiguousarray(labels[own]))
    if check.status is not None:
        return plane, False
    plane[own] = found
    return plane, True
