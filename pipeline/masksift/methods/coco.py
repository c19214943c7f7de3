"""Connected components: small objects weigh as much as large ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from masksift.kernels.components import component_means
from masksift.methods.base import Image

__all__ = ["CoCo"]


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

    def score(self, image: Image) -> float:
        planes = {"labels": [image.labels], "predictions": [image.predicted_class]}
        chosen = planes["labels"] + planes["predictions"] if self.sources == "both" else planes[self.sources]
        parts = [component_means(plane, image.valid, image.self_codes, image.encoding) for plane in chosen]
        areas, means = (np.concatenate(column) for column in zip(*parts, strict=True))
        # As typed: 1e-4 of 70,000 pixels are 7, where the float product rounds up to 8.
        least = math.ceil(Fraction(str(self.min_area)) * image.tally.valid)
        kept = means[areas >= least] if (areas >= least).any() else means
        return float(kept.min() if self.aggregate == "min" else kept.mean())
