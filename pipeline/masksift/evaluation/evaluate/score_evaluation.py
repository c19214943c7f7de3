"""Evaluation of one score: metrics by name, and curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.evaluation.evaluate.config import parse_review_amount
from masksift.evaluation.evaluate.kendall import rank_correlation
from masksift.evaluation.evaluate.metrics import (
    CumulativeCounts,
    ReviewOrder,
    area_under_roc,
    average_precision,
    cumulate,
    effort,
    found_at,
    lift_at,
    precision_at,
    recall_at,
    sort_by_score,
)

Key = tuple[str, str]
"""Metric and position: (`precision`, `5%`), (`auroc`, ``)."""
Floats = NDArray[np.float64]

RECALLS = (0.5, 0.8)
"""Shares of the errors for which the effort is reported."""
MAX_CURVE_POINTS = 200


@dataclass(frozen=True)
class Curve:
    """Share of the images reviewed, share of the errors found, and precision at P points, (P,) each."""

    effort: Floats
    recall: Floats
    precision: Floats


@dataclass(frozen=True)
class ScoreEvaluation:
    """Metrics of one score, NaN with a reason if undefined; review order and curve, None if nothing is defined."""

    review: ReviewOrder | None
    values: dict[Key, float]
    reasons: dict[Key, str]
    curve: Curve | None


def evaluate_score(
    scores: Floats, wrong: NDArray[np.bool_], shares: Floats | None, at: Sequence[str | int]
) -> ScoreEvaluation:
    """Evaluate scores (N,), finite, against wrong images (N,) and their shares of wrong pixels (N,), if known."""
    errors, images = int(wrong.sum()), len(wrong)
    reason = _undefined_reason(scores, errors)
    if reason is not None:
        keys = [*compute_metrics(CumulativeCounts(np.array([0.0, 1.0]), np.zeros(2)), at), ("kendall_tau", "")]
        return ScoreEvaluation(None, dict.fromkeys(keys, math.nan), dict.fromkeys(keys, reason), None)
    review = sort_by_score(scores, wrong)
    steps = cumulate(review)
    values = compute_metrics(steps, at) | _sklearn_metrics(scores, wrong)
    values["kendall_tau", ""] = math.nan if shares is None else rank_correlation(scores, shares)
    reasons: dict[Key, str] = {}
    for amount in at:
        if parse_review_amount(amount, images, errors) > images:
            for metric in ("precision", "lift", "recall"):
                reasons[metric, str(amount)] = f"only {images:,} images are ranked"
    if shares is None:
        reasons["kendall_tau", ""] = "the share of wrong pixels is unknown"
    return ScoreEvaluation(review, values, reasons, make_curve(steps))


def _undefined_reason(scores: Floats, errors: int) -> str | None:
    """Reason why no metric is defined, or None."""
    if not len(scores):
        return "no image is ranked"
    if errors == 0:
        return "no ranked image is wrong"
    if errors == len(scores):
        return "every ranked image is wrong"
    if (scores == scores[0]).all():
        return "all scores are equal"
    return None


def compute_metrics(steps: CumulativeCounts, at: Sequence[str | int]) -> dict[Key, float]:
    """Compute the metrics of a review; NaN where a metric is undefined."""
    values: dict[Key, float] = {
        ("auroc", ""): area_under_roc(steps),
        ("average_precision", ""): average_precision(steps),
    }
    for amount in at:
        images = parse_review_amount(amount, round(steps.images), steps.errors)
        for metric, function in (("precision", precision_at), ("lift", lift_at), ("recall", recall_at)):
            values[metric, str(amount)] = math.nan if images > steps.images else function(steps, images)
    for recall in RECALLS:
        values["effort", f"{recall:.0%}"] = effort(steps, recall)
    return values


def _sklearn_metrics(scores: Floats, wrong: NDArray[np.bool_]) -> dict[Key, float]:
    """AUROC and average precision by scikit-learn; -score orders like `1 - score` but without its rounding."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    return {
        ("auroc", ""): float(roc_auc_score(wrong, -scores)),
        ("average_precision", ""): float(average_precision_score(wrong, -scores)),
    }


def make_curve(steps: CumulativeCounts) -> Curve:
    """Sample at most `MAX_CURVE_POINTS` points: half linearly spaced, half logarithmically for the first images."""
    images = round(steps.images)
    half = MAX_CURVE_POINTS // 2
    spaced: Floats = np.append(np.linspace(1, images, half), np.geomspace(1, images, half))
    counts = np.arange(1.0, images + 1) if images <= MAX_CURVE_POINTS else np.unique(np.round(spaced))
    found = np.array([found_at(steps, count) for count in counts])
    return Curve(counts / images, found / steps.errors, found / counts)
