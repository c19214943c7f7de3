"""Reference for class agreement: log-odds of an image by class and side, and how far below the usual ones they lie."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from reference.evidence import Image, Storage

SIDES = ("predicted", "labeled")
Usual = dict[str, list[tuple[float, float] | None]]
"""Center and spread by side and class; None for a class that does not count."""


def eight_bits(stored: Any, m: float, storage: Storage) -> int:
    """c: the stored number of uint8 evidence, else min(floor(256 m), 255)."""
    return int(stored) if storage.dtype == "uint8" else min(math.floor(256 * m), 255)


def log_odds(image: Image, classes: int, storage: Storage) -> dict[str, list[float | None]]:
    """x by side and class; None where the class has less than 0.2 % of the valid pixels."""
    pixels = image.pixels()
    answer: dict[str, list[float | None]] = {side: [None] * classes for side in SIDES}
    for k in range(classes):
        predicted = [(y, x) for y, x in pixels if image.a[y][x] == k]
        labeled = [(y, x) for y, x in pixels if image.label[y][x] == k]
        squares = {(y, x): eight_bits(image.stored[2][y, x], image.m[y][x], storage) ** 2 for y, x in predicted}
        w = sum(squares.values()) / 255**2
        r = sum(square for (y, x), square in squares.items() if image.label[y][x] == k) / 255**2
        agreeing = sum(image.a[y][x] == k for y, x in labeled)
        sides = {"predicted": (predicted, r, w), "labeled": (labeled, agreeing, len(labeled))}
        for side, (own, part, whole) in sides.items():
            if pixels and 1000 * len(own) >= 2 * len(pixels):
                q = (part + 2.5) / (whole + 5)
                answer[side][k] = math.log(q / (1 - q))
    return answer


def usual_agreement(images: Sequence[dict[str, list[float | None]]], classes: int) -> Usual:
    """Median and 1.4826 MAD + 0.3 of the bin centers of x; bins of 1/16 on [-18, 18]."""
    answer: Usual = {side: [None] * classes for side in SIDES}
    for side in SIDES:
        for k in range(classes):
            every = [x for image in images if (x := image[side][k]) is not None]
            centers = [-18 + (min(max(math.floor((x + 18) * 16), 0), 575) + 0.5) / 16 for x in every]
            if len(centers) >= 5:
                center = statistics.median(centers)
                spread = 1.4826 * statistics.median(abs(x - center) for x in centers) + 0.3
                answer[side][k] = center, spread
    return answer


def z_scores(x: Sequence[float | None], usual: Sequence[tuple[float, float] | None]) -> list[float]:
    """max(0, (center - x) / spread) by class, 0 where either is missing."""
    pairs = zip(x, usual, strict=True)
    return [0.0 if one is None or u is None else max(0.0, (u[0] - one) / u[1]) for one, u in pairs]


def class_agreement(z: Sequence[float]) -> float:
    """1 / (1 + sqrt(sum of z^2))."""
    return 1 / (1 + math.sqrt(math.fsum(one * one for one in z)))


def combined(
    softmin: Sequence[float | None], agreement: Sequence[float | None], region: Sequence[float | None]
) -> list[float | None]:
    """Weighted geometric mean of the places by three scores, weights 1/2, 1/4, 1/4; None for an unranked image.

    place = mean rank of ties / (N + 1).
    """

    def place(scores: Sequence[float | None], score: float | None) -> float:
        ranked = sorted(one for one in scores if one is not None)
        ranks = [rank for rank, one in enumerate(ranked, 1) if one == score]
        return statistics.mean(ranks) / (len(ranked) + 1)

    rows = zip(softmin, agreement, region, strict=True)
    return [
        None
        if s is None
        else math.exp(
            math.log(place(softmin, s)) / 2 + math.log(place(agreement, a)) / 4 + math.log(place(region, r)) / 4
        )
        for s, a, r in rows
    ]
