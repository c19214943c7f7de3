"""Check the columns and tables of a run that depend on all of its images."""

from __future__ import annotations

from typing import Any

import numpy as np

from masksift.engine.completed_run import CompletedRun
from masksift.review.verify.comparisons import TOLERANCE, Comparisons
from masksift.review.verify.image_check import image_name
from masksift.review.verify.reference import combined, frozen_places, places_of
from masksift.review.verify.thresholds import Totals
from masksift.scoring.methods import COMBINED, COMBINED_SCORES
from masksift.storage.tables.image_lists import read_image_table
from masksift.storage.tables.parquet import iter_tables, read_table

MAX_IMAGES = 5_000_000
"""Images up to which the columns of a whole run are compared: up to a few hundred bytes of memory each."""


def check_rankings(run: CompletedRun, comparisons: Comparisons) -> None:
    """Recompute `combined` and the order of the ranking from the table of images."""
    images, rank_by = run.record["images"], run.record["configuration"]["rank_by"]
    names = [*dict.fromkeys([rank_by, *((COMBINED, *COMBINED_SCORES) if COMBINED in run.methods else ())])]
    if images > MAX_IMAGES:
        comparisons.skip(f"{COMBINED} and the ranking, which need the scores of all images: more than {MAX_IMAGES:,}")
        return
    table = read_image_table(run.directory, run.image_part_names, names)
    scored = np.flatnonzero(table.scored)
    columns = {name: values[scored] for name, values in table.scores.items()}

    def image(i: int) -> str:
        (row,) = table.table.slice(int(scored[i]), 1).to_pylist()
        return image_name(row)

    if COMBINED in names:
        frozen = run.record["configuration"].get("thresholds_from") is not None
        knots = read_table(run.directory, "place_knots.parquet").to_pylist() if frozen else []
        places = [
            frozen_places(columns[one], [row for row in knots if row["score"] == one])
            if frozen
            else places_of(columns[one])
            for one in COMBINED_SCORES
        ]
        computed = combined(*places)
        comparisons.numbers(COMBINED, image, columns[COMBINED], computed)
    ranked = np.concatenate(
        [part["score"].to_numpy() for part in iter_tables(run.directory, run.ranking_part_names, ["score"])]
    )
    expected = np.sort(columns[rank_by])
    comparisons.equal("images in the ranking", "the ranking", len(ranked), len(expected))
    if len(ranked) == len(expected):
        comparisons.numbers("scores of the ranking", lambda i: f"rank {i + 1}", ranked, expected)


def check_thresholds(run: CompletedRun, totals: Totals, comparisons: Comparisons) -> None:
    """Compare thresholds and counts of the data set with those of all its images.

    Args:
        run: The run.
        totals: Sums over all scored images.
        comparisons: Receives the results.
    """
    rows = read_table(run.directory, "thresholds.parquet").to_pylist()
    columns: dict[str, Any] = {"pixels": totals.pixels, "sum": totals.sums, "predicted_pixels": totals.predicted}
    source = run.record["configuration"].get("thresholds_from")
    if source is None:
        columns |= totals.columns()
        _check_cut(run.record, totals, comparisons)
    else:
        comparisons.skip(f"thresholds: they are those of {source}, which has other images")
    for name, values in columns.items():
        for row, value in zip(rows, values.tolist(), strict=True):
            computed = value if np.isfinite(value) else None
            tolerance = 0.0 if name.endswith("pixels") else TOLERANCE
            comparisons.number(f"thresholds: {name}", f"class {row['class_name']}", row[name], computed, tolerance)
    comparisons.equal("run.json: flagged_pixels", "run.json", run.record["flagged_pixels"], int(totals.pairs.sum()))
    _check_class_tables(run, totals, comparisons)


def _check_cut(record: Any, totals: Totals, comparisons: Comparisons) -> None:
    """Compare M and the cut, which is the M-th smallest self-confidence."""
    issues, cut = totals.issues, record["cut"]
    comparisons.equal("run.json: estimated_issues", "run.json", record["estimated_issues"], issues)
    is_right = cut is None if issues == 0 else cut is not None and totals.below_cut < issues <= totals.up_to_cut
    computed = cut
    if not is_right:
        computed = f"the {issues:,}th smallest self-confidence ({totals.below_cut:,} are below the stored cut)"
    comparisons.equal("run.json: cut", "run.json", cut, computed if issues else None)


def _check_class_tables(run: CompletedRun, totals: Totals, comparisons: Comparisons) -> None:
    """Compare the tables of class pairs and of class quality."""
    names = run.class_names
    rows = read_table(run.directory, "class_pairs.parquet").to_pylist()
    stored = {(row["given"], row["suggested"]): row for row in rows}
    computed = set(zip(*(index.tolist() for index in np.nonzero(totals.pairs)), strict=True))
    for given, suggested in sorted(computed | stored.keys()):
        row: Any = stored.get((given, suggested), {"pixels": 0, "images": 0, "evidence": 0.0})
        where = f"{names[given]} -> {names[suggested]}"
        pixels, images = int(totals.pairs[given, suggested]), int(totals.pair_images[given, suggested])
        comparisons.equal("class_pairs: pixels", where, row["pixels"], pixels)
        comparisons.equal("class_pairs: images", where, row["images"], images)
        evidence = float(totals.evidence[given, suggested])
        comparisons.number("class_pairs: evidence", where, row["evidence"], evidence)
    for row in read_table(run.directory, "class_quality.parquet").to_pylist():
        where, k = f"class {row['class_name']}", row["class_id"]
        pixels, flagged = int(totals.pixels[k]), int(totals.pairs[k].sum())
        comparisons.equal("class_quality: pixels", where, row["pixels"], pixels)
        comparisons.equal("class_quality: flagged", where, row["flagged"], flagged)
        quality = 1 - flagged / pixels if pixels else None
        comparisons.number("class_quality: quality", where, row["quality"], quality)
