"""Agreement of label and prediction by class: how an image compares with the other images of the data set.

There are two sides: pixels predicted as a class, weighted by their confidence, and pixels labeled as it. Arrays have
them in this order on an axis of length 2. docs/reference/scores.md has the formulas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.pixel_statistics import ClassCounts

LEAST, BINS_PER_UNIT, BINS = -18, 16, 576
"""Histograms of log-odds begin at -18 and have 16 bins per unit; values beyond the last bin, at 18, count in it."""
MIN_IMAGES = 5
"""A class with fewer eligible images has no usual agreement."""

_PRIOR = 2.5
"""Pixels that agree, and pixels that do not, added to those of an image."""
_ELIGIBLE_PIXELS = 500
"""Valid pixels an eligible class has one pixel of: a share of 0.002."""
_SQUARE = 255**2


def agreement_log_odds(counts: ClassCounts) -> NDArray[np.float64]:
    """Return the log-odds that label and prediction agree, by image, side and class.

    With q = (r + 2.5) / (w + 5) it is ln(q / (1 - q)), where w is the weight of the pixels of the class and r that of
    those which agree: on the side of predictions the sum of m^2 in 8 bits, on the side of labels the number of pixels.

    Args:
        counts: Counts of n images by class.

    Returns:
        (n, 2, K) float64; NaN for a class with less than 0.2 % of the valid pixels.
    """
    agreeing = np.stack([counts.agreeing_squares / _SQUARE, counts.agreeing], axis=1)
    others = np.stack(
        [(counts.predicted_squares - counts.agreeing_squares) / _SQUARE, counts.labeled - counts.agreeing], axis=1
    )
    pixels = np.stack([counts.predicted, counts.labeled], axis=1)
    valid = counts.labeled.sum(axis=1)[:, np.newaxis, np.newaxis]
    eligible = (pixels * _ELIGIBLE_PIXELS >= valid) & (valid > 0)
    return np.where(eligible, np.log((agreeing + _PRIOR) / (others + _PRIOR)), np.nan)


def count_agreement(log_odds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count log-odds (n, 2, K) that are not NaN by side, class and bin: (2, K, 576) int64."""
    _, sides, classes = log_odds.shape
    image, side, k = np.nonzero(~np.isnan(log_odds))
    bins = np.floor((log_odds[image, side, k] - LEAST) * BINS_PER_UNIT).astype(np.int64).clip(0, BINS - 1)
    places = (side * classes + k) * BINS + bins
    return np.bincount(places, minlength=sides * classes * BINS).reshape(sides, classes, BINS)


@dataclass(frozen=True)
class AgreementScale:
    """Usual agreement of each class: center and spread of the log-odds over the data set.

    Attributes:
        center: Median, (2, K) float64 by side and class; NaN for a class that has fewer than 5 eligible images.
        spread: 1.4826 times the median absolute deviation, plus 0.3; likewise.
    """

    center: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def from_counts(cls, counts: NDArray[np.int64]) -> AgreementScale:
        """Compute the scale from the histograms (2, K, 576) of `count_agreement`, where values stand at bin centers."""
        scale = cls(*np.full((2, *counts.shape[:2]), np.nan))
        values = LEAST + (np.arange(BINS) + 0.5) / BINS_PER_UNIT
        for place in np.argwhere(counts.sum(axis=2) >= MIN_IMAGES):
            side, k = place.tolist()
            center = _median(values, counts[side, k])
            scale.center[side, k] = center
            scale.spread[side, k] = 1.4826 * _median(np.abs(values - center), counts[side, k]) + 0.3
        return scale

    def z_scores(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far log-odds (n, 2, K) lie below the usual ones, in spreads: (n, 2, K) float64, at least 0."""
        below = (self.center - log_odds) / self.spread
        return np.where(below > 0, below, 0.0)  # also 0 for NaN


def _median(values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Return the median of values that occur ``counts`` times."""
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(counts[order])
    middle = [(ends[-1] - 1) // 2, ends[-1] // 2]
    low, high = values[order][np.searchsorted(ends, middle, side="right")].tolist()
    return float((low + high) / 2)
