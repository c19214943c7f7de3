"""Confidence in label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from masksift.scoring.methods.base import ImageEvidence


@dataclass(frozen=True)
class CIL:
    """Mean over the valid pixels of the self-confidence s; lower = worse.

    Source: the paper (Lad & Mueller 2023, arXiv 2307.05080).
    """

    name = "cil"
    uses_thresholds = False

    def score(self, image: ImageEvidence) -> float:
        """Return the score of an image."""
        if image.encoding.dtype == "float32":  # has too many values for a histogram
            singles = image.self_confidence_codes.view(np.float32)
            return float(np.sum(singles, dtype=np.float64, where=image.valid)) / image.valid_pixels
        return float(sum(image.statistics.sums) * image.encoding.unit / image.valid_pixels)
