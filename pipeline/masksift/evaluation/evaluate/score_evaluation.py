"""Everything that is said of one score: its measures by name, and its curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.evaluation.evaluate.config import images_at
from masksift.evaluation.evaluate.kendall import rank_correlation
from masksift.evaluation.evaluate.metrics import (
    CumulativeCounts,
    ReviewOrder,
    area_under_roc,
    average_precision,
    effort,
    found_at,
    lift_at,
    order_of,
    precision_at,
    recall_at,
    steps_of,
)

Key = tuple[str, str]
"""A measure, and where it is taken: (`precision`, `5%`), (`auroc`, ``)."""
Floats = NDArray[np.float64]

RECALLS = (0.5, 0.8)
"""Shares of the errors that one may want to find."""
POINTS = 200
"""Points of a curve at most."""


@dataclass(frozen=True)
class Curve:
    """(P,) each: share of the images that are reviewed, share of the errors found, share of errors among those
    reviewed."""

    effort: Floats
    recall: Floats
    precision: Floats


@dataclass(frozen=True)
class ScoreEvaluation:
    """One score against the truth. ``values``: NaN where a measure has none; ``reasons``: why, by measure."""

    order: ReviewOrder | None
    values: dict[Key, float]
    reasons: dict[Key, str]
    curve: Curve | None


def evaluate_score(
    scores: Floats, wrong: NDArray[np.bool_], shares: Floats | None, at: Sequence[str | int]
) -> ScoreEvaluation:
    """Measure one score: ``scores`` (N,) float64, finite, lower = reviewed first; ``wrong`` (N,); ``shares`` (N,) of
    wrong pixels, None where they are not known."""
    errors, images = int(wrong.sum()), len(wrong)
    missing = _reason(scores, errors)
    if missing is not None:
        keys = measured(CumulativeCounts(np.array([0.0, 1.0]), np.zeros(2)), at)
        every: list[Key] = [*keys, ("kendall_tau", "")]
        return ScoreEvaluation(None, dict.fromkeys(every, math.nan), dict.fromkeys(every, missing), None)
    order = order_of(scores, wrong)
    steps = steps_of(order)
    values, reasons = measured(steps, at), {}
    for amount in at:
        if images_at(amount, images, errors) > images:
            for measure in ("precision", "lift", "recall"):
                reasons[measure, str(amount)] = f"only {images:,} images are ranked"
    values |= _sklearn_metrics(scores, wrong)
    values["kendall_tau", ""] = math.nan if shares is None else rank_correlation(scores, shares)
    if shares is None:
        reasons["kendall_tau", ""] = "the share of wrong pixels is not known"
    return ScoreEvaluation(order, values, reasons, curve_of(steps))


def _reason(scores: Floats, errors: int) -> str | None:
    """Why nothing can be measured, or None."""
    if not len(scores):
        return "no image is ranked"
    if errors == 0:
        return "no ranked image is wrong"
    if errors == len(scores):
        return "every ranked image is wrong"
    if (scores == scores[0]).all():
        return "all scores are equal: they rank nothing"
    return None


def measured(steps: CumulativeCounts, at: Sequence[str | int]) -> dict[Key, float]:
    """The measures of an order of review by name; NaN where there is no number."""
    found: dict[Key, float] = {
        ("auroc", ""): area_under_roc(steps),
        ("average_precision", ""): average_precision(steps),
    }
    for amount in at:
        name, images = str(amount), images_at(amount, round(steps.images), steps.errors)
        for measure, taken in (("precision", precision_at), ("lift", lift_at), ("recall", recall_at)):
            found[measure, name] = math.nan if images > steps.images else taken(steps, images)
    for recall in RECALLS:
        found["effort", f"{recall:.0%}"] = effort(steps, recall)
    return found


def _sklearn_metrics(scores: Floats, wrong: NDArray[np.bool_]) -> dict[Key, float]:
    """What scikit-learn says of `1 - score`, in the same order and without its rounding."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    return {
        ("auroc", ""): float(roc_auc_score(wrong, -scores)),
        ("average_precision", ""): float(average_precision_score(wrong, -scores)),
    }


def curve_of(steps: CumulativeCounts) -> Curve:
    """At most `POINTS` points of a review, half of them evenly spread over the images and half over their orders of
    magnitude: what is found first matters most."""
    images = round(steps.images)
    half = POINTS // 2
    spread: Floats = np.append(np.linspace(1, images, half), np.geomspace(1, images, half))
    places = np.arange(1.0, images + 1) if images <= POINTS else np.unique(np.round(spread))
    found = np.array([found_at(steps, place) for place in places])
    return Curve(places / images, found / steps.errors, found / places)
