"""Summary of a run for the page: facts, classes, score histograms and the review budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core import signals
from masksift.engine.completed_run import CompletedRun
from masksift.engine.planning.report_plan import IMAGES_PER_FILE, MAX_SIDE_PIXELS, REGION_IMAGES_PER_FILE
from masksift.review.rendering.palette import hex_colors
from masksift.review.report.tasks import plane_order
from masksift.storage.tables.parquet import iter_tables, read_table

BINS = 100
MAX_BUDGET_POINTS = 257
MAX_CAUSES = 20
"""Causes of quarantined images on the page, the most frequent ones."""
MAX_CLASS_PAIRS = 2000
"""Class pairs on the page, those with most flagged pixels."""


@dataclass(frozen=True)
class ScoreHistograms:
    """Distribution of the scores of all ranked images.

    Attributes:
        counts: Images per bin (BINS,) by score; equal bins over [0, 1], the last one closed.
        budget: Number of reviewed images, and the ranking score of the last of them.
    """

    counts: Mapping[str, NDArray[np.int64]]
    budget: Sequence[tuple[int, float]]


def budget_points(scored: int) -> NDArray[np.int64]:
    """Select numbers of reviewed images for the budget curve: all if they are few, else in equal ratios."""
    if scored <= MAX_BUDGET_POINTS:
        return np.arange(1, scored + 1)
    return np.unique(np.geomspace(1, scored, MAX_BUDGET_POINTS).round().astype(np.int64))


def count_scores(run: CompletedRun) -> ScoreHistograms:
    """Count the scores of a run in one pass over the ranking, with one file in memory at a time."""
    counts = {name: np.zeros(BINS, np.int64) for name in run.methods}
    points, scores = budget_points(run.scored_images), np.empty(0)
    seen = 0
    for table in iter_tables(run.directory, run.ranking_part_names, ["score", *run.methods], at_once=1):
        signals.raise_if_interrupted()
        for name, total in counts.items():
            total += np.histogram(table[name].to_numpy().clip(0, 1), BINS, (0, 1))[0]
        in_table = points[(points > seen) & (points <= seen + len(table))]
        scores = np.append(scores, table["score"].to_numpy()[in_table - seen - 1])
        seen += len(table)
    return ScoreHistograms(counts, list(zip(points.tolist(), scores.tolist(), strict=True)))


def run_summary(run: CompletedRun, histograms: ScoreHistograms, rows: int, sources: Sequence[str]) -> dict[str, Any]:
    """Summarize a run as `data/run.js` holds it, for a page with ``rows`` images of these sources."""
    record, classes = run.record, _class_summaries(run)
    pairs = read_table(run.directory, "class_pairs.parquet", ["given", "suggested", "pixels", "images"])
    return {
        "format": 2,
        "run": record["fingerprint"],
        "out": record["configuration"]["out"],  # as typed: the absolute path is private
        "masksift": record["versions"]["masksift"],
        **{name: record[name] for name in ("started", "finished", "seconds")},
        "ranked_by": record["configuration"]["rank_by"],
        "methods": list(run.methods),
        "images": record["images"],
        "scored": run.scored_images,
        "counts": dict(record["counts"]),
        "quarantine": list(record.get("quarantine", ())[:MAX_CAUSES]),
        "flagged_pixels": record["flagged_pixels"],
        "pixels": sum(summary["pixels"] for summary in classes),
        "estimated_issues": record["estimated_issues"],
        "keeps_evidence": run.keeps_evidence,
        "planes": plane_order(run.keeps_evidence),
        "sources": list(sources),
        "columns": list(run.context.path_columns),
        "stages": [
            {name: stage[name] for name in ("name", "seconds", "bytes_read", "bytes_written")}
            for stage in record["stages"]
        ],
        "workers": len(record["workers"]),
        "classes": classes,
        "pairs": [list(row.values()) for row in pairs.slice(0, MAX_CLASS_PAIRS).to_pylist()],
        "distribution": {name: counts.tolist() for name, counts in histograms.counts.items()},
        "budget": [[images, round(score, 6)] for images, score in histograms.budget],
        "rows": rows,
        "rows_per_file": IMAGES_PER_FILE,
        "regions_per_file": REGION_IMAGES_PER_FILE,
        "side": MAX_SIDE_PIXELS,
    }


def _class_summaries(run: CompletedRun) -> list[dict[str, Any]]:
    quality = read_table(run.directory, "class_quality.parquet").to_pylist()
    thresholds = read_table(run.directory, "thresholds.parquet").to_pylist()
    colors = hex_colors(len(quality), run.class_colors)
    return [
        {
            "name": quality_row["class_name"],
            "color": color,
            **{name: quality_row[name] for name in ("pixels", "flagged", "quality")},
            **{name: threshold_row[name] for name in ("confident_threshold", "decision_threshold")},
        }
        for quality_row, threshold_row, color in zip(quality, thresholds, colors, strict=True)
    ]
