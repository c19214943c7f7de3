"""Mean intersection over union of label and prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from masksift.scoring.methods.base import ImageEvidence


@dataclass(frozen=True)
class IoU:
    """Mean over the classes present in label or prediction of |l=k and a=k| / |l=k or a=k|; lower = worse.

    Our reading of the paper (Lad & Mueller 2023, arXiv 2307.05080), whose own formula could not be consulted.
    """

    name = "iou"
    uses_thresholds = False

    def score(self, image: ImageEvidence) -> float:
        """Return the score of an image."""
        joint = image.statistics.joint
        both = joint.diagonal()
        either = joint.sum(axis=0) + joint.sum(axis=1) - both
        present = either > 0
        return float(np.mean(both[present] / either[present]))
