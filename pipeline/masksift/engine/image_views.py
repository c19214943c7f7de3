"""Displayable content of one image: RGB image, given and predicted classes, and flagged pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masksift.core.errors import DataError
from masksift.core.status import BAD_LABELS, ImageStatus
from masksift.engine.block_io import BufferPool, iter_label_windows, open_labels, read_labels, window_to_slices
from masksift.engine.planning.report_plan import STRIP_PIXELS, images_per_read, reduction_factor
from masksift.engine.score_inputs import ScoreInputs, score_input_name
from masksift.engine.work_items import BlockTask, RunContext
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.methods.base import evidence_methods
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.images_array import open_images_array
from masksift.storage.zarr.evidence import ISSUE_MASK, PREDICTED_CLASS, EvidenceArrays
from masksift.storage.zarr.per_image import image_sizes
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.validation import ChunkDecodeError, MissingChunkError

T = TypeVar("T")
_Labels = tuple[NDArray[np.unsignedinteger], dict[int, ImageStatus]]


@dataclass(frozen=True)
class ImageView:
    """Content of one image without padding, downscaled from (H, W) to (h, w) = ceil(H / factor), ceil(W / factor).

    Attributes:
        size: Rows and columns of the image before downscaling.
        factor: Downscaling factor.
        rgb: Mean colors, uint8 of shape (h, w, 3).
        given: Class index of the label of each center pixel, shape (h, w); the largest value of the dtype if ignored.
        predicted: Predicted class index of each center pixel, shape (h, w).
        flagged: Whether any of the pixels is flagged, bool of shape (h, w).
        warnings: One sentence for each part without a value because it is missing or cannot be read.
    """

    size: tuple[int, int]
    factor: int
    rgb: NDArray[np.uint8] | None
    given: NDArray[np.unsignedinteger] | None
    predicted: NDArray[np.unsignedinteger] | None
    flagged: NDArray[np.bool_] | None
    warnings: tuple[str, ...] = ()


def make_view(
    rgb: NDArray[np.uint8] | None,
    given: NDArray[np.unsignedinteger],
    predicted: NDArray[np.unsignedinteger] | None,
    flagged: NDArray[np.bool_] | None,
    side: int | None = None,
) -> ImageView:
    """Downscale an image in memory: RGB (H, W, 3) and planes (H, W)."""
    rows, columns = given.shape
    factor = reduction_factor((rows, columns), side)
    return ImageView(
        (rows, columns),
        factor,
        None if rgb is None else _downscale_rgb(rgb, factor),
        _take_centers(given, rows, columns, factor),
        None if predicted is None else _take_centers(predicted, rows, columns, factor),
        None if flagged is None else _downscale_any(flagged, factor),
    )


class _ChunkCache(Generic[T]):
    """Images of the chunk that was read last: callers show the images of a source in order."""

    def __init__(self, images_per_read: int, images: int) -> None:
        self.images_per_read, self._images = images_per_read, images
        self._start = -1
        self._content: T | None = None

    def get(self, index: int, read: Callable[[int, int], T]) -> tuple[T, int]:
        """Return ``read(start, stop)`` of an image's chunk, and the image's position in it; ``read`` is not stored."""
        start = index // self.images_per_read * self.images_per_read
        if start != self._start:
            self._start, self._content = -1, None  # stays empty if reading fails
            ((_, stop),) = self.spans([index])
            self._content = read(start, stop)
            self._start = start
        assert self._content is not None
        return self._content, index - start

    def spans(self, indices: Sequence[int]) -> list[tuple[int, int]]:
        """Return the (start, stop) that `get` reads for images in this order."""
        starts = dict.fromkeys(index // self.images_per_read * self.images_per_read for index in indices)
        return [(start, min(start + self.images_per_read, self._images)) for start in starts]


class ImageViewReader:
    """Read the images of the source of a block, with RGB images from an array by name or URL."""

    def __init__(self, context: RunContext, task: BlockTask, images_array: str, *, predicted: bool) -> None:
        self._context, self._task, self._buffers = context, task, BufferPool()
        spec = task.spec
        array = open_images_array(spec, images_array, context.options)
        self.images_warning = array if isinstance(array, str) else ""
        """Reason why there are no RGB images, or an empty string."""
        self._rgb, self._rgb_chunk_rows, rgb_images_per_chunk = None, 0, 1
        if not isinstance(array, str):
            self._rgb, self._rgb_chunk_rows = ArrayReader(array, context.options), array.chunks[1]
            if array.chunks[1:3] == array.shape[1:3]:  # chunks of parts of images are read in bands
                rgb_images_per_chunk = array.chunks[0]
        self._labels: ArrayReader | None = None
        self._predicted, has_planes = predicted, context.writes_planes(task)
        self._evidence = context.evidence_arrays(task.evidence_location) if predicted and has_planes else None
        self._inputs = ObjectDirectory(context.out, context.options)
        self._input_cache: _ChunkCache[ScoreInputs] = _ChunkCache(task.layout.chunk_images, spec.images)
        self._masks = context.issue_mask_arrays(spec)
        self._given_cache: _ChunkCache[_Labels] = self._make_cache(spec.labels.chunks[0])
        self._rgb_cache: _ChunkCache[NDArray[np.uint8]] = self._make_cache(rgb_images_per_chunk)
        self._predicted_cache: _ChunkCache[NDArray[Any]] = self._make_cache(task.layout.chunks[0])
        self._mask_cache: _ChunkCache[NDArray[Any]] = self._make_cache(task.layout.chunks[0])

    @property
    def io_counters(self) -> Counter[str]:
        """Bytes and requests, by field name of `TaskResult`."""
        readers = (self._labels, self._rgb, self._evidence, self._inputs, self._masks)
        return sum((reader.io_counters for reader in readers if reader is not None), Counter())

    def view(
        self, index: int, side: int | None = None, *, scored: bool = True, size: tuple[int, int] | None = None
    ) -> ImageView:
        """Read one image.

        Args:
            index: Number of the image in the source.
            side: Largest side after downscaling, pixels; None for full size.
            scored: The image has evidence and an issue mask.
            size: Unpadded rows and columns, if the caller knows them.

        Returns:
            The image; parts that cannot be read stay None, with a warning.
        """
        warnings = [self.images_warning] if self.images_warning else []
        spec = self._task.spec
        unpadded = self._sizes(index, index + 1)[0] if size is None else np.array(size, np.int64)
        rows, columns = (int(extent) for extent in unpadded.clip(1, (spec.height, spec.width)))
        factor = reduction_factor((rows, columns), side)

        def given() -> NDArray[np.unsignedinteger] | None:
            try:
                self.open_labels()
            except FileNotFoundError:
                warnings.append(f"there are no labels at {spec.labels.url} any more")
                return None
            (planes, statuses), position = self._given_cache.get(index, self._read_given)
            if index in statuses:
                warnings.append(str(statuses[index].reason))
                if statuses[index].status != BAD_LABELS:  # the valid part of bad labels can be shown
                    return None
            return _take_centers(planes[position], rows, columns, factor)

        def predicted() -> NDArray[np.unsignedinteger] | None:
            classes = self._read_predicted(index)
            return None if classes is None else _take_centers(classes, rows, columns, factor)

        def flagged() -> NDArray[np.bool_]:
            planes, position = self._mask_cache.get(index, partial(self._read_planes, self._masks, ISSUE_MASK))
            return _downscale_any(planes[position, :rows, :columns] > 0, factor)

        return ImageView(
            (rows, columns),
            factor,
            _read_or_warn(warnings, lambda: self._read_rgb(index, rows, columns, factor)),
            _read_or_warn(warnings, given),
            _read_or_warn(warnings, predicted) if scored and self._predicted else None,
            _read_or_warn(warnings, flagged) if scored else None,
            tuple(warnings),
        )

    def prefetch(self, images: Sequence[tuple[int, tuple[int, int], bool]], side: int | None = None) -> None:
        """Announce the images (index, size, scored) of the next views, in this order: a network store reads ahead."""
        spec = self._task.spec
        scored = [index for index, _, is_scored in images if is_scored]

        def label_windows() -> Iterator[tuple[slice, ...]]:
            for start, stop in self._given_cache.spans([index for index, _, _ in images]):
                yield from map(window_to_slices, iter_label_windows(spec, start, stop))

        def rgb_windows() -> Iterator[tuple[slice, ...]]:
            if self._rgb_cache.images_per_read > 1:
                for start, stop in self._rgb_cache.spans([index for index, _, _ in images]):
                    yield slice(start, stop), slice(0, spec.height), slice(0, spec.width), slice(0, 3)
                return
            for index, (rows, columns), _ in images:
                for window in self._rgb_bands(index, rows, columns, reduction_factor((rows, columns), side)):
                    yield *window, slice(0, 3)

        def announce_planes() -> None:
            if self._evidence is not None:
                self._evidence.prefetch(PREDICTED_CLASS, self._predicted_cache.spans(scored))
            self._masks.prefetch(ISSUE_MASK, self._mask_cache.spans(scored))

        if self._rgb is not None:
            self._rgb.prefetch(rgb_windows())
        for announce in (lambda: self.open_labels().prefetch(label_windows()), announce_planes):
            _read_or_warn([], announce)  # the read of missing data states the reason

    def open_labels(self) -> ArrayReader:
        """Open the labels on first use. Raises FileNotFoundError if they were removed since the run."""
        if self._labels is None:
            self._labels = open_labels(self._task.spec, self._context.options)
        return self._labels

    def _make_cache(self, chunk_images: int) -> _ChunkCache[Any]:
        spec = self._task.spec
        return _ChunkCache(images_per_read(chunk_images, spec.pixels), spec.images)

    def _sizes(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the unpadded (rows, columns) of images [start, stop); the padded ones if the source was removed."""
        try:
            return image_sizes(self._task.spec, start, stop, self._context.options)
        except FileNotFoundError:
            return np.array([[self._task.spec.height, self._task.spec.width]] * (stop - start), np.int64)

    def _read_given(self, start: int, stop: int) -> _Labels:
        labels, sizes = self.open_labels(), self._sizes(start, stop)
        return read_labels(self._task.spec, labels, self._buffers, start, stop, sizes)

    def _read_predicted(self, index: int) -> NDArray[np.unsignedinteger] | None:
        """Return the predicted classes (H, W): a plane, or the labels with the pixels that differ from them."""
        if self._evidence is not None:
            planes, position = self._predicted_cache.get(
                index, partial(self._read_planes, self._evidence, PREDICTED_CLASS)
            )
            plane: NDArray[np.unsignedinteger] = planes[position]
            return plane
        (labels, statuses), position = self._given_cache.get(index, self._read_given)
        if index in statuses:
            return None
        inputs, number = self._input_cache.get(index, self._read_inputs)
        return inputs.predicted_class(number, labels[position])

    def _read_inputs(self, start: int, _: int) -> ScoreInputs:
        name = score_input_name(self._context.fingerprint, self._task.spec.index, start)
        scores = [method.name for method in evidence_methods(self._context.methods)]
        return ScoreInputs.read(self._inputs, name, self._task.spec, scores)

    def _read_planes(self, arrays: EvidenceArrays, name: str, start: int, stop: int) -> NDArray[Any]:
        spec = self._task.spec
        dtype = class_dtype(spec.classes) if name == PREDICTED_CLASS else np.uint8
        return arrays.read(name, start, stop, self._buffers.get(name, (stop - start, spec.height, spec.width), dtype))

    def _read_rgb_images(self, start: int, stop: int) -> NDArray[np.uint8]:
        spec = self._task.spec
        return self._read_rgb_window(slice(start, stop), slice(0, spec.height), slice(0, spec.width))

    def _read_rgb_window(self, *window: slice) -> NDArray[np.uint8]:
        """Read a window of images, rows and columns into memory that the next call overwrites."""
        assert self._rgb is not None
        shape = (*(part.stop - part.start for part in window), 3)
        return self._rgb.read(*window, slice(0, 3), out=self._buffers.get("rgb", shape, np.uint8))

    def _read_rgb(self, index: int, rows: int, columns: int, factor: int) -> NDArray[np.uint8] | None:
        """Read an RGB image in bands of whole chunks and downscale it in strips: 20,000 x 20,000 pixels exceed 1 GB."""
        if self._rgb is None:
            return None
        if self._rgb_cache.images_per_read > 1:
            images, position = self._rgb_cache.get(index, self._read_rgb_images)
            rgb = images[position, :rows, :columns]
            return rgb.copy() if factor == 1 else _downscale_rgb(rgb, factor)
        strip_rows = _strip_rows(columns, factor)
        image = np.empty((-(-rows // factor), -(-columns // factor), 3), np.uint8)
        remainder, first = np.empty((0, columns, 3), np.uint8), 0  # rows of a square that continues in the next band
        for window in self._rgb_bands(index, rows, columns, factor):
            band = self._read_rgb_window(*window)[0]
            band = np.concatenate([remainder, band]) if len(remainder) else band
            whole = len(band) if window[1].stop == rows else len(band) // factor * factor
            for start in range(0, whole, strip_rows):
                strip = _downscale_rgb(band[start : min(start + strip_rows, whole)], factor)
                image[first : first + len(strip)] = strip
                first += len(strip)
            remainder = band[whole:].copy()
        return image

    def _rgb_bands(self, index: int, rows: int, columns: int, factor: int) -> Iterator[tuple[slice, slice, slice]]:
        """Yield the windows in which an RGB image is read: bands of whole chunks of about the size of a strip."""
        band_rows = self._rgb_chunk_rows * max(1, _strip_rows(columns, factor) // self._rgb_chunk_rows)
        for y in range(0, rows, band_rows):
            yield slice(index, index + 1), slice(y, min(y + band_rows, rows)), slice(0, columns)


def _strip_rows(columns: int, factor: int) -> int:
    """Return the rows of an RGB image that are downscaled at a time."""
    return max(1, STRIP_PIXELS // columns // factor) * factor


def _downscale_rgb(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return the mean colors of squares of ``factor`` pixels of an image (H, W, 3)."""
    return image if factor == 1 else np.asarray(Image.fromarray(image).reduce(factor))


def _center_pixels(extent: int, factor: int) -> NDArray[np.intp]:
    """Return the center of each run of ``factor`` pixels."""
    return np.minimum(np.arange(0, extent, factor) + factor // 2, extent - 1)


def _take_centers(
    plane: NDArray[np.unsignedinteger], rows: int, columns: int, factor: int
) -> NDArray[np.unsignedinteger]:
    """Copy the center of each square of ``factor`` pixels of an image in the corner of a plane (H, W)."""
    if factor == 1:  # indexing by arrays takes ten times as long
        return plane[:rows, :columns].copy()
    return np.asarray(plane[np.ix_(_center_pixels(rows, factor), _center_pixels(columns, factor))])


def _downscale_any(flags: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """Return whether any pixel of each square of ``factor`` pixels is set."""
    return _any_row(_any_row(flags, factor).T, factor).T if factor > 1 else flags


def _any_row(flags: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """Return whether any of ``factor`` rows is set."""
    result = flags[::factor].copy("K")
    for offset in range(1, factor):
        rows = flags[offset::factor]
        result[: len(rows)] |= rows
    return result


def _read_or_warn(warnings: list[str], read: Callable[[], Any]) -> Any:
    """Return what ``read`` returns, or None with a warning if the data is missing or damaged."""
    try:
        return read()
    except (MissingChunkError, ChunkDecodeError, DataError, FileNotFoundError) as e:
        warnings.append(str(e))
        return None
