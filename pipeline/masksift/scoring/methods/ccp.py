"""Correctly classified pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.methods.base import ImageEvidence


@dataclass(frozen=True)
class CCP:
    """Mean over the valid pixels of [predicted class = label]; lower = worse.

    Source: the paper (Lad & Mueller 2023, arXiv 2307.05080).
    """

    name = "ccp"
    uses_thresholds = False

    def scores(self, images: ImageEvidence) -> NDArray[np.float64]:
        """Return the scores (n,) of images."""
        return images.share(np.trace(images.statistics.joint, axis1=1, axis2=2))
