"""What there is to see of one image: its picture, the classes that were given and predicted, and what is flagged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.core.status import BAD_LABELS, ImageStatus
from masksift.engine.block_io import BufferPool, read_labels
from masksift.engine.planning.report_plan import STRIP_PIXELS, images_per_read
from masksift.engine.work_items import BlockTask, RunContext
from masksift.scoring.kernels.condense import class_dtype
from masksift.storage.sources.images_array import open_images_array
from masksift.storage.zarr.evidence import CLASSES, MASK
from masksift.storage.zarr.per_image import image_sizes
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.validation import ChunkDecodeError, MissingChunkError

T = TypeVar("T")
_Given = tuple[NDArray[np.unsignedinteger], dict[int, ImageStatus]]


@dataclass(frozen=True)
class ImageView:
    """One image, its own rows and columns (H, W), reduced by ``factor`` to (h, w) = ceil(H / factor), ceil(W / factor).

    ``picture`` (h, w, 3) uint8, the mean of its pixels; ``given``, ``predicted`` (h, w): class numbers, those of the
    pixels in the middle, the largest value of the dtype where there is none; ``flagged`` (h, w) bool: whether any
    pixel is. None of what is not there or cannot be read; ``lost``: why, a sentence each.
    """

    size: tuple[int, int]
    factor: int
    picture: NDArray[np.uint8] | None
    given: NDArray[np.unsignedinteger] | None
    predicted: NDArray[np.unsignedinteger] | None
    flagged: NDArray[np.bool_] | None
    warnings: tuple[str, ...] = ()


def reduction_factor(size: tuple[int, int], side: int | None) -> int:
    """By which whole number an image is reduced so that no side is longer than ``side``; not at all for None."""
    return 1 if side is None else max(1, -(-max(size) // side))


def make_view(
    picture: NDArray[np.uint8] | None,
    given: NDArray[np.unsignedinteger],
    predicted: NDArray[np.unsignedinteger] | None,
    flagged: NDArray[np.bool_] | None,
    side: int | None = None,
) -> ImageView:
    """The same of an image in memory: picture (H, W, 3), the planes (H, W) each."""
    rows, columns = given.shape
    factor = reduction_factor((rows, columns), side)
    middle = np.ix_(_middle(rows, factor), _middle(columns, factor))
    return ImageView(
        (rows, columns),
        factor,
        None if picture is None else _mean(picture, factor),
        given[middle],
        None if predicted is None else predicted[middle],
        None if flagged is None else _reduced(np.logical_or, flagged, factor),
    )


class _Held(Generic[T]):
    """Images of an array whose chunks hold several: those of the chunk that was read last are kept, for whoever shows
    many images of a source goes through them in order."""

    def __init__(self, images_per_read: int, images: int) -> None:
        """``images_per_read``: of a chunk."""
        self.together, self._images = images_per_read, images
        self._start = -1
        self._kept: T | None = None

    def of(self, index: int, read: Callable[[int, int], T]) -> tuple[T, int]:
        """What ``read`` answers of images [start, stop), and the place of the image in it. ``read`` is not held: a ring
        of a reader and what it reads with would keep all of it until Python looks for such rings."""
        start = index // self.together * self.together
        if start != self._start:
            self._start, self._kept = -1, None  # where reading fails there is nothing
            self._kept = read(start, min(start + self.together, self._images))
            self._start = start
        assert self._kept is not None
        return self._kept, index - start


class ImageViewReader:
    """Reads the images of one source of a run."""

    def __init__(self, job: RunContext, part: BlockTask, pictures: str, *, predicted: bool) -> None:
        """``part``: any block of the source; ``pictures``: name or URL of the array; ``predicted``: whether the
        evidence is kept."""
        self._job, self._part, self._memory = job, part, BufferPool()
        spec = part.spec
        self._labels: ArrayReader | None = None
        self._given: _Held[_Given] = self._held(spec.labels.chunks[0])
        found = open_images_array(spec, pictures, job.options)
        self.images_warning = found if isinstance(found, str) else ""
        """Why there are no pictures, where there are none."""
        self._reader = None if isinstance(found, str) else ArrayReader(found, job.options)
        self._rows = 0 if isinstance(found, str) else found.chunks[1]
        # a chunk that is a part of an image is read band by band
        several = not isinstance(found, str) and found.chunks[1:3] == found.shape[1:3] and found.chunks[0]
        self._pictures: _Held[NDArray[np.uint8]] = self._held(several or 1)
        self._evidence = job.evidence_arrays(part.evidence_location) if predicted else None
        self._masks = job.issue_mask_arrays(spec)
        self._classes: _Held[NDArray[Any]] = self._held(part.layout.chunks[0])
        self._flags: _Held[NDArray[Any]] = self._held(part.layout.chunks[0])

    @property
    def io_counters(self) -> Counter[str]:
        """What it took of the stores, by field name of `TaskResult`."""
        readers = (self._labels, self._reader, self._evidence, self._masks)
        return sum((reader.io_counters for reader in readers if reader is not None), Counter())

    def view(
        self, index: int, side: int | None = None, *, scored: bool = True, size: tuple[int, int] | None = None
    ) -> ImageView:
        """One image by its number in the source. ``scored``: whether there are evidence and a mask of it; ``size``: its
        own rows and columns, where they are known."""
        lost: list[str] = [self.images_warning] if self.images_warning else []
        spec = self._part.spec
        own = self._own(index, index + 1)[0] if size is None else np.array(size, np.int64)
        rows, columns = (int(number) for number in own.clip(1, (spec.height, spec.width)))
        factor = reduction_factor((rows, columns), side)
        middle = _middle(rows, factor), _middle(columns, factor)

        def given() -> NDArray[np.unsignedinteger] | None:
            try:
                self.open_labels()
            except FileNotFoundError:
                lost.append(f"there are no labels at {spec.labels.url} any more")
                return None
            (planes, verdicts), place = self._given.of(index, self._read_given)
            if index in verdicts:
                lost.append(str(verdicts[index].reason))
                if verdicts[index].status != BAD_LABELS:  # what is labelled well in them can be shown
                    return None
            own_classes: NDArray[np.unsignedinteger] = planes[place][np.ix_(*middle)]
            return own_classes

        def predicted() -> NDArray[np.unsignedinteger]:
            assert self._evidence is not None
            planes, place = self._classes.of(index, partial(self._evidence.read, CLASSES))
            classes: NDArray[np.unsignedinteger] = planes[place][np.ix_(*middle)]
            return classes

        def flagged() -> NDArray[np.bool_]:
            planes, place = self._flags.of(index, partial(self._masks.read, MASK))
            return _reduced(np.logical_or, planes[place, :rows, :columns] > 0, factor)

        return ImageView(
            (rows, columns),
            factor,
            _unless_lost(lost, lambda: self._picture(index, rows, columns, factor)),
            _unless_lost(lost, given),
            _unless_lost(lost, predicted) if scored and self._evidence is not None else None,
            _unless_lost(lost, flagged) if scored else None,
            tuple(lost),
        )

    def open_labels(self) -> ArrayReader:
        """The labels, opened when they are asked for: whoever removed them since the run has left all else. Raises
        FileNotFoundError where they are not there."""
        if self._labels is None:
            spec = self._part.spec
            self._labels = ArrayReader(spec.labels, self._job.options, absent_is_missing=spec.absent_labels_are_missing)
        return self._labels

    def _held(self, chunk: int) -> _Held[Any]:
        spec = self._part.spec
        return _Held(images_per_read(chunk, spec.pixels), spec.images)

    def _own(self, start: int, stop: int) -> NDArray[np.int64]:
        """(n, 2): the rows and columns of images [start, stop) that are their own; all where the source has gone."""
        try:
            return image_sizes(self._part.spec, start, stop, self._job.options)
        except FileNotFoundError:
            return np.array([[self._part.spec.height, self._part.spec.width]] * (stop - start), np.int64)

    def _read_given(self, start: int, stop: int) -> _Given:
        """Class planes (n, H, W), in memory that is used again, and the verdicts of those that are lost or wrong."""
        labels = self.open_labels()
        return read_labels(self._part.spec, labels, self._memory, start, stop, self._own(start, stop))

    def _read_pictures(self, start: int, stop: int) -> NDArray[np.uint8]:
        assert self._reader is not None
        spec = self._part.spec
        whole = slice(0, spec.height), slice(0, spec.width), slice(0, 3)
        return self._reader.read(slice(start, stop), *whole)

    def _picture(self, index: int, rows: int, columns: int, factor: int) -> NDArray[np.uint8] | None:
        """The picture, read in bands of whole chunks and reduced in strips of these: one of 20,000 x 20,000 has more
        than a gigabyte."""
        if self._reader is None:
            return None
        if self._pictures.together > 1:
            pictures, place = self._pictures.of(index, self._read_pictures)
            return _mean(pictures[place, :rows, :columns], factor)
        shape = -(-rows // factor), -(-columns // factor)
        height = max(1, STRIP_PIXELS // columns)
        band = self._rows * max(1, height // self._rows)
        picture = np.empty((*shape, 3) if factor == 1 else 0, np.uint8)
        sums = np.zeros((*shape, 3) if factor > 1 else 0, np.uint32)
        for y in range(0, rows, band):
            window = slice(index, index + 1), slice(y, min(y + band, rows)), slice(0, columns), slice(0, 3)
            read = self._reader.read(*window)[0]
            if factor == 1:
                picture[y : y + band] = read
                continue
            for first in range(0, len(read), height):
                _add(sums, read[first : first + height], y + first, factor)
        return picture if factor == 1 else _rounded(sums, rows, columns, factor)


def _mean(picture: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """A picture (H, W, 3) whose pixels are joined by so many rows and columns, the mean of each, rounded."""
    if factor == 1:
        return picture
    rows, columns = picture.shape[:2]
    sums = np.zeros((-(-rows // factor), -(-columns // factor), 3), np.uint32)
    _add(sums, picture, 0, factor)
    return _rounded(sums, rows, columns, factor)


def _rounded(sums: NDArray[np.uint32], rows: int, columns: int, factor: int) -> NDArray[np.uint8]:
    """The means (h, w, 3) of sums over ``factor`` rows and columns of (rows, columns), the last of which are fewer."""
    sizes = (np.minimum(factor, size - np.arange(0, size, factor)) for size in (rows, columns))
    counts = np.outer(*sizes).astype(np.uint32)[..., None]
    sums += counts // 2
    sums //= counts
    return sums.astype(np.uint8)


def _add(sums: NDArray[np.uint32], strip: NDArray[np.uint8], y: int, factor: int) -> None:
    """Add the pixels of a strip (n, W, 3), whose first row is ``y``, to the sums (h, w, 3) that they belong to."""
    own = np.arange(y, y + len(strip)) // factor
    starts = np.flatnonzero(np.diff(own, prepend=-1))
    some = np.add.reduceat(strip, starts, axis=0, dtype=np.uint32)
    sums[own[0] : own[-1] + 1] += np.add.reduceat(some, np.arange(0, strip.shape[1], factor), axis=1)


def _middle(size: int, factor: int) -> NDArray[np.intp]:
    """The pixel in the middle of each ``factor`` pixels."""
    return np.minimum(np.arange(0, size, factor) + factor // 2, size - 1)


def _reduced(how: np.ufunc, values: NDArray[Any], factor: int) -> NDArray[Any]:
    """Rows and columns joined by so many; the last of them may be fewer."""
    if factor == 1:
        return values
    for axis in (0, 1):
        values = how.reduceat(values, np.arange(0, values.shape[axis], factor), axis=axis)
    return values


def _unless_lost(lost: list[str], read: Callable[[], Any]) -> Any:
    """What is read, or None where it is lost; why is said then."""
    try:
        return read()
    except (MissingChunkError, ChunkDecodeError, DataError, FileNotFoundError) as e:
        lost.append(str(e))
        return None


def nothing(classes: int) -> int:
    """The class number that stands for none."""
    return int(np.iinfo(class_dtype(classes)).max)
