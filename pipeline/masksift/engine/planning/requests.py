"""Requests to object storage, from shapes and chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from masksift.core.specs import ArraySpec, SourceSpec
from masksift.engine.planning.layout import (
    EVIDENCE_PLANES,
    Layout,
    evidence_passes,
)

OBJECTS_PER_LIST_REQUEST = 1000
"""Objects that a store names in one answer."""

READS_PER_RUN, READS_PER_SOURCE, READS_PER_BLOCK, READS_PER_EVIDENCE_PASS = 16, 30, 21, 4
"""Requests besides those for chunks: metadata, and what is done already; a walk is a further look at a block's evidence
(measured: a test compares the plan with what a server was asked)."""

RANKING_PART_ROWS = 1 << 18
"""Rows of a part of the ranking."""


def objects_to_write(
    pairs: Sequence[tuple[SourceSpec, Layout]], own: Sequence[tuple[SourceSpec, Layout]], blocks: int
) -> int:
    """Evidence, masks, four objects a block (its products, its images, its regions), metadata, and the tables."""
    evidence = sum(EVIDENCE_PLANES * evidence_objects(s, x) for s, x in own) + sum(
        evidence_objects(s, x) for s, x in pairs
    )
    metadata = (1 + EVIDENCE_PLANES) * len(own) + 2 * len(pairs)
    return evidence + 4 * blocks + metadata + 10 + sum(s.images for s, _ in pairs) // RANKING_PART_ROWS


def reads_to_condense(source: SourceSpec, layout: Layout) -> int:
    images, rows, columns = layout.window_shape
    labels = (layout.chunk_images, source.height, source.width)
    window = (images, source.classes, rows, columns)
    return sum(_reads(array, window) for array in source.prediction_arrays) + _reads(source.labels, labels)


def reads_to_score(source: SourceSpec, layout: Layout) -> int:
    """Scoring, and before it the second look at evidence of more than 8 bits."""
    labels = _reads(source.labels, (layout.chunk_images, source.height, source.width))
    planes = EVIDENCE_PLANES + (0, 3, 4)[evidence_passes(layout)]
    return (1 + evidence_passes(layout)) * labels + planes * evidence_objects(source, layout)


def _reads(array: ArraySpec, window: tuple[int, ...]) -> int:
    """Requests that an array takes, read window by window: one an object; of a shard its index, and one a window."""
    if not array.shards:
        return object_count(array)
    windows = math.prod(-(-size // part) for size, part in zip(array.shards, window, strict=True))
    return object_count(array) * (1 + windows)


def object_count(array: ArraySpec) -> int:
    sizes = array.shards or array.chunks
    return math.prod(-(-extent // size) for extent, size in zip(array.shape, sizes, strict=True))


def evidence_objects(source: SourceSpec, layout: Layout) -> int:
    shape = (source.images, source.height, source.width)
    return math.prod(-(-extent // size) for extent, size in zip(shape, layout.chunks, strict=True))
