"""Tables of a run, made from its reductions and from the parts that its blocks have written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from masksift.engine.planning.requests import RANKING_PART_ROWS, REGION_PART_ROWS
from masksift.engine.work_items import PairCounts
from masksift.scoring.methods import COMBINED, COMBINED_SCORES
from masksift.scoring.ranking import PlaceKnots, combined_scores, percentiles
from masksift.scoring.statistics.class_statistics import ClassStatistics, Statistics
from masksift.scoring.statistics.thresholds import Thresholds
from masksift.storage.tables.arrow import table_from_columns, table_from_rows
from masksift.storage.tables.schemas import (
    AGREEMENT_COLUMNS,
    CLASS_PAIRS,
    CLASS_QUALITY,
    PLACE_KNOTS,
    THRESHOLDS,
    TRANSFORM,
    WORST_CLASS,
    WORST_REGION_COLUMNS,
    images_schema,
    ranked_schema,
    ranking_schema,
    regions_schema,
    unranked_regions_schema,
)


def thresholds_table(
    statistics: ClassStatistics | Statistics, thresholds: Thresholds, class_names: Sequence[str]
) -> pa.Table:
    """Return the table `masksift.storage.tables.schemas.THRESHOLDS`: one row per class."""
    columns = zip(
        class_names,
        statistics.pixels,
        statistics.predicted_pixels,
        statistics.totals,
        thresholds.confident,
        thresholds.decision,
        thresholds.ignored_share,
        strict=True,
    )
    scale = thresholds.agreement
    agreement = {
        name: values[side]
        for side, names in enumerate(AGREEMENT_COLUMNS)
        for name, values in zip(names, (scale.center, scale.spread), strict=True)
    }
    rows = [
        {
            "class_id": k,
            "class_name": name,
            "pixels": int(pixels),
            "predicted_pixels": int(predicted),
            "sum": float(total),
            "confident_threshold": None if np.isinf(confident) else confident,
            "decision_threshold": None if np.isinf(decision) else decision,
            "ignored_share": share,
            **{name: None if np.isnan(values[k]) else values[k] for name, values in agreement.items()},
        }
        for k, (name, pixels, predicted, total, confident, decision, share) in enumerate(columns)
    ]
    return table_from_rows(rows, THRESHOLDS)


def class_pairs_table(pairs: PairCounts, class_names: Sequence[str]) -> pa.Table:
    """Return the table `CLASS_PAIRS`: one row per pair of classes with flagged pixels, most pixels first."""
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
            "evidence": float(pairs.evidence_sums[g, s]),
        }
        for g, s in zip(given[order], suggested[order], strict=True)
    ]
    return table_from_rows(rows, CLASS_PAIRS)


def class_quality_table(
    statistics: ClassStatistics | Statistics, pairs: PairCounts, class_names: Sequence[str]
) -> pa.Table:
    """Return the table `CLASS_QUALITY`: one row per class."""
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
    return table_from_rows(rows, CLASS_QUALITY)


def ranking_part_names(scored: int) -> list[str]:
    """Return the names of the parts of a ranking, in order; without scored images it has one empty part."""
    return [part.name for part in split_parts("ranking", scored, RANKING_PART_ROWS)]


def finish_images(images: pa.Table, ranking: ImageRanking, combined: NDArray[np.float64] | None = None) -> pa.Table:
    """Order the columns of a table of images by `images_schema`.

    Args:
        images: Table with the other scores of a ranking.
        ranking: The ranking.
        combined: The column `COMBINED`, NaN for null, if the ranking has it.

    Returns:
        The table.
    """
    schema = images_schema(ranking.methods, ranking.path_columns)
    columns = {name: images[name] for name in images.schema.names}
    if combined is not None:
        columns[COMBINED] = pa.array(combined, from_pandas=True)
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def combine_in_memory(
    images: pa.Table, ranking: ImageRanking, knots: Sequence[PlaceKnots] | None = None
) -> tuple[pa.Table, tuple[PlaceKnots, ...]]:
    """Add the column `COMBINED` to the table of all images of a run, or by the rankings of another run to any images.

    Args:
        images: Table of images with the scores that are combined.
        ranking: The ranking, which names the columns.
        knots: Places in the rankings of another run; None to rank these images.

    Returns:
        The table, and the knots of the rankings.
    """
    combined, knots = combined_scores([images[name].to_numpy() for name in COMBINED_SCORES], knots)
    return finish_images(images, ranking, combined), knots


def place_knots_table(knots: Sequence[PlaceKnots]) -> pa.Table:
    """Return the table `PLACE_KNOTS`: the knots of each combined score, in ascending order."""
    columns = {
        "score": np.repeat(COMBINED_SCORES, [len(one.scores) for one in knots]),
        "value": np.concatenate([one.scores for one in knots]),
        "place": np.concatenate([one.places for one in knots]),
    }
    return table_from_columns(columns, PLACE_KNOTS)


@dataclass(frozen=True)
class TablePart:
    """Part of a ranked table: its name, and the ranks start + 1 to stop of its rows."""

    name: str
    start: int
    stop: int


def split_parts(table: str, rows: int, part_rows: int) -> list[TablePart]:
    """Return the parts of a table of so many rows, at least one."""
    starts = range(0, max(1, rows), part_rows)
    return [
        TablePart(f"{table}/part-{number:06d}.parquet", start, min(rows, start + part_rows))
        for number, start in enumerate(starts)
    ]


@dataclass(frozen=True)
class ImageRanking:
    """The ranking: all scored images of a run, lowest score first.

    Attributes:
        methods: Names of the scores.
        path_columns: Names of the partition columns.
        by: Name of the score that orders the images.
        part_rows: Rows of a part.
    """

    methods: tuple[str, ...]
    path_columns: tuple[str, ...]
    by: str
    part_rows: int = field(default_factory=lambda: RANKING_PART_ROWS)
    highest_first: ClassVar[bool] = False
    limit: ClassVar[int | None] = None
    name: ClassVar[str] = "ranking"

    @property
    def schema(self) -> pa.Schema:
        """Schema of the rows that are ranked."""
        return ranked_schema(self.methods, self.path_columns)

    def add_ranks(self, rows: pa.Table, before: int, count: int) -> pa.Table:
        """Add ranks to sorted rows, of which ``before`` of all ``count`` precede these."""
        ranks = np.arange(before + 1, before + len(rows) + 1)
        columns = {
            "rank": ranks,
            "percentile": percentiles(ranks, count),
            **{name: rows[name] for name in ("image_id", "source", "index", *self.path_columns)},
            "ranked_by": pa.repeat(self.by, len(rows)),
            "score": rows[self.by],
            **{name: rows[name] for name in self.methods},
            **{name: rows[name] for name in (*WORST_CLASS.names, *TRANSFORM.names, *WORST_REGION_COLUMNS.names)},
        }
        return pa.table(columns, schema=ranking_schema(self.methods, self.path_columns)).combine_chunks()


@dataclass(frozen=True)
class RegionRanking:
    """The table of regions: at most ``limit`` of a run, highest value first.

    Attributes:
        path_columns: Names of the partition columns.
        limit: Largest number of regions.
        by: Name of the column that orders the regions.
        part_rows: Rows of a part.
    """

    path_columns: tuple[str, ...]
    limit: int
    by: str = "priority"
    part_rows: int = field(default_factory=lambda: REGION_PART_ROWS)
    highest_first: ClassVar[bool] = True
    name: ClassVar[str] = "regions"

    @property
    def schema(self) -> pa.Schema:
        """Schema of the rows that are ranked."""
        return unranked_regions_schema(self.path_columns)

    def add_ranks(self, rows: pa.Table, before: int, count: int) -> pa.Table:
        """Add ranks to sorted rows, of which ``before`` of all ``count`` precede these."""
        ranks = pa.array(np.arange(before + 1, before + len(rows) + 1))
        return pa.table([ranks, *rows.columns], schema=regions_schema(self.path_columns)).combine_chunks()


RankedTable = ImageRanking | RegionRanking
