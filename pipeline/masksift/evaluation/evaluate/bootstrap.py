"""Bootstrap confidence intervals: resample the images with replacement and recompute every metric.

A resample is a multiplicity per image and serves all scores, so that scores are compared on the same images. It costs a
gather and a sum over the images per score: with seven scores a thousand resamples take about twenty seconds for 10^5
images and three minutes for 10^6 (one core). Use fewer resamples for more images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.core import signals
from masksift.evaluation.evaluate.kendall import MAX_RESAMPLED_ERRORS, resampled_tau, score_ties
from masksift.evaluation.evaluate.metrics import ReviewOrder, cumulate
from masksift.evaluation.evaluate.region_orders import RegionReview
from masksift.evaluation.evaluate.score_evaluation import Key, compute_metrics

CONFIDENCE_PERCENT = 95
AUROC: Key = ("auroc", "")
TAU: Key = ("kendall_tau", "")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Confidence interval, and the number of resamples in which the metric is defined."""

    low: float
    high: float
    resamples: int


@dataclass(frozen=True)
class Samples:
    """Metrics of R resamples, (R,) per score or order of regions, and totals (R, C) of the per-image count columns."""

    scores: Mapping[str, Mapping[Key, Floats]]
    regions: Mapping[str, Mapping[Key, Floats]]
    totals: Floats


def percentile_interval(samples: Floats) -> Interval | None:
    """Compute the percentile interval (Efron 1979) of the finite samples; None without any."""
    finite = samples[np.isfinite(samples)]
    if not len(finite):
        return None
    low, high = np.percentile(finite, [(100 - CONFIDENCE_PERCENT) / 2, (100 + CONFIDENCE_PERCENT) / 2])
    return Interval(float(low), float(high), len(finite))


def iter_weights(images: int, resamples: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Yield the multiplicity of each image (N,) in each resample."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(0, images, images), minlength=images)


def resample(
    reviews: Mapping[str, ReviewOrder],
    at: Sequence[str | int],
    scores: Mapping[str, Floats],
    wrong: NDArray[np.bool_],
    shares: Floats | None,
    counts: NDArray[np.int64],
    regions: Mapping[str, RegionReview],
    resamples: int,
    seed: int,
) -> Samples:
    """Compute every metric of scores and orders, and the totals of ``counts`` (N, C), on every resample of N images."""
    rows = np.flatnonzero(wrong)
    with_tau = shares is not None and 0 < len(rows) <= MAX_RESAMPLED_ERRORS
    metrics: dict[str, list[Mapping[Key, float]]] = {name: [] for name in reviews}
    region_metrics: dict[str, list[Mapping[Key, float]]] = {name: [] for name in regions}
    ties: dict[str, list[float]] = {name: [] for name in reviews}
    totals = np.zeros((resamples, counts.shape[1]))
    wrong_weights = np.zeros((resamples, len(rows) if with_tau else 0))
    float_counts = counts.astype(np.float64)
    for number, weights in enumerate(iter_weights(len(wrong), resamples, seed)):
        signals.raise_if_interrupted()
        totals[number] = weights @ float_counts
        for name, review in reviews.items():
            metrics[name].append(compute_metrics(cumulate(review, weights), at))
            if with_tau:
                ties[name].append(score_ties(review, weights))
        for name, region_review in regions.items():
            region_metrics[name].append(region_review.metrics(weights))
        if with_tau:
            wrong_weights[number] = weights[rows]
    samples = {name: _columns(values) for name, values in metrics.items()}
    if with_tau and resamples and shares is not None:
        for name in reviews:
            samples[name][TAU] = resampled_tau(
                len(wrong), samples[name][AUROC], np.array(ties[name]), scores[name][rows], shares[rows], wrong_weights
            )
    return Samples(samples, {name: _columns(values) for name, values in region_metrics.items()}, totals)


def _columns(rows: Sequence[Mapping[Key, float]]) -> dict[Key, Floats]:
    """Return the values of each metric from those of each resample."""
    return {key: np.array([row[key] for row in rows]) for key in (rows[0] if rows else ())}
