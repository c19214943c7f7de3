"""Peak memory of a worker, from shapes and dtypes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from masksift.core.errors import PlanRefused
from masksift.core.limits import MIB, PREFETCH_BYTES
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.core.units import format_bytes
from masksift.engine.planning.layout import (
    EVIDENCE_PLANES,
    LARGE_IMAGE_PIXELS,
    Layout,
    Settings,
    plane_bytes_per_pixel,
    score_input_bytes,
    writes_score_inputs,
)
from masksift.engine.planning.requests import IMAGE_PART_ROWS, PACKED_REGION_ROWS, RANKING_PART_ROWS
from masksift.scoring.image import image_groups
from masksift.scoring.kernels import regions as region_kernels
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.kernels.decode import source_rows_at_most
from masksift.scoring.kernels.ensemble import STRIP_PIXELS
from masksift.scoring.kernels.label_grids import CELLS
from masksift.scoring.region_priority import max_image_regions

BASE_MEMORY_BYTES = 330 * MIB
"""Memory of a worker that has imported everything and compiled its kernels, before its first block (measured, rounded
up)."""

ALLOCATOR_OVERHEAD = 1.1
"""Memory that an allocator holds per byte in use (measured: see `make bench`)."""

REGION_BYTES = 600
"""Memory of a listed region while it becomes a row of a table: as arrays, with its run-length code, and as a row; the
code of a torn region is longer."""

PACKED_REGION_BYTES = 150
"""Bytes of a packed row of a region (measured: 114 with CamVid)."""

TABLE_ROW_BYTES = 1200
"""Memory of a row of an image while it is collected or ranked: as read, joined, sorted and encoded (measured: 900, with
ids of 16 characters)."""

GRID_BYTES = 2 * CELLS
"""Bytes of the grids of an image per byte of a class number."""


def check_worker_memory(needed: int, workers: Iterable[tuple[str, int | None]], purpose: str) -> None:
    """Compare (name, bytes or None) of all workers with the memory they need. Raises PlanRefused."""
    for name, memory in workers:
        if memory is not None and memory < needed:
            amount = format_bytes(needed)
            raise PlanRefused(
                f"{purpose[:1].upper()}{purpose[1:]} needs {amount} per worker, and {name} has {format_bytes(memory)}",
                "The worker would be killed",
                f"Use workers with {amount} (--executor.memory), or fewer workers per machine",
            )


def condense_memory(source: SourceSpec, layout: Layout, settings: Settings) -> int:
    """Return the memory of a worker that condenses a block, in bytes above the base."""
    rows, columns = layout.window_shape[1:]
    windows = _window_memory(source, layout)
    mean = _mean_memory(source, layout) if source.members else 0
    class_bytes, evidence_bytes = class_dtype(source.classes).itemsize, np.dtype(layout.evidence_dtype).itemsize
    planes = layout.chunk_images * source.pixels * (plane_bytes_per_pixel(source, layout) + class_bytes)
    planes *= 1 + layout.writes_in_background(source, local=not settings.remote)
    kernel = rows * columns * (2 * 4 + class_bytes)
    labels = 2 * _label_window_pixels(source, layout) * (source.labels.itemsize + class_bytes)
    if writes_score_inputs(source, layout, settings):  # images, joined and as an archive, and one in writing
        planes += (3 + layout.writes_in_background(source, local=not settings.remote)) * score_input_bytes(
            source, layout
        )
    if settings.scores_at_once:
        planes += layout.chunk_images * source.pixels + _scoring_memory(source, layout, settings)
    statistics = 4 * (source.classes * (source.classes + 3 * 256) + 65536) * 8 + _group_memory(source, layout)
    written = _values_in_writing(source, layout) * evidence_bytes
    # the labels' reader, and those of the predictions with a chunk each
    prefetched = PREFETCH_BYTES + sum(
        PREFETCH_BYTES + math.prod(array.stored.chunks) * array.stored.itemsize for array in source.prediction_arrays
    )
    overhang = sum(_chunk_overhang(array.stored) for array in (*source.prediction_arrays, source.labels))
    in_use = windows + mean + planes + kernel + labels + statistics + written + overhang
    return round(ALLOCATOR_OVERHEAD * (in_use + settings.remote * prefetched))


def _chunk_overhang(array: ArraySpec) -> int:
    """Return the bytes of a decoded chunk beyond the edges of its array."""
    inside = math.prod(map(min, array.chunks, array.shape))
    return (math.prod(array.chunks) - inside) * array.itemsize


def _window_memory(source: SourceSpec, layout: Layout) -> int:
    """Return the bytes of the windows of predictions: stored, and decoded image by image."""
    images, rows, columns = layout.window_shape
    decoded = max((array.itemsize for array in source.prediction_arrays if array.decoding), default=0)
    decoded *= source.classes * rows * columns
    window, held, in_order = 0, 0, True
    for array in source.prediction_arrays:
        stored, area = array.stored, rows * columns
        in_order &= stored.axes == tuple(sorted(stored.axes))
        planes = images * math.prod(stored.shape[1:-2]) * stored.itemsize  # per pixel
        if array.is_resized:
            # the rows of two windows up to the end of their chunks, as float32 those of one image
            needed = source_rows_at_most(rows, stored.shape[-2], source.height)
            area = min(stored.shape[-2], stored.chunks[-2] + needed) * stored.shape[-1]
            held += 2 * planes * area + math.prod(stored.shape[1:-2]) * needed * stored.shape[-1] * (
                4 + stored.itemsize
            )
        window = max(window, planes * area)
    copies = 3 if in_order else 4  # in use, read ahead, encoded; transposed
    copies += any(source.size_arrays)  # the unpadded part of an image
    return copies * window + held + decoded


def _mean_memory(source: SourceSpec, layout: Layout) -> int:
    """Return the bytes of an ensemble's mean, and of a strip of a member: stored, and as float32 around a softmax."""
    images, rows, columns = layout.window_shape
    strip = max(STRIP_PIXELS, columns) * (8 + 3 * 4)  # float64 at most
    return source.classes * (images * rows * columns * source.predictions.itemsize + strip)


def _label_window_pixels(source: SourceSpec, layout: Layout) -> int:
    """Return the pixels of labels that are decoded at once."""
    return min(layout.chunk_images * source.pixels, max(math.prod(source.labels.chunks), LARGE_IMAGE_PIXELS))


def score_memory(source: SourceSpec, layout: Layout, settings: Settings, *, reused: bool) -> int:
    """Return the memory of a worker that scores a block, in bytes above the base."""
    if not reused and settings.scores_at_once:
        return 0
    scoring = _scoring_memory(source, layout, settings)
    if not reused and writes_score_inputs(source, layout, settings):
        mask = layout.chunk_images * source.pixels
        written = _values_in_writing(source, layout)
        # two chunks, one of them as an archive too, and one image
        return round(ALLOCATOR_OVERHEAD * (mask + written + 4 * score_input_bytes(source, layout) + scoring))
    class_bytes, evidence_bytes = class_dtype(source.classes).itemsize, np.dtype(layout.evidence_dtype).itemsize
    planes = layout.chunk_images * source.pixels * (plane_bytes_per_pixel(source, layout) + class_bytes + 1)
    labels = 2 * _label_window_pixels(source, layout) * (source.labels.itemsize + class_bytes)
    labels += _chunk_overhang(source.labels)
    written = _values_in_writing(source, layout) * max(class_bytes, evidence_bytes)
    prefetched = (1 + EVIDENCE_PLANES) * PREFETCH_BYTES  # labels and planes
    return round(ALLOCATOR_OVERHEAD * (planes + labels + scoring + written + settings.remote * prefetched))


def _group_images(source: SourceSpec, layout: Layout) -> int:
    """Return the number of images that are counted and scored together."""
    group = next(image_groups(layout.chunk_images, source.pixels, source.classes))
    return int(group.stop)


def _group_memory(source: SourceSpec, layout: Layout) -> int:
    """Return the bytes of the counts of a group: pairs of classes, codes by class, and codes with their weights."""
    classes, codes = source.classes, min(source.pixels, 1 << 16)
    image = 7 * 8 * classes**2 + 5 * 8 * classes + 2 * 8 * min(source.pixels, 256 * classes) + 7 * 8 * codes
    return _group_images(source, layout) * image


def _scoring_memory(source: SourceSpec, layout: Layout, settings: Settings) -> int:
    """Return the bytes of regions and their rows."""
    # Regions follow the scores. In the worst case each pixel is a region of 96 bytes with a run of 24 bytes. The scores
    # hold less: two rows of components.
    pixels = _group_images(source, layout) * source.pixels
    found = min(pixels, max(region_kernels.CAPACITY, source.width)) * (96 + 24) + _group_memory(source, layout)
    return found + _unpacked_regions(source, layout, settings) + _packed_regions(source, layout, settings)


def _image_regions(source: SourceSpec, settings: Settings) -> int:
    """Return the largest number of regions that are kept of an image."""
    return min(int(max_image_regions(source.pixels)), source.pixels // settings.min_area)


def _unpacked_regions(source: SourceSpec, layout: Layout, settings: Settings) -> int:
    """Return the bytes of a table of regions of scored images."""
    together = _group_images(source, layout) * _image_regions(source, settings)
    return min(layout.block_images * _image_regions(source, settings), PACKED_REGION_ROWS + together) * REGION_BYTES


def _packed_regions(source: SourceSpec, layout: Layout, settings: Settings) -> int:
    """Return the bytes of the regions of a block, packed and joined."""
    return 2 * layout.block_images * _image_regions(source, settings) * PACKED_REGION_BYTES


def rank_memory(pairs: Sequence[tuple[SourceSpec, Layout]], settings: Settings) -> int:
    """Return the memory of a worker that collects the rows of a part or ranks a range, in bytes above the base."""
    images = sum(source.images for source, _ in pairs)
    regions = sum(source.images * source.pixels for source, _ in pairs) // settings.min_area
    listed = 2 * 5 * min(settings.max_regions, regions) // 4 * REGION_BYTES  # in order of the blocks, and sorted
    # one table of a block's regions, and 16 blocks that are read ahead, which rarely have a quarter of what is possible
    scored = max(_unpacked_regions(*pair, settings) + 2 * _packed_regions(*pair, settings) for pair in pairs)
    grids = 3 * GRID_BYTES * class_dtype(pairs[0][0].classes).itemsize  # as read, joined, and as an array
    collected = min(images, IMAGE_PART_ROWS) * (TABLE_ROW_BYTES + grids) + listed + scored
    return round(ALLOCATOR_OVERHEAD * max(collected, min(images, RANKING_PART_ROWS) * TABLE_ROW_BYTES))


def _values_in_writing(source: SourceSpec, layout: Layout) -> int:
    """Return the values in the chunks that are copied and encoded at the same time: Zarr does ten at once."""
    shape = (layout.chunk_images, source.height, source.width)
    count = math.prod(-(-extent // size) for extent, size in zip(shape, layout.chunks, strict=True))
    return 2 * min(10, count) * math.prod(layout.chunks)
