"""Sums of consecutive parts of an array, in the order of additions of `numpy.sum`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import inner, kernel

_LEAF = 128
"""Values that are summed in eight interleaved sums; more are halved first."""


_DEPTH = 64
"""Halvings of the number of values of a sum, at most."""


@inner
def _sum_leaf(values, first, count):
    if count < 8:
        total = 0.0
        for i in range(first, first + count):
            total += values[i]
        return total
    a, b, c, d = values[first], values[first + 1], values[first + 2], values[first + 3]
    e, f, g, h = values[first + 4], values[first + 5], values[first + 6], values[first + 7]
    eights = count - count % 8
    for i in range(first + 8, first + eights, 8):
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
        e += values[i + 4]
        f += values[i + 5]
        g += values[i + 6]
        h += values[i + 7]
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for i in range(first + eights, first + count):
        total += values[i]
    return total


@inner
def pairwise_sum(values, first, count, parts, lefts):
    """Return the sum of ``count`` values from ``first`` on, added as by numpy."""
    # numba cannot cache a recursion: the halves being summed are in the scratch ``parts`` (64, 3) int64, first value,
    # count, and 1 once the left half is known, whose sum is in the scratch ``lefts`` (64,)
    if count <= _LEAF:
        return _sum_leaf(values, first, count)
    depth = 0
    parts[0, 0], parts[0, 1], parts[0, 2] = first, count, 0
    while True:
        begin, size = parts[depth, 0], parts[depth, 1]
        half = size // 2
        half -= half % 8
        if size > _LEAF:
            depth += 1
            parts[depth, 0], parts[depth, 1], parts[depth, 2] = begin, half, 0
            continue
        total = _sum_leaf(values, begin, size)
        while depth > 0:
            depth -= 1
            if parts[depth, 2] == 0:
                lefts[depth], parts[depth, 2] = total, 1
                half = parts[depth, 1] // 2
                half -= half % 8
                depth += 1
                parts[depth, 0], parts[depth, 1] = parts[depth - 1, 0] + half, parts[depth - 1, 1] - half
                parts[depth, 2] = 0
                break
            total = lefts[depth] + total
        else:
            return total


@kernel
def _sum_segments(values, ends, parts, lefts, sums):
    first = 0
    for i in range(ends.size):
        sums[i] = pairwise_sum(values, first, ends[i] - first, parts, lefts)
        first = ends[i]


def _scratch() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the scratch of `pairwise_sum`."""
    return np.empty((_DEPTH, 3), np.int64), np.empty(_DEPTH)


def segment_sums(values: NDArray[np.float64], ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum the parts of an array that end at ``ends`` (n,), ascending: (n,) float64, the bits of `numpy.sum` of each."""
    sums = np.empty(len(ends))
    _sum_segments(values, ends, *_scratch(), sums)
    return sums


@kernel
def _mean_overlaps(joint, ratios, parts, lefts, means):
    for i in range(len(joint)):
        count = 0
        for k in range(joint.shape[1]):
            either = -joint[i, k, k]
            for other in range(joint.shape[1]):
                either += joint[i, k, other] + joint[i, other, k]
            if either > 0:
                ratios[count] = joint[i, k, k] / either
                count += 1
        means[i] = pairwise_sum(ratios, 0, count, parts, lefts) / count if count > 0 else np.nan


def mean_overlaps(joint: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean intersection over union of the classes present, (n,) float64, NaN without one.

    Args:
        joint: Pixels by given and predicted class, (n, K, K).
    """
    means = np.empty(len(joint))
    _mean_overlaps(joint, np.empty(joint.shape[1]), *_scratch(), means)
    return means
