"""Connected components, small ones weighted like large ones."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.components import component_means
from masksift.scoring.methods.base import ImageEvidence


@dataclass(frozen=True)
class CoCo:
    """Mean or minimum over connected components of their mean self-confidence; lower = worse.

    Components are 8-connected sets of valid pixels of one class. Components smaller than ``min_area`` are left out
    unless none would remain. Our reading of the paper (Lad & Mueller 2023, arXiv 2307.05080), whose own formula could
    not be consulted.

    Attributes:
        sources: Planes where components are found: "labels", "predictions" or "both".
        aggregate: "mean" or "min".
        min_area: Share of the valid pixels, rounded up to pixels.
    """

    sources: Literal["both", "labels", "predictions"] = "both"
    aggregate: Literal["mean", "min"] = "mean"
    min_area: float = 1e-4
    name = "coco"
    uses_thresholds = False

    def scores(self, images: ImageEvidence) -> NDArray[np.float64]:
        """Return the scores (n,) of images."""
        planes = {"labels": [images.labels], "predictions": [images.predicted_class]}
        used = planes["labels"] + planes["predictions"] if self.sources == "both" else planes[self.sources]
        # exact: 1e-4 of 70,000 pixels is 7, but the float product rounds up to 8
        share = Fraction(str(self.min_area))
        least = np.array([-(-share.numerator * valid // share.denominator) for valid in images.valid_pixels.tolist()])
        means = [
            component_means(plane, images.labels, images.self_confidence_codes, images.encoding, images.classes, least)
            for plane in used
        ]
        any_large = np.any([mean.large > 0 for mean in means], axis=0)
        if self.aggregate == "min":
            leasts = [np.where(any_large, mean.large_least, mean.small_least) for mean in means]
            return np.asarray(np.minimum.reduce(leasts))
        totals = np.add.reduce([np.where(any_large, mean.large_sum, mean.small_sum) for mean in means])
        counts = np.add.reduce([np.where(any_large, mean.large, mean.small) for mean in means])
        return np.asarray(np.divide(totals, counts, out=np.full(len(least), np.nan), where=counts > 0))
