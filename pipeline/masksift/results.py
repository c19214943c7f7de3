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
    finite = [None if np.isinf(value) else float(value) for value in thresholds.confident]
    decided = [None if np.isinf(value) else float(value) for value in thresholds.decision]
    return pa.table(
        {
            "class_id": list(range(len(class_names))),
            "class_name": list(class_names),
            "pixels": statistics.pixels,
            "sum": [float(total * statistics.encoding.unit) for total in statistics.sums],
            "confident_threshold": finite,
            "decision_threshold": decided,
        },
        schema=THRESHOLDS,
    )


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
    scores = images[rank_by].to_numpy(zero_copy_only=False).astype(np.float64)
    place = np.arange(len(scores))  # the rows of `images` stand in the order of sources and indices
    order = rank_order(scores, np.zeros_like(place), place)
    taken = images.take(pa.array(order))
    columns = {
        "rank": np.arange(1, len(order) + 1),
        "percentile": percentiles(len(order)),
        **{name: taken[name] for name in ("image_id", "source", "index")},
        "ranked_by": pa.array([rank_by] * len(order), pa.string()),
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
