"""Images and labels of a source as sequences that read from the store on access.

Data sets may be larger than memory. The chunk of the last image is kept, because the next one is usually in it.
"""

from __future__ import annotations

from abc import abstractmethod
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


class _LazySequence(Sequence[NDArray[Any]]):
    """Sequence of images of a source, at the given indices."""

    def __init__(self, indices: Sequence[int]) -> None:
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[Any]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[Any] | list[NDArray[Any]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._get(index)

    @abstractmethod
    def _get(self, index: int) -> NDArray[Any]:
        """Read the image at a position of the sequence."""


class LazyImages(_LazySequence):
    """Images of an array (image, y, x, ...); DataError on access to lost data."""

    def __init__(
        self, spec: ArraySpec, options: StorageOptions, indices: Sequence[int], *, absent_is_missing: bool = True
    ) -> None:
        super().__init__(indices)
        self._spec = spec
        self._reader = ArrayReader(spec, options, absent_is_missing=absent_is_missing)
        self._chunk_start, self._chunk = -1, np.empty(0, np.uint8)

    @property
    def bytes_read(self) -> int:
        """Bytes read from the store."""
        return self._reader.bytes

    def _get(self, index: int) -> NDArray[Any]:
        number, size = int(self._indices[index]), self._spec.chunks[0]
        start = number // size * size
        if start != self._chunk_start:
            self._chunk_start, self._chunk = start, self._read(start, min(start + size, self._spec.shape[0]))
        image: NDArray[Any] = self._chunk[number - start].copy()
        return image

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        other_axes = (slice(0, size) for size in self._spec.shape[1:])
        try:
            return self._reader.read(slice(start, stop), *other_axes)
        except (MissingChunkError, ChunkDecodeError) as e:
            raise DataError(f"Images {start} to {stop - 1} cannot be read: {e}", "Write that chunk again") from e


class LazyLabels(_LazySequence):
    """Labels as class planes (H, W), see `to_class_plane`. ``sizes``: (N, 2), of all images of the source."""

    def __init__(self, spec: SourceSpec, labels: LazyImages, indices: Sequence[int], sizes: NDArray[np.int64]) -> None:
        super().__init__(indices)
        self._spec, self._labels, self._sizes = spec, labels, sizes

    def _get(self, index: int) -> NDArray[Any]:
        return to_class_plane(self._spec, self._labels[index], self._sizes[self._indices[index]])[0]


def to_class_plane(
    spec: SourceSpec, labels: NDArray[np.integer[Any]], size: NDArray[np.int64]
) -> tuple[NDArray[np.unsignedinteger[Any]], bool]:
    """Convert stored labels (H, W) to class numbers, and tell if all are valid; ``size``: (2,), without padding."""
    # ignored and padded pixels hold the maximum of the dtype; with an invalid label all pixels do, because a run
    # quarantines the whole image
    dtype = class_dtype(spec.classes)
    plane = np.full(labels.shape, np.iinfo(dtype).max, dtype)
    unpadded = tuple(slice(0, max(0, int(side))) for side in size)
    validator = LabelValidator(spec.classes, spec.ignore, spec.remap, spec.label_offset)
    numbers = validator.to_class_indices(np.ascontiguousarray(labels[unpadded]))
    if validator.status is not None:
        return plane, False
    plane[unpadded] = numbers
    return plane, True
