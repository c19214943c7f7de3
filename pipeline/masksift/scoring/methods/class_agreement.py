"""Class agreement: labels and predictions agree less than in the other images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.sums import segment_sums
from masksift.scoring.methods.base import ScoringInput


@dataclass(frozen=True)
class ClassAgreement:
    """1 / (1 + sqrt(sum_k z_k^2)); lower = worse.

    z_k is how far the log-odds that a pixel predicted as class k has this label, weighted by m^2, lie below the median
    of the data set, in units of its spread (`AgreementScale`), and 0 if they lie above. What the model confuses in
    every image does not count. The score is 1 if no class has enough images to compare with.

    Source: this project; the scores of the paper (Lad & Mueller 2023, arXiv 2307.05080) know one image only.
    """

    name = "class_agreement"
    uses_thresholds = True

    def scores(self, images: ScoringInput) -> NDArray[np.float64]:
        """Return the scores (n,) of images."""
        z = images.z_scores[:, 0]
        sums = segment_sums((z * z).reshape(-1), np.arange(1, len(z) + 1) * images.classes)
        return np.asarray(1 / (1 + np.sqrt(sums)))
