"""The scores of one image, components and regions: the part of the yardstick that knows one image only.

`reference` gives these names on; its docstring explains letters, [paper] and [reading].
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Plane = list[list[Any]]
Pixel = tuple[int, int]


def mean(values: Iterable[float]) -> float:
    """Sum / count, with an exactly rounded sum, so that no order of summation is part of the definition."""
    items = list(values)
    return math.fsum(items) / len(items)


def ccp(labels: Sequence[int], predicted: Sequence[int]) -> float:
    """Correctly classified pixels: mean of [a = l]. [paper]"""
    return mean(float(a == given) for given, a in zip(labels, predicted, strict=True))


def tccp(labels: Sequence[int], s: Sequence[float], tau: Sequence[float]) -> float:
    """Thresholded CCP: mean of [s >= tau_l]. [reading]"""
    return mean(float(own >= tau[given]) for given, own in zip(labels, s, strict=True))


def cil(s: Sequence[float]) -> float:
    """Confidence in label: mean of s. [paper]"""
    return mean(s)


def check_temperature(temperature: float) -> None:
    """Any T above 0; so written, the comparison refuses NaN too."""
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")


def softmin(s: Sequence[float], temperature: float = 0.1) -> float:
    """sum s w / sum w with w = exp((min s - s) / T), which is <s, softmax((1 - s) / T)>. [paper]"""
    check_temperature(temperature)
    least = min(s)
    weights = [math.exp((least - own) / temperature) for own in s]
    return math.fsum(own * w for own, w in zip(s, weights, strict=True)) / math.fsum(weights)


def clc(flags: Sequence[bool]) -> float:
    """Confident learning counts: 1 - flagged pixels / valid pixels. [paper]"""
    return 1.0 - sum(flags) / len(flags)


def iou(labels: Sequence[int], predicted: Sequence[int]) -> float:
    """Mean over the classes in label or prediction of |l = k and a = k| / |l = k or a = k|. [reading]"""
    pairs = list(zip(labels, predicted, strict=True))
    shares = []
    for k in sorted(set(labels) | set(predicted)):
        both = sum(1 for given, a in pairs if given == k and a == k)
        either = sum(1 for given, a in pairs if given == k or a == k)
        shares.append(both / either)
    return mean(shares)


def omission(
    hidden: Sequence[float], seen: Sequence[float], confident: Sequence[float], shares: Sequence[float]
) -> float:
    """1 - the share of confident predictions on ignored pixels, beyond what is usual of their class. [ours]"""
    weights = [1 / max(t, 1 / len(confident)) for t in confident]
    beyond = [w * max(0.0, h - r * g) for w, h, g, r in zip(weights, hidden, seen, shares, strict=True)]
    whole = math.fsum(w * g for w, g in zip(weights, seen, strict=True))
    return 1.0 - math.fsum(beyond) / whole if whole else 1.0


def coco(planes: Sequence[Plane], valid: Plane, s: Plane, *, aggregate: str = "mean", min_area: float = 1e-4) -> float:
    """Mean (or min) over the components of all the planes of the component's mean s. [reading]

    Components below min_area x |V_i|, rounded up, are left out, unless none of either plane would remain.
    """
    # The share as it is typed: 0.07 of 100 pixels is 7, where 0.07 * 100 in floating point is just above 7.
    smallest = math.ceil(Fraction(str(min_area)) * sum(sum(row) for row in valid))
    found = [component for plane in planes for component in components(plane, valid)]
    kept = [component for component in found if len(component) >= smallest] or found
    means = [mean(s[y][x] for y, x in component) for component in kept]
    return min(means) if aggregate == "min" else mean(means)


def components(plane: Plane, member: Plane) -> list[list[Pixel]]:
    """Maximal 8-connected sets of member pixels with one value, by the first pixel of each, row by row."""
    height, width = len(plane), len(plane[0]) if plane else 0
    seen: set[Pixel] = set()
    found = []
    for start in ((y, x) for y in range(height) for x in range(width)):
        if start in seen or not member[start[0]][start[1]]:
            continue
        seen.add(start)
        component, to_visit = [], [start]
        while to_visit:
            y, x = to_visit.pop()
            component.append((y, x))
            for near in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                inside = 0 <= near[0] < height and 0 <= near[1] < width
                if not inside or near in seen or not member[near[0]][near[1]]:
                    continue
                if plane[near[0]][near[1]] == plane[y][x]:
                    seen.add(near)
                    to_visit.append(near)
        found.append(sorted(component))
    return found


@dataclass(frozen=True)
class Region:
    """A maximal 8-connected set of flagged pixels with one (given, suggested) pair of classes."""

    given: int
    suggested: int
    area: int
    bbox: tuple[int, int, int, int]  # top, left, bottom, right; half open: rows top..bottom-1
    centroid: tuple[float, float]  # mean row, mean column
    evidence: float  # sum (m - s)
    mean_s: float
    mean_m: float


def regions(flagged: Plane, labels: Plane, predicted: Plane, s: Plane, m: Plane) -> list[Region]:
    """The regions of one image (s and m as probabilities), by the first pixel of each, row by row."""
    pairs = [list(zip(*rows, strict=True)) for rows in zip(labels, predicted, strict=True)]
    answer = []
    for pixels in components(pairs, flagged):
        rows, columns = [y for y, _ in pixels], [x for _, x in pixels]
        given, suggested = pairs[rows[0]][columns[0]]
        answer.append(
            Region(
                given=given,
                suggested=suggested,
                area=len(pixels),
                bbox=(min(rows), min(columns), max(rows) + 1, max(columns) + 1),
                centroid=(mean(rows), mean(columns)),
                evidence=math.fsum(m[y][x] - s[y][x] for y, x in pixels),
                mean_s=mean(s[y][x] for y, x in pixels),
                mean_m=mean(m[y][x] for y, x in pixels),
            )
        )
    return answer
