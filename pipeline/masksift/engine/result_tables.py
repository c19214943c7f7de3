"""Tables of a run, made from its reductions and from the parts that its blocks have written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa

from masksift.engine.planning.requests import RANKING_PART_ROWS
from masksift.engine.region_table import region_part_name
from masksift.engine.score_task import image_part_name
from masksift.engine.work_items import PairCounts
from masksift.scoring.ranking import percentiles, rank_order
from masksift.scoring.statistics.class_statistics import ClassStatistics, Statistics
from masksift.scoring.statistics.thresholds import Thresholds
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.parquet import iter_tables, write_table
from masksift.storage.tables.schemas import (
    CLASS_PAIRS,
    CLASS_QUALITY,
    THRESHOLDS,
    WORST_REGION,
    ranked_schema,
    ranking_schema,
    regions_schema,
    unranked_regions_schema,
)
from masksift.storage.tables.sort import sort_tables

REGION_PART_ROWS = 1 << 15
"""Rows of a part of the table of regions: a run-length code has some hundred bytes, sometimes many thousand."""


def thresholds_table(
    statistics: ClassStatistics | Statistics, thresholds: Thresholds, class_names: Sequence[str]
) -> pa.Table:
    """Return the table `masksift.storage.tables.schemas.THRESHOLDS`: one row per class."""
    columns = zip(
        class_names,
        statistics.pixels,
        statistics.totals,
        thresholds.confident,
        thresholds.decision,
        thresholds.ignored_share,
        strict=True,
    )
    rows = [
        {
            "class_id": k,
            "class_name": name,
            "pixels": int(pixels),
            "sum": float(total),
            "confident_threshold": None if np.isinf(confident) else confident,
            "decision_threshold": None if np.isinf(decision) else decision,
            "ignored_share": share,
        }
        for k, (name, pixels, total, confident, decision, share) in enumerate(columns)
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


def image_part_names(fingerprint: str, blocks: int) -> list[str]:
    """Return the names of the parts of a run's table of images, in order."""
    return [image_part_name(fingerprint, number) for number in range(blocks)]


def ranking_part_names(scored: int) -> list[str]:
    """Return the names of the parts of a ranking, in order; without scored images it has one empty part."""
    return [f"ranking/part-{number:06d}.parquet" for number in range(max(1, -(-scored // RANKING_PART_ROWS)))]


def ranking_table(images: pa.Table, methods: Sequence[str], rank_by: str) -> pa.Table:
    """Rank a table of scored images in memory; ties keep the order of the table."""
    scores = images[rank_by].to_numpy()
    position = np.arange(len(scores))
    order = rank_order(scores, np.zeros_like(position), position)
    return _ranked_images(images.take(order), methods, rank_by, 0, len(order))


def write_ranking(
    directory: ObjectDirectory,
    parts: Sequence[str],
    scored: int,
    methods: Sequence[str],
    rank_by: str,
    class_names: Sequence[str],
    path_columns: Sequence[str] = (),
) -> int:
    """Rank the scored images of a run as `ranking_table` does, in bounded memory, and return the bytes written."""
    schema = ranked_schema(methods, path_columns)
    ordered = sort_tables(iter_tables(directory, parts, schema.names), schema, rank_by, RANKING_PART_ROWS)
    size, done = 0, 0
    for name, rows in zip(ranking_part_names(scored), ordered if scored else [schema.empty_table()], strict=True):
        table = _ranked_images(rows, methods, rank_by, done, scored, path_columns)
        size += write_table(directory, name, table, class_names)
        done += len(rows)
    return size


def _ranked_images(
    rows: pa.Table,
    methods: Sequence[str],
    rank_by: str,
    before: int,
    count: int,
    path_columns: Sequence[str] = (),
) -> pa.Table:
    """Add ranks to sorted rows, of which ``before`` of all ``count`` precede these."""
    ranks = np.arange(before + 1, before + len(rows) + 1)
    columns = {
        "rank": ranks,
        "percentile": percentiles(ranks, count),
        **{name: rows[name] for name in ("image_id", "source", "index", *path_columns)},
        "ranked_by": pa.repeat(rank_by, len(rows)),
        "score": rows[rank_by],
        **{name: rows[name] for name in (*methods, *WORST_REGION.names)},
    }
    return pa.table(columns, schema=ranking_schema(methods, path_columns)).combine_chunks()


def regions_table(rows: pa.Table, before: int = 0, path_columns: Sequence[str] = ()) -> pa.Table:
    """Add ranks to sorted regions, of which ``before`` precede these."""
    ranks = pa.array(np.arange(before + 1, before + len(rows) + 1))
    return pa.table([ranks, *rows.columns], schema=regions_schema(path_columns)).combine_chunks()


def write_regions(
    directory: ObjectDirectory,
    fingerprint: str,
    blocks: int,
    max_regions: int,
    class_names: Sequence[str],
    path_columns: Sequence[str] = (),
) -> int:
    """Rank the regions of a run in bounded memory, and return the bytes written. Ties keep the order of the images."""
    schema = unranked_regions_schema(path_columns)
    parts = iter_tables(directory, [region_part_name(fingerprint, number) for number in range(blocks)])
    candidates = _prefilter_regions(parts, max_regions)
    ordered = sort_tables(candidates, schema, "evidence", REGION_PART_ROWS, highest_first=True)
    size, done, number = 0, 0, 0
    for rows in chain(ordered, [schema.empty_table()]):
        listed = rows.slice(0, max_regions - done)
        if len(listed) or not number:  # without regions there is one empty part
            name = f"regions/part-{number:06d}.parquet"
            size += write_table(directory, name, regions_table(listed, done, path_columns), class_names)
            done, number = done + len(listed), number + 1
        if done == max_regions:
            break
    return size


def _prefilter_regions(tables: Iterable[pa.Table], max_regions: int) -> Iterator[pa.Table]:
    """Drop regions that ``max_regions`` earlier ones precede, so that the sort sees few more than it keeps."""
    best = np.empty(0)
    for table in tables:
        evidence = table["evidence"].to_numpy()
        best = np.sort(np.concatenate([best, evidence]))[-max_regions:]
        least = best[0] if len(best) == max_regions else 0.0
        yield table.take(np.flatnonzero(evidence >= least))
