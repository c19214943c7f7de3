"""Reference for the priority of regions: evidence against what the class pair usually has in the other images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reference.evidence import Image, Plane
from reference.scores import Region, regions


@dataclass(frozen=True)
class RankedRegion:
    """One region of an image with its priorities."""

    image: int
    region: Region
    priority: float
    class_priority: float
    usual_evidence: float


def pair_evidence(image: Image, flags: Plane, given: int, suggested: int) -> float:
    """Sum of m - s over the flagged pixels of a pair, in steps of 2^-16."""
    pixels = [
        (y, x) for y, x in image.pixels() if flags[y][x] and (image.label[y][x], image.a[y][x]) == (given, suggested)
    ]
    return round(math.fsum(image.m[y][x] - image.s[y][x] for y, x in pixels) * 65536) / 65536


def usual(image: int, images: Sequence[Image], flags: Sequence[Plane], given: int, suggested: int) -> float:
    """The larger one of the evidence a pixel predicted as the class suggested, and labeled as given, has elsewhere."""
    others = [number for number in range(len(images)) if number != image]
    evidence = math.fsum(pair_evidence(images[number], flags[number], given, suggested) for number in others)

    def predicted(number: int) -> int:
        return sum(images[number].a[y][x] == suggested for y, x in images[number].pixels())

    def labeled(number: int) -> int:
        return sum(images[number].label[y][x] == given for y, x in images[number].pixels())

    return max(
        predicted(image) * evidence / (sum(map(predicted, others)) + 1),
        labeled(image) * evidence / (sum(map(labeled, others)) + 1),
    )


def ranked_regions(
    images: Sequence[Image], flags: Sequence[Plane], z: Sequence[dict[str, list[float]]]
) -> list[RankedRegion]:
    """All regions with their priorities, image by image."""
    answer = []
    for number, (image, flagged) in enumerate(zip(images, flags, strict=True)):
        for region in regions(flagged, image.label, image.a, image.s, image.m) if image.pixels() else ():
            expected = usual(number, images, flags, region.given, region.suggested)
            ratio = (region.mean_m + 0.01) / (region.mean_s + 0.01)
            priority = math.sqrt(region.evidence / (1 + expected)) * region.mean_m * math.log(ratio) ** 2
            far = math.hypot(z[number]["predicted"][region.suggested], z[number]["labeled"][region.given])
            answer.append(RankedRegion(number, region, priority, priority * (1 + far), expected))
    return answer
