"""Connected components: small objects weigh as much as large ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from masksift.scoring.kernels.components import component_means
from masksift.scoring.methods.base import ScoringInput


@dataclass(frozen=True)
class CoCo:
    """Mean (or minimum) over connected components of their mean self-confidence; lower = worse.

    Components are 8-connected sets of valid pixels of one class in the label plane, the predicted plane, or both.
    Those smaller than `min_area` (a share of the valid pixels, rounded up) are left out unless none would
    remain. Our reading of the paper (Lad & Mueller 2023, arXiv 2307.05080), whose own formula could not be
    consulted.
    """

    sources: Literal["both", "labels", "predictions"] = "both"
    aggregate: Literal["mean", "min"] = "mean"
    min_area: float = 1e-4
    name = "coco"

    def score(self, image: ScoringInput) -> float:
        planes = {"labels": [image.labels], "predictions": [image.predicted_class]}
        chosen = planes["labels"] + planes["predictions"] if self.sources == "both" else planes[self.sources]
        # As typed: 1e-4 of 70,000 pixels are 7, where the float product rounds up to 8.
        least = math.ceil(Fraction(str(self.min_area)) * image.counts.valid)
        parts = [
            component_means(plane, image.labels, image.self_confidence_codes, image.encoding, image.classes, least)
            for plane in chosen
        ]
        any_large = any(part.large for part in parts)
        if self.aggregate == "min":
            return min(part.large_least if any_large else part.small_least for part in parts)
        total = sum(part.large_sum if any_large else part.small_sum for part in parts)
        return total / sum(part.large if any_large else part.small for part in parts)
