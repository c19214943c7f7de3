"""Another set of labels for the sources of a data set, block by block: known errors are put in so, and corrections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.specs import SourceSpec
from masksift.core.status import ImageStatus
from masksift.engine.block_io import iter_label_windows, read_window, record_status
from masksift.scoring.kernels.condense import class_dtype, class_plane
from masksift.storage.zarr.reader import ArrayReader

BASE_MEMORY_BYTES = 300 << 20
"""Bytes of a worker that holds nothing yet (measured, rounded up)."""
MAX_BLOCK_PIXELS, TARGET_BLOCKS = 1 << 27, 16
"""A block is a sixteenth of the data set, or so many pixels if that is less."""
NO_VALUE = int(np.iinfo(np.int64).min)
"""In place of a label value, where there is none."""


def label_blocks(spec: SourceSpec, unit: int, total: int) -> Iterator[tuple[int, int]]:
    """The blocks [start, stop) of a source of a data set of ``total`` images, whole units of what lies together."""
    wanted = max(1, min(MAX_BLOCK_PIXELS // spec.pixels, -(-total // TARGET_BLOCKS)))
    size = -(-wanted // unit) * unit
    for start in range(0, spec.images, size):
        yield start, min(spec.images, start + size)


def read_stored_labels(
    spec: SourceSpec, reader: ArrayReader, start: int, stop: int
) -> tuple[NDArray[np.integer[Any]], dict[int, ImageStatus]]:
    """Labels (n, H, W) of images [start, stop) as they are stored, and the verdicts of those that are lost."""
    labels: NDArray[np.integer[Any]] = np.zeros((stop - start, spec.height, spec.width), spec.labels.dtype)
    lost: dict[int, ImageStatus] = {}
    for window in iter_label_windows(spec, start, stop):
        out = np.empty(window.shape, spec.labels.dtype)
        for first, last, part in read_window(reader, spec.labels.chunks[0], window, out):
            if isinstance(part, ImageStatus):
                for index in range(first, last):
                    record_status(lost, index, part)
            else:
                labels[first - start : last - start, window.y0 : window.y1, window.x0 : window.x1] = part
    return labels, lost


def label_values(spec: SourceSpec) -> NDArray[np.int64]:
    """The label value that stands for each class number and, last, for no label; `NO_VALUE` where the
    source's dtype holds none. Of several that mean the same, the least."""
    limits = np.iinfo(spec.labels.dtype)
    known = {value for value, _ in spec.remap} or set(range(spec.classes))
    held = sorted(value for value in known | set(spec.ignore) if limits.min <= value <= limits.max)
    meant, _ = class_plane(np.array(held, spec.labels.dtype), spec.classes, spec.ignore, spec.remap)
    values = np.full(np.iinfo(class_dtype(spec.classes)).max + 1, NO_VALUE)
    for value, k in zip(reversed(held), reversed(meant.tolist()), strict=True):
        values[k] = value
    return values
