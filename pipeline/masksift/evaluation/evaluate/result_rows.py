"""Rows of the tables of an evaluation: values with confidence intervals, or the reason why they are missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.evaluation.evaluate.bootstrap import Samples, percentile_interval
from masksift.evaluation.evaluate.kendall import MAX_RESAMPLED_ERRORS
from masksift.evaluation.evaluate.metrics import CumulativeCounts, average_precision, ratio
from masksift.evaluation.evaluate.region_matching import IOU_THRESHOLDS, region_steps
from masksift.evaluation.evaluate.region_orders import RegionEvaluation
from masksift.evaluation.evaluate.score_evaluation import Curve, ScoreEvaluation
from masksift.evaluation.evaluate.tasks import COLUMNS, PixelCounts

Floats = NDArray[np.float64]
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Totals:
    """Numbers of ranked images, of wrong ones among them, and of resamples."""

    images: int
    errors: int
    resamples: int


def score_rows(name: str, evaluation: ScoreEvaluation, samples: Samples, totals: Totals) -> Rows:
    """Make the rows of one score."""
    resampled = samples.scores.get(name, {})
    rows = []
    for (metric, at), value in evaluation.values.items():
        note = evaluation.reasons.get((metric, at))
        if metric == "kendall_tau" and note is None and totals.errors > MAX_RESAMPLED_ERRORS:
            note = f"no interval: more than {MAX_RESAMPLED_ERRORS:,} images are wrong"
        rows.append(_make_row(name, metric, at, value, resampled.get((metric, at)), totals, totals.errors, note))
    return rows


def pixel_rows(
    counts: PixelCounts, ranked: NDArray[np.bool_], samples: Samples, totals: Totals, has_confidence: bool
) -> Rows:
    """Make the rows of pixels and regions over the ``ranked`` images (N,)."""
    sums = dict(zip(COLUMNS, counts.images[ranked].sum(axis=0).tolist(), strict=True))
    resampled = dict(zip(COLUMNS, samples.totals.T, strict=True))
    wrong, regions = sums["wrong"], sums["wrong_regions"]
    union, resampled_union = (c["wrong"] + c["flagged"] - c["both"] for c in (sums, resampled))

    def share_row(metric: str, part: str, whole: str, errors: int, at: str = "") -> dict[str, Any]:
        note = None if sums[whole] else f"there are no {whole.replace('_', ' ')}{' pixels' * ('_' not in whole)}"
        values = _ratios(resampled[part], resampled[whole])
        return _make_row("issue_mask", metric, at, ratio(sums[part], sums[whole]), values, totals, errors, note)

    def total_row(score: str, metric: str, at: str, value: float, errors: int, note: str | None) -> dict[str, Any]:
        """Row of a metric that is not a sum over images, and therefore has no interval."""
        note = note or ("no interval: not counted per image" if totals.resamples else None)
        return _make_row(score, metric, at, value, None, totals, errors, note)

    mask_steps = CumulativeCounts(
        np.array([0.0, sums["flagged"], sums["valid"]]), np.array([0.0, sums["both"], sums["wrong"]])
    )
    nothing_wrong = None if wrong else "no pixel is wrong"
    confidence_value = average_precision(counts.confidence_steps()) if has_confidence else math.nan
    confidence_note = nothing_wrong if has_confidence else "the run kept no evidence: pixels cannot be ranked"
    iou_note = None if union else "no pixel is wrong or flagged"
    iou, iou_samples = ratio(sums["both"], union), _ratios(resampled["both"], resampled_union)
    metric = "pixel_average_precision"
    rows = [
        share_row("pixel_precision", "both", "flagged", wrong),
        share_row("pixel_recall", "both", "wrong", wrong),
        _make_row("issue_mask", "pixel_iou", "", iou, iou_samples, totals, wrong, iou_note),
        total_row("issue_mask", metric, "", average_precision(mask_steps), wrong, nothing_wrong),
        total_row("self_confidence", metric, "", confidence_value, wrong, confidence_note),
    ]
    for level, threshold in enumerate(IOU_THRESHOLDS):
        at, found = f"IoU {threshold}", f"found_regions_{threshold}"
        rows.append(share_row("region_precision", found, "flagged_regions", regions, at))
        rows.append(share_row("region_recall", found, "wrong_regions", regions, at))
        steps = region_steps(counts.sizes, level)
        # wrong regions that no flagged region matches contribute a precision of 0
        value = average_precision(steps) * steps.errors / regions if steps.errors else ratio(0.0, regions)
        note = None if regions else "there are no wrong regions"
        rows.append(total_row("issue_mask", "region_average_precision", at, value, regions, note))
    return rows


def order_name(name: str) -> str:
    """Name of an order of regions in the tables: `regions by priority`."""
    return f"regions by {name}"


def region_rows(name: str, evaluation: RegionEvaluation, samples: Samples, totals: Totals) -> Rows:
    """Make the rows of one order of the listed regions."""
    resampled, score = samples.regions.get(name, {}), order_name(name)
    return [
        _make_row(
            score,
            metric,
            at,
            value,
            resampled.get((metric, at)),
            totals,
            evaluation.true_positives,
            evaluation.reasons.get((metric, at)),
        )
        for (metric, at), value in evaluation.values.items()
    ]


def curve_rows(curves: Mapping[str, Curve]) -> Rows:
    """Make the rows of the table of curves, by score or order."""
    return [
        {"score": name, "effort": float(effort), "recall": float(recall), "precision": float(precision)}
        for name, curve in curves.items()
        for effort, recall, precision in zip(curve.effort, curve.recall, curve.precision, strict=True)
    ]


def _ratios(numerators: Floats, denominators: Floats) -> Floats:
    quotients: Floats = np.divide(
        numerators, denominators, out=np.full(len(numerators), np.nan), where=denominators > 0
    )
    return quotients


def _make_row(
    score: str,
    metric: str,
    at: str,
    value: float,
    samples: Floats | None,
    totals: Totals,
    errors: int,
    note: str | None,
) -> dict[str, Any]:
    defined = math.isfinite(value)
    interval = percentile_interval(samples) if defined and samples is not None else None
    if interval is not None and interval.resamples < totals.resamples:
        note = note or f"interval from the {interval.resamples:,} of {totals.resamples:,} resamples with a value"
    return {
        "score": score,
        "measure": metric,
        "at": at or None,
        "value": value if defined else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "images": totals.images,
        "errors": errors,
        "note": note or (None if defined else "undefined"),
    }


def best_score(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the score with the highest average precision, the first one on ties."""
    defined = [row for row in rows if row["measure"] == "average_precision" and row["value"] is not None]
    return max(defined, key=lambda row: round(row["value"], 12))["score"] if defined else None
