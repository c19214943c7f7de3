"""Metrics of an order of regions: average precision, precision, and the number of wrong images found.

A region is a true positive if at least half of its pixels are wrong. Regions are reviewed one by one, so that there are
no ties. In a bootstrap resample a region counts as often as its image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.evaluation.evaluate.metrics import (
    CumulativeCounts,
    ReviewOrder,
    average_precision,
    cumulate,
    found_at,
    precision_at,
    sort_by_score,
)
from masksift.evaluation.evaluate.score_evaluation import Curve, Key, make_curve

REVIEWED_REGIONS = (20, 50, 100, 200)
"""Numbers of reviewed regions for precision and for wrong images."""
AVERAGE_PRECISION: Key = ("region_average_precision", "")

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RegionReview:
    """Review of R regions in one order.

    Attributes:
        images: Number of the image of each region, in review order, (R,) int64.
        hits: Review that finds the true positives.
        first_hits: Review that finds the first true positive of each image.
    """

    images: Integers
    hits: ReviewOrder
    first_hits: ReviewOrder

    def metrics(self, weights: NDArray[np.integer] | None = None) -> dict[Key, float]:
        """Compute the metrics; ``weights`` (N,) is the multiplicity of each image in a resample."""
        regions = None if weights is None else weights[self.images]
        return region_metrics(cumulate(self.hits, regions), cumulate(self.first_hits, regions))


@dataclass(frozen=True)
class RegionEvaluation:
    """Metrics of one order, NaN with a reason if undefined; review and curve, None without a true positive.

    Attributes:
        review: Review of the regions.
        values: Metrics.
        reasons: Reasons of undefined metrics.
        curve: Precision and recall over the reviewed regions.
        regions: Number of reviewed regions.
        true_positives: Number of true positives among them.
    """

    review: RegionReview | None
    values: dict[Key, float]
    reasons: dict[Key, str]
    curve: Curve | None
    regions: int
    true_positives: int


def region_metrics(hits: CumulativeCounts, first_hits: CumulativeCounts) -> dict[Key, float]:
    """Compute the metrics of a review of regions; NaN where a metric is undefined."""
    values = {AVERAGE_PRECISION: average_precision(hits)}
    for count in REVIEWED_REGIONS:
        enough = count <= hits.images
        values["region_precision", str(count)] = precision_at(hits, count) if enough else math.nan
        values["region_wrong_images", str(count)] = found_at(first_hits, count) if enough else math.nan
    return values


def make_region_review(places: Integers, images: Integers, is_hit: Mask) -> RegionReview:
    """Make the review of R > 0 regions, by place, with the number of the image and whether it is a hit, (R,) each."""
    order = np.argsort(places)
    images, is_hit = images[order], is_hit[order]
    positions = np.arange(len(order), dtype=np.float64)
    is_first = np.zeros(len(order), bool)
    hits = np.flatnonzero(is_hit)
    is_first[hits[np.unique(images[hits], return_index=True)[1]]] = True
    return RegionReview(images, sort_by_score(positions, is_hit), sort_by_score(positions, is_first))


def evaluate_order(places: Integers, images: Integers, is_hit: Mask, most_per_image: int | None) -> RegionEvaluation:
    """Evaluate an order of regions.

    Args:
        places: Distinct places of R regions in the order, (R,); the lowest is reviewed first.
        images: Number of the image of each region, (R,).
        is_hit: Whether each region is a true positive, (R,).
        most_per_image: Number of regions to review of each image, the first ones in the order; None for all.

    Returns:
        The evaluation.
    """
    if most_per_image is not None:
        kept = places_in_image(places, images) < most_per_image
        places, images, is_hit = places[kept], images[kept], is_hit[kept]
    regions, hits = len(places), int(is_hit.sum())
    if not regions:
        nothing = CumulativeCounts(np.zeros(1), np.zeros(1))
        values = region_metrics(nothing, nothing)
        return RegionEvaluation(None, values, dict.fromkeys(values, "no region is listed"), None, 0, 0)
    review = make_region_review(places, images, is_hit)
    values = review.metrics()
    reasons = {key: f"only {regions:,} regions are reviewed" for key, value in values.items() if math.isnan(value)}
    if not hits:
        reasons[AVERAGE_PRECISION] = "no listed region is a true positive"
    curve = make_curve(cumulate(review.hits)) if hits else None
    return RegionEvaluation(review, values, reasons, curve, regions, hits)


def places_in_image(places: Integers, images: Integers) -> Integers:
    """Return the place of each region among those of its image, (R,), from 0."""
    order = np.lexsort((places, images))
    numbers = np.arange(len(order))
    starts = np.flatnonzero(np.diff(images[order], prepend=-1))
    inside = np.empty(len(order), np.int64)
    inside[order] = numbers - np.repeat(starts, np.diff(starts, append=len(order)))
    return inside
