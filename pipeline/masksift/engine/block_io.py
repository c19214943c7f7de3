"""How a block's windows come to its task: into memory that is used again, one ahead of the work, with a verdict in
place of what is lost; and how what it made is written behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.specs import ReadWindow, SourceSpec
from masksift.core.status import BAD_LABELS, MISSING_CHUNK, STATUSES, UNREADABLE, ImageStatus
from masksift.engine.buffers import BufferPool
from masksift.engine.overlap import read_ahead
from masksift.engine.planning.layout import Layout
from masksift.scoring.image import LabelValidator
from masksift.scoring.kernels.condense import class_dtype
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.validation import ChunkDecodeError, MissingChunkError


def read_labels(
    spec: SourceSpec, reader: ArrayReader, memory: BufferPool, start: int, stop: int, sizes: NDArray[np.int64]
) -> tuple[NDArray[np.unsignedinteger], dict[int, ImageStatus]]:
    """Class planes (n, H, W) of images [start, stop), and the verdicts of those whose labels are lost or wrong.
    ``sizes`` (n, 2): the rows and columns that are an image's own; all others are ignored, whatever they hold."""
    numbers = class_dtype(spec.classes)
    plane = memory.get("class planes", (stop - start, spec.height, spec.width), numbers)
    plane[...] = np.iinfo(numbers).max
    checks = [LabelValidator(spec.classes, spec.ignore, spec.remap) for _ in range(stop - start)]
    verdicts = {
        i: ImageStatus(
            BAD_LABELS, f"its own size is {rows} x {columns}, of {spec.height} x {spec.width} that are stored"
        )
        for i, (rows, columns) in enumerate(sizes.tolist(), start)
        if not (0 < rows <= spec.height and 0 < columns <= spec.width)
    }
    for window in iter_label_windows(spec, start, stop):
        stored = memory.get("labels", window.shape, spec.labels.dtype)
        for first, last, part in read_window(reader, spec.labels.chunks[0], window, stored):
            for i in range(first, last):
                if isinstance(part, ImageStatus):
                    record_status(verdicts, i, part)
                elif i not in verdicts:
                    own = part[i - first][valid_slices(window, sizes[i - start])]
                    view = plane[i - start, window.y0 : window.y1, window.x0 : window.x1]
                    target = view[: own.shape[0], : own.shape[1]]
                    numbered = checks[i - start].to_class_indices(own, window.y0, window.x0, out=target)
                    if numbered is not target:
                        target[...] = numbered
    for i, check in enumerate(checks, start):
        if check.status is not None:
            record_status(verdicts, i, check.status)
    return plane, verdicts


def iter_label_windows(spec: SourceSpec, start: int, stop: int) -> Iterator[ReadWindow]:
    """What is read of the labels of images [start, stop) at once: all of it, or a row of chunks of a large one."""
    _, rows, columns = spec.labels.chunks
    whole = (stop - start) * spec.pixels <= 1 << 24
    rows, columns = (spec.height, spec.width) if whole else (rows, columns)
    for y in range(0, spec.height, rows):
        for x in range(0, spec.width, columns):
            yield ReadWindow(start, stop, y, min(y + rows, spec.height), x, min(x + columns, spec.width))


def window_to_slices(window: ReadWindow, classes: int | None = None) -> tuple[slice, ...]:
    """Where a window lies in an array, with all classes where there are any."""
    between = () if classes is None else (slice(0, classes),)
    return slice(window.start, window.stop), *between, slice(window.y0, window.y1), slice(window.x0, window.x1)


def valid_slices(window: ReadWindow, size: NDArray[np.int64]) -> tuple[slice, slice]:
    """The rows and columns of a window that are an image's own, of ``size`` (rows, columns)."""
    rows, columns = (int(number) for number in size)
    return slice(0, max(0, min(window.y1, rows) - window.y0)), slice(0, max(0, min(window.x1, columns) - window.x0))


def record_status(verdicts: dict[int, ImageStatus], image: int, verdict: ImageStatus) -> None:
    """Give a verdict on an image: where it has one already, the one that `STATUSES` names first."""
    before = verdicts.get(image)
    if before is None or STATUSES.index(verdict.status) < STATUSES.index(before.status):
        verdicts[image] = verdict


def read_window(
    reader: ArrayReader, chunk: int, window: ReadWindow, out: NDArray[Any]
) -> list[tuple[int, int, NDArray[Any] | ImageStatus]]:
    """The window, with every class where there are any, as [(first, last, array)]. Where anything in it is lost, image
    chunk by image chunk, with a verdict in place of the lost ones: what lies in one chunk is lost together, all else is
    not. ``out``: memory for it, which may be used."""
    place = window_to_slices(window, out.shape[1] if out.ndim == 4 else None)
    try:
        return [(window.start, window.stop, reader.read(*place, out=out))]
    except (MissingChunkError, ChunkDecodeError) as e:
        edges = sorted({window.start, window.stop, *range(-(-window.start // chunk) * chunk, window.stop, chunk)})
        if len(edges) == 2:
            status = MISSING_CHUNK if isinstance(e, MissingChunkError) else UNREADABLE
            return [(window.start, window.stop, ImageStatus(status, str(e)))]
    parts = []
    for first, last in pairwise(edges):
        inside = out[first - window.start : last - window.start]
        parts += read_window(reader, chunk, replace(window, start=first, stop=last), inside)
    return parts


def prefetch_block(
    spec: SourceSpec, layout: Layout, predictions: Sequence[ArrayReader], labels: ArrayReader, start: int, stop: int
) -> None:
    """Tell the readers what `read_labels` and `iter_prediction_windows` will read of images [start, stop)."""
    groups = list(layout.chunk_ranges(start, stop))
    for reader in predictions:
        windows = chain.from_iterable(layout.windows(*group, spec.height, spec.width) for group in groups)
        reader.prefetch(window_to_slices(window, spec.classes) for window in windows)
    labels.prefetch(window_to_slices(window) for group in groups for window in iter_label_windows(spec, *group))


def iter_prediction_windows(
    spec: SourceSpec,
    layout: Layout,
    readers: Sequence[ArrayReader],
    memory: BufferPool,
    start: int,
    sizes: NDArray[np.int64],
    verdicts: dict[int, ImageStatus],
) -> Iterator[tuple[ReadWindow, int, int, NDArray[Any]]]:
    """(window, member, image, predictions (K, h, w)) of every slab of the n images from ``start`` on, of each window
    one member after the other; ``sizes`` (n, 2): the rows and columns that are an image's own, of which alone a slab
    is. Each is read once, and good until the next one is asked for. Images with a verdict are passed over; those whose
    chunks are lost get one."""

    def read(slab: tuple[ReadWindow, int], turn: int) -> list[tuple[int, int, NDArray[Any] | ImageStatus]]:
        window, member = slab
        images, *area = window.shape
        stored = spec.prediction_arrays[member]
        out = memory.get(f"predictions {turn}", (images, spec.classes, *area), stored.dtype)
        return read_window(readers[member], stored.chunks[0], window, out)

    windows = layout.windows(start, start + len(sizes), spec.height, spec.width)
    each = ((window, member) for window in windows for member in range(len(readers)))
    for (window, member), parts in read_ahead(read, each):
        for first, last, part in parts:
            for i in range(first, last):
                if isinstance(part, ImageStatus):
                    record_status(verdicts, i, part)
                elif i not in verdicts and (own := part[i - first][:, *valid_slices(window, sizes[i - start])]).size:
                    yield window, member, i, own
