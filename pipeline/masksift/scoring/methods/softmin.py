"""Softmin: mean of the self-confidence, weighted toward its lowest values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from masksift.scoring.kernels.flags import softmin_sums
from masksift.scoring.methods.base import ImageEvidence


@dataclass(frozen=True)
class Softmin:
    """Weighted mean sum s w / sum w over the valid pixels, w = exp((min s - s) / T); lower = worse.

    Source: the paper (Lad & Mueller 2023, arXiv 2307.05080); equal to <s, softmax((1 - s) / T)>, as cleanlab computes
        it.

    Attributes:
        temperature: T > 0. T -> 0 is the minimum, T = inf the mean.
    """

    temperature: float = 0.1
    name = "softmin"
    uses_thresholds = False

    def __post_init__(self) -> None:
        if not self.temperature > 0:  # also true for NaN
            raise ValueError(
                f"softmin.temperature is {self.temperature}. The weights exp(-s / T) need T > 0. Use 0.1, the default."
            )

    def score(self, image: ImageEvidence) -> float:
        """Return the score of an image."""
        encoding = image.encoding
        if encoding.dtype == "float32":  # has too many values for a histogram
            singles = np.ascontiguousarray(image.self_confidence_codes).view(np.float32).reshape(-1)
            least = float(singles[image.valid.reshape(-1)].min())
            weighted, weights = softmin_sums(image.labels.reshape(-1), singles, image.classes, least, self.temperature)
            return float(weighted / weights)
        values, times = image.distribution
        with np.errstate(under="ignore", over="ignore"):  # a tiny T may give -inf, whose weight is 0
            weights = (values[0] - values) / self.temperature
            np.exp(weights, out=weights)
            weights *= times
        total = weights.sum()
        weights *= values
        return float(weights.sum() / total)
