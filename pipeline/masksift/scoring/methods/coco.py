"""Connected components, small ones weighted like large ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

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

    def score(self, image: ImageEvidence) -> float:
        """Return the score of an image."""
        planes = {"labels": [image.labels], "predictions": [image.predicted_class]}
        used = planes["labels"] + planes["predictions"] if self.sources == "both" else planes[self.sources]
        # exact: 1e-4 of 70,000 pixels is 7, but the float product rounds up to 8
        least = math.ceil(Fraction(str(self.min_area)) * image.valid_pixels)
        means = [
            component_means(plane, image.labels, image.self_confidence_codes, image.encoding, image.classes, least)
            for plane in used
        ]
        any_large = any(mean.large for mean in means)
        if self.aggregate == "min":
            return min(mean.large_least if any_large else mean.small_least for mean in means)
        total = sum(mean.large_sum if any_large else mean.small_sum for mean in means)
        return total / sum(mean.large if any_large else mean.small for mean in means)
