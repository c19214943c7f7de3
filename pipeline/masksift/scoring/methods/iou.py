"""Mean intersection over union of label and prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.sums import mean_overlaps
from masksift.scoring.methods.base import ImageEvidence


@dataclass(frozen=True)
class IoU:
    """Mean over the classes present in label or prediction of |l=k and a=k| / |l=k or a=k|; lower = worse.

    Our reading of the paper (Lad & Mueller 2023, arXiv 2307.05080), whose own formula could not be consulted.
    """

    name = "iou"
    uses_thresholds = False

    def scores(self, images: ImageEvidence) -> NDArray[np.float64]:
        """Return the scores (n,) of images."""
        return mean_overlaps(images.statistics.joint)
