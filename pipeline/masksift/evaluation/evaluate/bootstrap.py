"""Intervals: the images are drawn again, with replacement, and everything is measured on what was drawn.

One resample gives every image a weight (how often it was drawn) and serves all scores, so that they are compared on
the same images. It costs a gather and a sum over the images a score: with seven scores a thousand resamples take some
twenty seconds of 10^5 images and three minutes of 10^6 (one core); of more images, give fewer resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.core import signals as interruption
from masksift.evaluation.evaluate.kendall import MOST_ERRORS, tau_of_resamples, tied_scores
from masksift.evaluation.evaluate.metrics import ReviewOrder, steps_of
from masksift.evaluation.evaluate.score_evaluation import Key, measured

LEVEL = 95
"""Percent of the resamples that lie inside an interval."""
AUROC: Key = ("auroc", "")
TAU: Key = ("kendall_tau", "")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """The middle of what the resamples gave; ``used``: how many of them gave a number."""

    low: float
    high: float
    used: int


@dataclass(frozen=True)
class Samples:
    """``scores``: by score and measure, (R,) float64; ``totals`` (R, C): of the columns that were counted by image."""

    scores: Mapping[str, Mapping[Key, Floats]]
    totals: Floats


def interval_of(samples: Floats) -> Interval | None:
    """The percentile interval (Efron 1979) of the samples that are numbers; None where there is none."""
    known = samples[np.isfinite(samples)]
    if not len(known):
        return None
    low, high = np.percentile(known, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return Interval(float(low), float(high), len(known))


def weights_of(images: int, resamples: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """How often each image stands in each resample: (N,), the same for the same seed."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(0, images, images), minlength=images)


def resample(
    orders: Mapping[str, ReviewOrder],
    at: Sequence[str | int],
    scores: Mapping[str, Floats],
    wrong: NDArray[np.bool_],
    shares: Floats | None,
    counts: NDArray[np.int64],
    resamples: int,
    seed: int,
) -> Samples:
    """Every measure of every score on every resample. ``scores``, ``wrong``, ``shares``: of the N images, shares of
    wrong pixels where they are known; ``counts`` (N, C): columns whose totals are wanted."""
    rows = np.flatnonzero(wrong)
    with_tau = shares is not None and 0 < len(rows) <= MOST_ERRORS
    found: dict[str, list[Mapping[Key, float]]] = {name: [] for name in orders}
    ties: dict[str, list[float]] = {name: [] for name in orders}
    totals, drawn = np.zeros((resamples, counts.shape[1])), np.zeros((resamples, len(rows) if with_tau else 0))
    wide = counts.astype(np.float64)
    for turn, weights in enumerate(weights_of(len(wrong), resamples, seed)):
        interruption.raise_if_interrupted()
        totals[turn] = weights @ wide
        for name, order in orders.items():
            found[name].append(measured(steps_of(order, weights), at))
            if with_tau:
                ties[name].append(tied_scores(order, weights))
        if with_tau:
            drawn[turn] = weights[rows]
    samples = {name: _columns(some) for name, some in found.items()}
    if with_tau and resamples and shares is not None:
        for name in orders:
            samples[name][TAU] = tau_of_resamples(
                len(wrong), samples[name][AUROC], np.array(ties[name]), scores[name][rows], shares[rows], drawn
            )
    return Samples(samples, totals)


def _columns(rows: Sequence[Mapping[Key, float]]) -> dict[Key, Floats]:
    return {key: np.array([row[key] for row in rows]) for key in (rows[0] if rows else ())}
