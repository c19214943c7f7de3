"""Thresholded correctly classified pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.methods.base import ScoringInput


@dataclass(frozen=True)
class TCCP:
    """Mean over the valid pixels of [s >= tau_l], tau_k the decision threshold of class k; lower = worse.

    Our reading of the paper (Lad & Mueller 2023, arXiv 2307.05080), whose own formula could not be consulted.
    """

    name = "tccp"
    uses_thresholds = True

    def scores(self, images: ScoringInput) -> NDArray[np.float64]:
        """Return the scores (n,) of images."""
        return images.share(images.pixels_above)
