"""Priority of regions: evidence against what the class pair usually has elsewhere in the data set.

A model that confuses two classes in every image gives such regions much evidence, although their labels are right.
docs/reference/scores.md has the formula.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.statistics.class_statistics import ClassStatistics, Statistics

_SMOOTHING = 0.01
"""Added to mean confidences, so that a self-confidence of 0 gives a finite ratio."""

OMISSION_SELF_CONFIDENCE = 0.2
"""Mean self-confidence that omissions are given: ignored pixels have no label.

Measured with CamVid and the demo, errors by `drop --fill ignore`, swap and shift: the mean average precision of lists
of both kinds of regions is 0.424 and 0.443 in two halves of the images, and within 0.01 of it from 0.1 to 0.25. The
usual share of the class on ignored pixels gives 0.365 and 0.423 in its place. A lower number ranks omissions higher:
0.15 gives 0.430 and 0.451, but costs lists without omission errors 0.016.
"""

_PIXELS_PER_REGION, _MIN_REGIONS, _MAX_REGIONS = 512, 64, 1 << 18


@dataclass(frozen=True)
class PairTotals:
    """Totals of a data set by class, from which the usual evidence of a pair of classes follows.

    Attributes:
        evidence: Sum of m - s over the flagged pixels, by given and suggested class, (K, K) float64.
        labeled: Valid pixels by given class, (K,) int64.
        predicted: Valid pixels by predicted class, (K,) int64.
        is_other_run: The totals are those of another run, whose images are not those to compare with it.
    """

    evidence: NDArray[np.float64]
    labeled: NDArray[np.int64]
    predicted: NDArray[np.int64]
    is_other_run: bool = False

    @classmethod
    def from_statistics(cls, statistics: ClassStatistics | Statistics, evidence: NDArray[np.float64]) -> PairTotals:
        """Return the totals of a run from its class statistics and its evidence."""
        return cls(evidence, statistics.pixels, statistics.predicted_pixels)

    def usual_evidence(
        self,
        given: NDArray[np.int64],
        suggested: NDArray[np.int64],
        own_evidence: NDArray[np.float64],
        given_pixels: NDArray[np.int64],
        suggested_pixels: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Return the evidence that the class pair of each region would have in its image at the rate of other images.

        It is the larger one of the evidence per pixel predicted as the suggested class and per pixel with the given
        label in the other images, times the number of these pixels in the image.

        Args:
            given: Given class of R regions, (R,).
            suggested: Suggested class, (R,).
            own_evidence: Flagged evidence of the pair in the image, (R,).
            given_pixels: Pixels of the image with the given label, (R,).
            suggested_pixels: Pixels of the image predicted as the suggested class, (R,).

        Returns:
            (R,) float64.
        """
        others = self.evidence[given, suggested]
        labeled, predicted = self.labeled[given], self.predicted[suggested]
        if not self.is_other_run:
            others, labeled, predicted = others - own_evidence, labeled - given_pixels, predicted - suggested_pixels
        return np.maximum(
            suggested_pixels * others / (predicted + 1),
            given_pixels * others / (labeled + 1),
        )


def priority_alone(
    evidence: NDArray[np.float64], self_confidence: NDArray[np.float64], predicted_confidence: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the priority of regions if their class pair occurred nowhere else.

    It is sqrt(evidence) M ln((M + 0.01) / (S + 0.01))^2. The priority of a region is this divided by
    sqrt(1 + usual evidence). Source: this project.

    Args:
        evidence: Sum of m - s, (R,).
        self_confidence: S, the mean of s, (R,).
        predicted_confidence: M, the mean of m, (R,).

    Returns:
        (R,) float64, at least 0; higher = more likely mislabeled.
    """
    certainty = np.log((predicted_confidence + _SMOOTHING) / (self_confidence + _SMOOTHING))
    return np.asarray(np.sqrt(evidence) * predicted_confidence * certainty * certainty)


def region_scores(priorities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scores (n,) of images from the priority of their worst regions, 0 without any: 1 / (1 + priority)."""
    return np.asarray(1 / (1 + priorities))


def max_image_regions(pixels: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the largest number of regions to keep of images of so many pixels: one per 512, from 64 to 262,144."""
    return np.asarray(np.clip(np.asarray(pixels) // _PIXELS_PER_REGION, _MIN_REGIONS, _MAX_REGIONS))
