"""The tables of a run, from what its reductions answer and its blocks have written."""

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
    found_schema,
    ranked_schema,
    ranking_schema,
    regions_schema,
)
from masksift.storage.tables.sort import sort_tables

REGION_ROWS = 1 << 15
"""Rows of a part of the table of regions: a run-length code takes some hundred bytes, sometimes many thousand."""


def thresholds_table(
    statistics: ClassStatistics | Statistics, thresholds: Thresholds, class_names: Sequence[str]
) -> pa.Table:
    """One row a class: see `masksift.storage.tables.THRESHOLDS`."""
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
        for k, (name, pixels, total, confident, decision, share) in enumerate(
            zip(
                class_names,
                statistics.pixels,
                statistics.totals,
                thresholds.confident,
                thresholds.decision,
                thresholds.ignored_share,
                strict=True,
            )
        )
    ]
    return table_from_rows(rows, THRESHOLDS)


def class_pairs_table(pairs: PairCounts, class_names: Sequence[str]) -> pa.Table:
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
    return table_from_rows(rows, CLASS_PAIRS)


def class_quality_table(
    statistics: ClassStatistics | Statistics, pairs: PairCounts, class_names: Sequence[str]
) -> pa.Table:
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
    return table_from_rows(rows, CLASS_QUALITY)


def image_part_names(fingerprint: str, blocks: int) -> list[str]:
    """The names of the parts of a run's table of images, in order."""
    return [image_part_name(fingerprint, number) for number in range(blocks)]


def ranking_part_names(scored: int) -> list[str]:
    """The names of the parts of a run's ranking, in order; where no image is scored, there is one without rows."""
    return [f"ranking/part-{number:06d}.parquet" for number in range(max(1, -(-scored // RANKING_PART_ROWS)))]


def ranking_table(images: pa.Table, methods: Sequence[str], rank_by: str) -> pa.Table:
    """All scored images of a table in memory in the order of review: see `masksift.storage.tables.ranking_schema`. Ties
    keep the order of the table."""
    scores = images[rank_by].to_numpy()
    place = np.arange(len(scores))
    order = rank_order(scores, np.zeros_like(place), place)
    return _ranked(images.take(order), methods, rank_by, 0, len(order))


def write_ranking(
    folder: ObjectDirectory,
    parts: Sequence[str],
    scored: int,
    methods: Sequence[str],
    rank_by: str,
    class_names: Sequence[str],
    columns: Sequence[str] = (),
) -> int:
    """Rank the ``scored`` images of the named parts as `ranking_table` does, in bounded memory, into parts of
    `RANKING_PART_ROWS` rows; answers the bytes. What is there of an earlier attempt is overwritten."""
    schema = ranked_schema(methods, columns)
    ordered = sort_tables(iter_tables(folder, parts, schema.names), schema, rank_by, RANKING_PART_ROWS)
    written, done = 0, 0
    for name, rows in zip(ranking_part_names(scored), ordered if scored else [schema.empty_table()], strict=True):
        table = _ranked(rows, methods, rank_by, done, scored, columns)
        written += write_table(folder, name, table, class_names)
        done += len(rows)
    return written


def _ranked(
    rows: pa.Table, methods: Sequence[str], rank_by: str, before: int, count: int, own: Sequence[str] = ()
) -> pa.Table:
    """Sorted rows with their ranks; ``before``: how many of all ``count`` ranked rows stand before them."""
    ranks = np.arange(before + 1, before + len(rows) + 1)
    columns = {
        "rank": ranks,
        "percentile": percentiles(ranks, count),
        **{name: rows[name] for name in ("image_id", "source", "index", *own)},
        "ranked_by": pa.repeat(rank_by, len(rows)),
        "score": rows[rank_by],
        **{name: rows[name] for name in (*methods, *WORST_REGION.names)},
    }
    return pa.table(columns, schema=ranking_schema(methods, own)).combine_chunks()


def regions_table(rows: pa.Table, before: int = 0, columns: Sequence[str] = ()) -> pa.Table:
    """Sorted regions with their ranks: see `masksift.storage.tables.regions_schema`; ``before``: how many of all stand
    before them."""
    schema = regions_schema(columns)
    ranks = pa.array(np.arange(before + 1, before + len(rows) + 1))
    return pa.table([ranks, *rows.columns], schema=schema).combine_chunks()


def write_regions(
    folder: ObjectDirectory,
    fingerprint: str,
    blocks: int,
    top: int,
    class_names: Sequence[str],
    columns: Sequence[str] = (),
) -> int:
    """Rank what the blocks of a run keep of their regions, in bounded memory, into parts of `REGION_ROWS` rows, ``top``
    rows in all; answers the bytes. Ties keep the order of the sources, and of the images in them. What is there of an
    earlier attempt is overwritten."""
    schema = found_schema(columns)
    parts = iter_tables(folder, [region_part_name(fingerprint, number) for number in range(blocks)])
    ordered = sort_tables(_promising(parts, top), schema, "evidence", REGION_ROWS, highest_first=True)
    written, done, number = 0, 0, 0
    for rows in chain(ordered, [schema.empty_table()]):
        chosen = rows.slice(0, top - done)
        if len(chosen) or not number:  # where there is no region, there is one part without rows
            name = f"regions/part-{number:06d}.parquet"
            written += write_table(folder, name, regions_table(chosen, done, columns), class_names)
            done, number = done + len(chosen), number + 1
        if done == top:
            break
    return written


def _promising(tables: Iterable[pa.Table], top: int) -> Iterator[pa.Table]:
    """The rows that are not behind ``top`` others that came before them: of many tables hardly more than so many."""
    best = np.empty(0)
    for table in tables:
        evidence = table["evidence"].to_numpy()
        best = np.sort(np.concatenate([best, evidence]))[-top:]
        least = best[0] if len(best) == top else 0.0
        yield table.take(np.flatnonzero(evidence >= least))
