"""Confidence in label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.methods.base import ImageEvidence


@dataclass(frozen=True)
class CIL:
    """Mean over the valid pixels of the self-confidence s; lower = worse.

    Source: the paper (Lad & Mueller 2023, arXiv 2307.05080).
    """

    name = "cil"
    uses_thresholds = False

    def scores(self, images: ImageEvidence) -> NDArray[np.float64]:
        """Return the scores (n,) of images."""
        if images.encoding.dtype == "float32":  # has too many values for a histogram
            singles, valid = images.self_confidence_codes.view(np.float32), images.valid
            pairs = zip(singles, valid, strict=True)
            return images.share(
                np.array([np.sum(values, dtype=np.float64, where=counted) for values, counted in pairs])
            )
        steps, pixels = images.encoding.unit.as_integer_ratio()
        sums = zip(images.statistics.sums.sum(axis=1).tolist(), images.valid_pixels.tolist(), strict=True)
        # quotients of Python's integers are exact and rounded once
        return np.array([total * steps / (max(1, valid) * pixels) for total, valid in sums])
