"""Copies of the labels of a data set, block by block: for simulated errors and for corrections."""

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
"""Memory of an idle worker (measured, rounded up)."""
MAX_BLOCK_PIXELS, TARGET_BLOCKS = 1 << 27, 16
"""A block is a sixteenth of the data set, but at most this many pixels."""
NO_VALUE = int(np.iinfo(np.int64).min)
"""Placeholder for a class without a label value."""


def label_blocks(spec: SourceSpec, unit: int, images: int) -> Iterator[tuple[int, int]]:
    """Yield blocks [start, stop) of whole storage units of a source, for a data set of ``images`` images."""
    wanted = max(1, min(MAX_BLOCK_PIXELS // spec.pixels, -(-images // TARGET_BLOCKS)))
    size = -(-wanted // unit) * unit
    for start in range(0, spec.images, size):
        yield start, min(spec.images, start + size)


def read_stored_labels(
    spec: SourceSpec, reader: ArrayReader, start: int, stop: int
) -> tuple[NDArray[np.integer[Any]], dict[int, ImageStatus]]:
    """Read labels (n, H, W) of images [start, stop) as they are stored, and the status of missing ones."""
    labels: NDArray[np.integer[Any]] = np.zeros((stop - start, spec.height, spec.width), spec.labels.dtype)
    statuses: dict[int, ImageStatus] = {}
    for window in iter_label_windows(spec, start, stop):
        buffer = np.empty(window.shape, spec.labels.dtype)
        for first, last, stored in read_window(reader, spec.labels.chunks[0], window, buffer):
            if isinstance(stored, ImageStatus):
                for index in range(first, last):
                    record_status(statuses, index, stored)
            else:
                labels[first - start : last - start, window.y0 : window.y1, window.x0 : window.x1] = stored
    return labels, statuses


def label_values(spec: SourceSpec) -> NDArray[np.int64]:
    """Return the stored label value of each class index and, as last element, of ignored pixels.

    The smallest of several values is used; `NO_VALUE` stands for a class that the label dtype cannot express.
    """
    limits = np.iinfo("uint8" if spec.labels.dtype == "bool" else spec.labels.dtype)
    greatest = 1 if spec.labels.dtype == "bool" else limits.max
    known = {value for value, _ in spec.remap} or set(range(spec.label_offset, spec.classes + spec.label_offset))
    stored = sorted(value for value in known | set(spec.ignore) if limits.min <= value <= greatest)
    classes, _ = class_plane(
        np.array(stored, spec.labels.dtype), spec.classes, spec.ignore, spec.remap, spec.label_offset
    )
    values = np.full(np.iinfo(class_dtype(spec.classes)).max + 1, NO_VALUE)
    for value, k in zip(reversed(stored), reversed(classes.tolist()), strict=True):
        values[k] = value
    return values
