"""Confident learning counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.methods.base import ScoringInput


@dataclass(frozen=True)
class CLC:
    """1 - the share of the valid pixels that confident learning flags; lower = worse.

    Source: the paper (Lad & Mueller 2023, arXiv 2307.05080). The flags follow cleanlab's global rule, except that all
        ties at the cut are flagged: cleanlab breaks them by the order of the array.
    """

    name = "clc"
    uses_thresholds = True

    def scores(self, images: ScoringInput) -> NDArray[np.float64]:
        """Return the scores (n,) of images."""
        return 1 - images.share(images.flagged.pixels.sum(axis=(1, 2)))
