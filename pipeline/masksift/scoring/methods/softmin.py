"""Softmin: mean of the self-confidence, weighted toward its lowest values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.flags import softmin_sums
from masksift.scoring.kernels.sums import segment_sums
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

    def scores(self, images: ImageEvidence) -> NDArray[np.float64]:
        """Return the scores (n,) of images."""
        n = len(images.labels)
        if images.encoding.dtype == "float32":  # has too many values for a histogram
            labels, codes = images.labels.reshape(n, -1), np.ascontiguousarray(images.self_confidence_codes)
            weighted, total = np.empty(n), np.empty(n)
            singles = codes.view(np.float32).reshape(n, -1)
            softmin_sums(labels, singles, images.classes, self.temperature, weighted, total)
        else:
            values, times, ends = images.distribution
            sizes = np.diff(ends, prepend=0)
            occupied = sizes > 0
            least = np.repeat(values[(ends - sizes)[occupied]], sizes[occupied])
            with np.errstate(under="ignore", over="ignore"):  # a tiny T may give -inf, whose weight is 0
                weights = (least - values) / self.temperature
                np.exp(weights, out=weights)
                weights *= times
            total = segment_sums(weights, ends)
            weights *= values
            weighted = segment_sums(weights, ends)
        return np.asarray(np.divide(weighted, total, out=np.full(n, np.nan), where=total > 0))
