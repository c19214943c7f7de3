"""Requests to object storage, from shapes and chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from masksift.core.specs import ArraySpec, SourceSpec
from masksift.engine.planning.layout import (
    EVIDENCE_PLANES,
    Layout,
    Settings,
    evidence_passes,
    writes_planes,
    writes_score_inputs,
)

OBJECTS_PER_LIST_REQUEST = 1000
_REGIONS_PER_IMAGE = 16
"""Regions of an image, roughly."""

READS_PER_RUN, READS_PER_SOURCE, READS_PER_BLOCK, READS_PER_EVIDENCE_PASS = 16, 9, 19, 4
"""Requests for metadata and earlier task outputs, apart from those for chunks (measured: a test compares the plan with
the requests that a server received)."""

RANKING_PART_ROWS = 1 << 18
IMAGE_PART_ROWS = 1 << 16
"""Images of a part of the table of images: 1,526 parts for a hundred million images."""
PLACE_RANGE_VALUES = 1 << 19
"""Distinct values of a score, about, whose places one task finds: it needs some 100 bytes for each."""
PACKED_REGION_ROWS = 1 << 14
"""Regions that a block packs together, or more if the images that it scores together have more."""
REGION_PART_ROWS = 1 << 15
"""Rows of a part of the table of regions: a run-length code has some hundred bytes, sometimes many thousand."""


def objects_to_write(
    pairs: Sequence[tuple[SourceSpec, Layout]],
    condensed: Sequence[tuple[SourceSpec, Layout]],
    blocks: int,
    settings: Settings,
) -> int:
    """Count evidence, input of scoring, masks, two task outputs per block, metadata, tables and parts to rank."""
    with_planes = [pair for pair in condensed if writes_planes(*pair, settings)]
    evidence = sum(EVIDENCE_PLANES * evidence_objects(source, layout) for source, layout in with_planes)
    evidence += sum(chunk_count(*pair) for pair in condensed if writes_score_inputs(*pair, settings))
    masks = sum(evidence_objects(source, layout) for source, layout in pairs)
    metadata = EVIDENCE_PLANES * len(with_planes) + 2 * len(pairs)
    images, ranking, regions = table_parts(sum(source.images for source, _ in pairs), settings.max_regions)
    # the output of a compacted part, the values of its scores and its sorted rows; places of the combined score
    on_workers = 3 * images + place_ranges(sum(source.images for source, _ in pairs)) if images > 1 else 0
    return evidence + masks + 2 * blocks + metadata + 8 + images + on_workers + ranking + regions


def place_ranges(images: int) -> int:
    """Return the largest number of ranges of values of both scores that are combined, about."""
    return 2 * -(-images // PLACE_RANGE_VALUES)


def table_parts(images: int, max_regions: int) -> tuple[int, int, int]:
    """Return the largest number of parts of the tables of images, ranking and regions."""
    regions = min(max_regions, images * _REGIONS_PER_IMAGE)
    rows = ((images, IMAGE_PART_ROWS), (images, RANKING_PART_ROWS), (regions, REGION_PART_ROWS))
    images_parts, ranking, region_parts = (-(-count // size) for count, size in rows)
    return images_parts, ranking, region_parts


def reads_to_rank(images: int, max_regions: int) -> int:
    """Count the reads of parts by the ranking on workers; outputs of blocks count with the blocks."""
    parts, ranking, regions = table_parts(images, max_regions)
    return parts * (4 + 2 * place_ranges(images) + ranking + regions) if parts > 1 else 0


def reads_to_condense(source: SourceSpec, layout: Layout) -> int:
    """Count the reads of predictions and labels in the first pass."""
    images, rows, columns = layout.window_shape
    labels = (layout.chunk_images, source.height, source.width)
    predictions = 0
    for array in source.prediction_arrays:
        stored = array.stored
        # resized predictions are read in bands of chunks, and an image whose window holds all of it in one
        band = min(stored.shape[-2], max(stored.chunks[-2], rows * stored.shape[-2] // source.height))
        area = (band, stored.shape[-1]) if array.is_resized else (rows, columns)
        predictions += _reads(stored, (images, *stored.shape[1:-2], *area))
    return predictions + _reads(source.labels, labels)


def reads_to_score(source: SourceSpec, layout: Layout, settings: Settings, *, reused: bool) -> int:
    """Count the reads of labels and evidence, or of the input of scoring, after the first pass."""
    if not reused and settings.scores_at_once:
        return 0
    if not reused and writes_score_inputs(source, layout, settings):
        return chunk_count(source, layout)
    labels = _reads(source.labels, (layout.chunk_images, source.height, source.width))
    passes = evidence_passes(layout)
    planes = EVIDENCE_PLANES + (0, 3, 4)[passes]
    return (1 + passes) * labels + planes * evidence_objects(source, layout)


def _reads(array: ArraySpec, window: tuple[int, ...]) -> int:
    """Count the requests for an array: one per object; per shard its index and one per window."""
    if not array.shards:
        return object_count(array)
    windows = math.prod(-(-size // extent) for size, extent in zip(array.shards, window, strict=True))
    return object_count(array) * (1 + windows)


def object_count(array: ArraySpec) -> int:
    """Count the objects of an array: chunks, or shards."""
    array = array.stored
    sizes = array.shards or array.chunks
    return math.prod(-(-extent // size) for extent, size in zip(array.shape, sizes, strict=True))


def chunk_count(source: SourceSpec, layout: Layout) -> int:
    """Count the chunks of a source."""
    return -(-source.images // layout.chunk_images)


def evidence_objects(source: SourceSpec, layout: Layout) -> int:
    """Count the chunks of one evidence plane of a source."""
    shape = (source.images, source.height, source.width)
    return math.prod(-(-extent // size) for extent, size in zip(shape, layout.chunks, strict=True))
