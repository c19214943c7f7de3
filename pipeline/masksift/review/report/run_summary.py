"""What the page says of the run as a whole: facts, classes, the distribution of scores, what a budget reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core import signals as interruption
from masksift.core.status import SCORED
from masksift.engine.completed_run import CompletedRun
from masksift.engine.planning.report_plan import IMAGES_PER_FILE, MAX_SIDE_PIXELS, REGION_IMAGES_PER_FILE
from masksift.review.rendering.palette import hex_colors
from masksift.storage.tables.parquet import iter_tables, list_parts, read_table

BINS = 100
MAX_BUDGET_POINTS = 257
"""Of the curve of what a budget reaches, at most."""
MAX_CLASS_PAIRS = 2000
"""Pairs of classes that are told, those with most flagged pixels."""


@dataclass(frozen=True)
class ScoreHistograms:
    """Over all scored images. ``counts``: images by score, (BINS,) by the name of the score, of equal bins over [0, 1],
    the last one closed; ``budget``: after reviewing so many images, the score of the last one, that it is ranked by."""

    counts: Mapping[str, NDArray[np.int64]]
    budget: Sequence[tuple[int, float]]


def budget_points(scored: int) -> NDArray[np.int64]:
    """At how many reviewed images the curve has a point: from the first to the last, each one there where they are few,
    then in equal ratios."""
    if scored <= MAX_BUDGET_POINTS:
        return np.arange(1, scored + 1)
    return np.unique(np.geomspace(1, scored, MAX_BUDGET_POINTS).round().astype(np.int64))


def count_scores(run: CompletedRun) -> ScoreHistograms:
    """Goes through the ranking part by part, and holds one."""
    scored = run.record["counts"].get(SCORED, 0)
    counts = {name: np.zeros(BINS, np.int64) for name in run.methods}
    wanted, scores = budget_points(scored), np.empty(0)
    done = 0
    for table in iter_tables(run.directory, list_parts(run.directory, "ranking"), ["score", *run.methods], at_once=1):
        interruption.raise_if_interrupted()
        for name, total in counts.items():
            total += np.histogram(table[name].to_numpy().clip(0, 1), BINS, (0, 1))[0]
        here = wanted[(wanted > done) & (wanted <= done + len(table))]
        scores = np.append(scores, table["score"].to_numpy()[here - done - 1])
        done += len(table)
    return ScoreHistograms(counts, list(zip(wanted.tolist(), scores.tolist(), strict=True)))


def run_summary(
    run: CompletedRun, curves: ScoreHistograms, rows: int, sources: Sequence[str], predicted: bool
) -> dict[str, Any]:
    """The facts of the run, as `data/run.js` has them: its ``rows``, the names of their ``sources``, and whether the
    predictions could be shown."""
    record, classes = run.record, _classes(run)
    pairs = read_table(run.directory, "class_pairs.parquet", ["given", "suggested", "pixels", "images"])
    return {
        "format": 1,
        "run": record["fingerprint"],
        "out": record["configuration"]["out"],  # as it was typed: where that is on a disk is nobody else's business
        "masksift": record["versions"]["masksift"],
        **{name: record[name] for name in ("started", "finished", "seconds")},
        "ranked_by": record["configuration"]["rank_by"],
        "methods": list(run.methods),
        "images": record["images"],
        "scored": record["counts"].get(SCORED, 0),
        "counts": dict(record["counts"]),
        "flagged_pixels": record["flagged_pixels"],
        "pixels": sum(one["pixels"] for one in classes),
        "estimated_issues": record["estimated_issues"],
        "keeps_evidence": predicted,
        "sources": list(sources),
        "columns": list(run.context.path_columns),
        "stages": [
            {name: stage[name] for name in ("name", "seconds", "bytes_read", "bytes_written")}
            for stage in record["stages"]
        ],
        "workers": len(record["workers"]),
        "classes": classes,
        "pairs": [list(row.values()) for row in pairs.slice(0, MAX_CLASS_PAIRS).to_pylist()],
        "distribution": {name: counts.tolist() for name, counts in curves.counts.items()},
        "budget": [[images, round(score, 6)] for images, score in curves.budget],
        "rows": rows,
        "rows_per_file": IMAGES_PER_FILE,
        "regions_per_file": REGION_IMAGES_PER_FILE,
        "side": MAX_SIDE_PIXELS,
    }


def _classes(run: CompletedRun) -> list[dict[str, Any]]:
    """What is said of each class."""
    quality = read_table(run.directory, "class_quality.parquet").to_pylist()
    thresholds = read_table(run.directory, "thresholds.parquet").to_pylist()
    colors = hex_colors(len(quality))
    return [
        {
            "name": one["class_name"],
            "color": color,
            **{name: one[name] for name in ("pixels", "flagged", "quality")},
            **{name: other[name] for name in ("confident_threshold", "decision_threshold")},
        }
        for one, other, color in zip(quality, thresholds, colors, strict=True)
    ]
