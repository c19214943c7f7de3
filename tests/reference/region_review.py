"""Metrics of the review of listed regions, in plain loops: nothing of the package is imported."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Pixel = tuple[int, int]


@dataclass(frozen=True)
class ListedRegion:
    """Region of the table: key of its image, whether it is a true positive, its values by order, and its rank."""

    image: Any
    is_hit: bool
    keys: Mapping[str, float]
    rank: int


def decode(counts: Sequence[int], height: int) -> list[Pixel]:
    """Pixels (y, x) of COCO's counts: outside and inside in turn, column by column."""
    pixels, position = [], 0
    for number, count in enumerate(counts):
        for _ in range(count):
            if number % 2:
                pixels.append((position % height, position // height))
            position += 1
    return pixels


def is_hit(wrong: Sequence[bool]) -> bool:
    """At least half of the pixels of a region are wrong."""
    return 2 * sum(wrong) >= len(wrong)


def review(regions: Sequence[ListedRegion], by: str, per_image: int | None = None) -> list[ListedRegion]:
    """Regions by their key, ties by evidence, then by rank; of each image at most the first ``per_image``."""
    ordered = sorted(regions, key=lambda region: (-region.keys[by], -region.keys["evidence"], region.rank))
    kept: list[ListedRegion] = []
    for region in ordered:
        before = [other for other in kept if other.image == region.image]
        if per_image is None or len(before) < per_image:
            kept.append(region)
    return kept


def average_precision(ordered: Sequence[ListedRegion]) -> float:
    """Mean over the true positives of the share of true positives among the regions up to each."""
    values, hits = [], 0
    for place, region in enumerate(ordered, 1):
        if region.is_hit:
            hits += 1
            values.append(hits / place)
    return math.fsum(values) / len(values)


def precision(ordered: Sequence[ListedRegion], count: int) -> float:
    """Share of true positives among the first regions."""
    return sum(region.is_hit for region in ordered[:count]) / count


def wrong_images(ordered: Sequence[ListedRegion], count: int) -> int:
    """Number of different images with a true positive among the first regions."""
    return len({region.image for region in ordered[:count] if region.is_hit})
