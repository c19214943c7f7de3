"""Read the windows of a block into reusable buffers, one window ahead, and write results in the background."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from masksift.core.advice import chunk_advice
from masksift.core.specs import ReadWindow, SourceSpec
from masksift.core.status import BAD_LABELS, MISSING_CHUNK, STATUSES, UNREADABLE, ImageStatus
from masksift.scoring.image import LabelValidator
from masksift.scoring.kernels.condense import class_dtype, class_plane
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.validation import ChunkDecodeError, MissingChunkError

WHOLE_LABELS_PIXELS = 1 << 24
"""Labels of up to this many pixels are read as one window, larger ones by rows of chunks."""

S = TypeVar("S")
T = TypeVar("T")


class BufferPool:
    """Scratch arrays by name whose memory is reused: fresh memory costs as much as a pass over it."""

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[np.uint8]] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an uninitialized C-contiguous array; the next call with this name overwrites it."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = np.empty(size, np.uint8)
        return buffer[:size].view(dtype).reshape(shape)


class BackgroundWriter:
    """Run write calls one at a time in a background thread, so that slow network writes overlap with computation."""

    def __init__(self, *, background: bool) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="background-write") if background else None
        self._pending: Future[None] | None = None

    def submit(self, function: Callable[..., None], *args: Any) -> None:
        """Start a call after the previous one has finished. Raises the exception of the previous call."""
        if self._pool is None:
            function(*args)
            return
        self.wait()
        self._pending = self._pool.submit(function, *args)

    def wait(self) -> None:
        """Wait for the pending call and raise its exception."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.wait()
        finally:
            if self._pool is not None:
                self._pool.shutdown()


def read_ahead(read: Callable[[S, int], T], windows: Iterator[S]) -> Iterator[tuple[S, T]]:
    """Read one window ahead of the caller, in a thread that alternates between slots 0 and 1 of the buffers."""
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        current = None
        for number, window in enumerate(windows):
            following = (window, pool.submit(read, window, number % 2))
            if current is not None:
                yield current[0], current[1].result()
            current = following
        if current is not None:
            yield current[0], current[1].result()


def open_labels(spec: SourceSpec, options: Any) -> ArrayReader:
    """Open the label array of a source."""
    return ArrayReader(spec.labels, options, absent_is_missing=spec.absent_labels_are_missing)


def read_labels(
    spec: SourceSpec, reader: ArrayReader, buffers: BufferPool, start: int, stop: int, sizes: NDArray[np.int64]
) -> tuple[NDArray[np.unsignedinteger], dict[int, ImageStatus]]:
    """Read labels of images [start, stop) as class indices (n, H, W), padding ignored, with the status of bad ones."""
    dtype = class_dtype(spec.classes)
    classes = buffers.get("class indices", (stop - start, spec.height, spec.width), dtype)
    classes[...] = np.iinfo(dtype).max
    encoding = (spec.classes, spec.ignore, spec.remap, spec.label_offset)
    validators = defaultdict[int, LabelValidator](lambda: LabelValidator(*encoding))
    is_whole = (sizes == classes.shape[1:]).all(axis=1)
    statuses = {
        i: ImageStatus(
            BAD_LABELS,
            f"unpadded size {rows} x {columns} does not fit into {spec.height} x {spec.width} stored pixels",
            "Correct the arrays height and width.",
        )
        for i, (rows, columns) in enumerate(sizes.tolist(), start)
        if not (0 < rows <= spec.height and 0 < columns <= spec.width)
    }
    for window in iter_label_windows(spec, start, stop):
        buffer = buffers.get("labels", window.shape, spec.labels.dtype)
        for first, last, stored in read_window(reader, spec.labels.chunks[0], window, buffer):
            if isinstance(stored, ImageStatus):
                for i in range(first, last):
                    record_status(statuses, i, stored)
                continue
            targets = classes[first - start : last - start, window.y0 : window.y1, window.x0 : window.x1]
            one_by_one: Iterable[int] = range(first, last)
            if is_whole[first - start : last - start].all() and not any(i in statuses for i in one_by_one):
                indices, bad = class_plane(stored, *encoding, out=targets)
                if indices is not targets:
                    targets[...] = indices
                one_by_one = [] if bad is None else (first + np.flatnonzero(bad.any(axis=(1, 2)))).tolist()
            for i in one_by_one:  # images with padding, or with invalid labels
                if i not in statuses:
                    labels = stored[i - first][valid_slices(window, sizes[i - start])]
                    target = targets[i - first, : labels.shape[0], : labels.shape[1]]
                    indices = validators[i].to_class_indices(labels, window.y0, window.x0, out=target)
                    if indices is not target:
                        target[...] = indices
    for i, validator in validators.items():
        if validator.status is not None:
            record_status(statuses, i, validator.status)
    return classes, statuses


def iter_label_windows(spec: SourceSpec, start: int, stop: int) -> Iterator[ReadWindow]:
    """Yield the windows in which the labels of images [start, stop) are read."""
    _, rows, columns = spec.labels.chunks
    if (stop - start) * spec.pixels <= WHOLE_LABELS_PIXELS:
        rows, columns = spec.height, spec.width
    for y in range(0, spec.height, rows):
        for x in range(0, spec.width, columns):
            yield ReadWindow(start, stop, y, min(y + rows, spec.height), x, min(x + columns, spec.width))


def read_window(
    reader: ArrayReader, chunk_images: int, window: ReadWindow, out: NDArray[Any]
) -> list[tuple[int, int, NDArray[Any] | ImageStatus]]:
    """Read a window; if that fails, read ranges [first, last) of images, with the status of lost ones."""
    slices = window_to_slices(window, out.shape[1] if out.ndim == 4 else None)
    try:
        return [(window.start, window.stop, reader.read(*slices, out=out))]
    except (MissingChunkError, ChunkDecodeError) as e:
        aligned = range(-(-window.start // chunk_images) * chunk_images, window.stop, chunk_images)
        edges = sorted({window.start, window.stop, *aligned})
        if len(edges) == 2:
            status = MISSING_CHUNK if isinstance(e, MissingChunkError) else UNREADABLE
            failed = ImageStatus(status, str(e), chunk_advice(status, labels=out.ndim == 3))
            return [(window.start, window.stop, failed)]
    results = []
    for first, last in pairwise(edges):
        part = out[first - window.start : last - window.start]
        results += read_window(reader, chunk_images, replace(window, start=first, stop=last), part)
    return results


def record_status(statuses: dict[int, ImageStatus], image: int, status: ImageStatus) -> None:
    """Set the status of an image, unless it has one that comes first in `STATUSES`."""
    before = statuses.get(image)
    if before is None or STATUSES.index(status.status) < STATUSES.index(before.status):
        statuses[image] = status


def window_to_slices(window: ReadWindow, classes: int | None = None) -> tuple[slice, ...]:
    """Return the slices of a window in an array; with all classes for arrays that have a class axis."""
    class_axis = () if classes is None else (slice(0, classes),)
    return slice(window.start, window.stop), *class_axis, slice(window.y0, window.y1), slice(window.x0, window.x1)


def valid_slices(window: ReadWindow, size: NDArray[np.int64]) -> tuple[slice, slice]:
    """Return the rows and columns of a window that are not padding of an image of ``size`` (rows, columns)."""
    rows, columns = (int(extent) for extent in size)
    return slice(0, max(0, min(window.y1, rows) - window.y0)), slice(0, max(0, min(window.x1, columns) - window.x0))
