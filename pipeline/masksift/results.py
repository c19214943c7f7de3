"""The tables of a run, from what its reductions answer and its blocks have written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from masksift.plan import Plan
from masksift.ranking import percentiles, rank_order
from masksift.statistics import ClassStatistics, Thresholds
from masksift.storage.objects import Folder
from masksift.storage.tables import (
    CLASS_PAIRS,
    CLASS_QUALITY,
    THRESHOLDS,
    column,
    floats,
    ranking_schema,
    read_parts,
    table_of,
    write_table,
)
from masksift.tasks import PairCounts, images_part

__all__ = ["class_pairs", "class_quality", "ranking", "read_images", "thresholds_table", "write_ranking"]

PART_ROWS = 1 << 20


def thresholds_table(statistics: ClassStatistics, thresholds: Thresholds, class_names: Sequence[str]) -> pa.Table:
    """One row a class: see `masksift.storage.tables.THRESHOLDS`."""
    rows = [
        {
            "class_id": k,
            "class_name": name,
            "pixels": int(pixels),
            "sum": float(total * statistics.encoding.unit),
            "confident_threshold": None if np.isinf(confident) else confident,
            "decision_threshold": None if np.isinf(decision) else decision,
        }
        for k, (name, pixels, total, confident, decision) in enumerate(
            zip(class_names, statistics.pixels, statistics.sums, thresholds.confident, thresholds.decision, strict=True)
        )
    ]
    return table_of(rows, THRESHOLDS)


def class_pairs(pairs: PairCounts, class_names: Sequence[str]) -> pa.Table:
    """One row a pair of classes with flagged pixels, most pixels first: see `masksift.storage.tables.CLASS_PAIRS`."""
    given, suggested = np.nonzero(pairs.pixels)
    order = np.lexsort((suggested, given, -pairs.pixels[given, suggested]))
    rows = [
        {
            "given": int(g),
            "suggested": int(s),
            "given_name": class_names[g],
            "suggested_name": class_names[s],
            "pixels": int(pairs.pixels[g, s]),
            "images": int(pairs.images[g, s]),
        }
        for g, s in zip(given[order], suggested[order], strict=True)
    ]
    return table_of(rows, CLASS_PAIRS)


def class_quality(statistics: ClassStatistics, pairs: PairCounts, class_names: Sequence[str]) -> pa.Table:
    """One row a class: see `masksift.storage.tables.CLASS_QUALITY`."""
    rows = [
        {
            "class_id": k,
            "class_name": name,
            "pixels": int(pixels),
            "flagged": int(flagged),
            "quality": 1 - int(flagged) / int(pixels) if pixels else None,
        }
        for k, (name, pixels, flagged) in enumerate(
            zip(class_names, statistics.pixels, pairs.pixels.sum(axis=1), strict=True)
        )
    ]
    return table_of(rows, CLASS_QUALITY)


def read_images(folder: Folder, plan: Plan, columns: Sequence[str] | None = None) -> pa.Table:
    """The table of images of a run, all blocks in order."""
    return read_parts(folder, [images_part(plan, block) for block in plan.blocks], columns)


def ranking(images: pa.Table, methods: Sequence[str], rank_by: str) -> pa.Table:
    """All scored images in the order of review: see `masksift.storage.tables.ranking_schema`. Ties go by the
    order of the sources, then by index."""
    scores = floats(images[rank_by])
    place = np.arange(len(scores))  # the rows of `images` stand in the order of sources and indices
    order = rank_order(scores, np.zeros_like(place), place)
    taken = images.take(column(order, pa.int64()))
    columns = {
        "rank": column(np.arange(1, len(order) + 1), pa.int64()),
        "percentile": column(percentiles(len(order)), pa.float64()),
        **{name: taken[name] for name in ("image_id", "source", "index")},
        "ranked_by": column([rank_by] * len(order), pa.string()),
        "score": taken[rank_by],
        **{name: taken[name] for name in methods},
    }
    return pa.table(columns, schema=ranking_schema(methods)).combine_chunks()


def write_ranking(folder: Folder, table: pa.Table, class_names: Sequence[str]) -> int:
    """Write the ranking in parts of a million rows; answers the bytes."""
    starts = range(0, max(len(table), 1), PART_ROWS)
    return sum(
        write_table(folder, f"ranking/part-{i:06d}.parquet", table.slice(start, PART_ROWS), class_names)
        for i, start in enumerate(starts)
    )
