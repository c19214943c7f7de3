"""Memory that a worker needs at most, from shapes and dtypes."""

from __future__ import annotations

import math
from collections.abc import Iterable

from masksift.core.errors import PlanRefused
from masksift.core.limits import MIB, PREFETCH_BYTES
from masksift.core.specs import SourceSpec
from masksift.core.units import format_bytes
from masksift.engine.planning.layout import (
    EVIDENCE_PLANES,
    LARGE_IMAGE_PIXELS,
    Layout,
    Settings,
    itemsize,
    plane_bytes_per_pixel,
)
from masksift.scoring.kernels import regions
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.kernels.ensemble import STRIP_PIXELS

BASE_MEMORY_BYTES = 330 * MIB
"""A worker that has imported everything and compiled its kernels, before its first block (measured, rounded up)."""

ALLOCATOR_OVERHEAD = 1.1
"""What an allocator holds for what is in use (measured: see `make bench`)."""

REGION_BYTES = 600
"""Of a region that a block lists, while it is made a row of a table: a hundred, an object for its run-length code, some
twenty counts, and a quarter of the whole that is held until it is dropped; the code of a torn region is longer."""


def check_worker_memory(needed: int, workers: Iterable[tuple[str, int | None]], what: str) -> None:
    """Refuse workers, (name, bytes or None) each, that have less than the bytes ``needed`` for ``what``."""
    for name, memory in workers:
        if memory is not None and memory < needed:
            raise PlanRefused(
                f"{what} needs {format_bytes(needed)} a worker, and {name} has {format_bytes(memory)}",
                "it would be killed on the way",
                f"Give workers of {format_bytes(needed)} (--executor.memory), or fewer workers a machine",
            )


def condense_memory(source: SourceSpec, layout: Layout, settings: Settings) -> int:
    images, rows, columns = layout.window_shape
    area = images * rows * columns
    slab = area * source.classes * max(array.itemsize for array in source.prediction_arrays)
    in_order = all(array.axes == (0, 1, 2, 3) for array in source.prediction_arrays)
    copies = 3 if in_order else 4  # walked, read ahead, its encoded bytes; transposed
    copies += any(source.size_arrays)  # a padded image's own part
    mean = _mean_memory(source, layout) if source.members else 0
    class_bytes = class_dtype(source.classes).itemsize
    planes = layout.chunk_images * source.pixels * (plane_bytes_per_pixel(source, layout) + class_bytes)
    planes *= 1 + layout.writes_in_background(source, local=not settings.remote)
    walked = rows * columns * (2 * 4 + class_bytes)
    labels = 2 * _label_read(source, layout) * (source.labels.itemsize + class_bytes)
    statistics = 4 * (source.classes * (source.classes + 3 * 256) + 65536) * 8
    written = _write_buffers(source, layout) * itemsize(layout.evidence_dtype)
    # of predictions and labels, beside a chunk each
    under_way = PREFETCH_BYTES + sum(
        PREFETCH_BYTES + math.prod(array.chunks) * array.itemsize for array in source.prediction_arrays
    )
    in_use = copies * slab + mean + planes + walked + labels + statistics + written
    return round(ALLOCATOR_OVERHEAD * (in_use + settings.remote * under_way))


def _mean_memory(source: SourceSpec, layout: Layout) -> int:
    """Of an ensemble, beside the slabs of its members: the mean's, and a strip of a member as it is and as float32,
    before and after a softmax."""
    images, rows, columns = layout.window_shape
    strip = max(STRIP_PIXELS, columns) * (8 + 3 * 4)  # float64 at most
    return source.classes * (images * rows * columns * source.predictions.itemsize + strip)


def _label_read(source: SourceSpec, layout: Layout) -> int:
    """Pixels of labels that are decoded at once."""
    images, rows, columns = source.labels.chunks
    whole = layout.chunk_images * source.pixels
    return min(whole, max(images * rows * columns, LARGE_IMAGE_PIXELS))


def score_memory(source: SourceSpec, layout: Layout, settings: Settings) -> int:
    class_bytes = class_dtype(source.classes).itemsize
    planes = layout.chunk_images * source.pixels * (plane_bytes_per_pixel(source, layout) + class_bytes + 1)
    labels = 2 * _label_read(source, layout) * (source.labels.itemsize + class_bytes)
    # After the scores the regions: at worst each pixel is one of 96 bytes, in a run of 24. What the scores hold of
    # their own is less: two rows of components.
    regional = min(source.pixels, max(regions.CAPACITY, source.width)) * (96 + 24)
    listed = min(settings.max_regions, layout.block_images * source.pixels // settings.min_area) * REGION_BYTES
    written = _write_buffers(source, layout) * max(class_bytes, itemsize(layout.evidence_dtype))
    under_way = (1 + EVIDENCE_PLANES) * PREFETCH_BYTES  # of labels and planes
    return round(ALLOCATOR_OVERHEAD * (planes + labels + regional + listed + written + settings.remote * under_way))


def _write_buffers(source: SourceSpec, layout: Layout) -> int:
    """Values in the chunks that are copied and encoded at a time: zarr does ten at once."""
    shape = (layout.chunk_images, source.height, source.width)
    count = math.prod(-(-extent // size) for extent, size in zip(shape, layout.chunks, strict=True))
    return 2 * min(10, count) * math.prod(layout.chunks)
