"""What a model sees where the annotator said nothing (numba): confidence by predicted class, on ignored pixels and on
all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import inner, kernel
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.pixel_statistics import CODE, HALF, half_to_fixed, sum_mode

ROWS = 4
"""Of so many rows one is looked at."""


@inner
def inside(labels, y, x, classes):
    """Whether all neighbours of an ignored pixel that lie in the image are ignored too."""
    height, width = labels.shape
    for row in range(max(0, y - 1), min(height, y + 2)):
        for column in range(max(0, x - 1), min(width, x + 2)):
            if labels[row, column] < classes:
                return False
    return True


@inner
def _fixed(code, mode):
    if mode == CODE:
        return np.int64(code)
    if mode == HALF:
        return half_to_fixed(code)
    return np.int64(np.rint(np.float64(np.uint32(code).view(np.float32)) * 4294967296.0))


@inner
def _sum_seen(predicted, codes, mode, seen):
    """A row. Four tables in turn: equal neighbours would wait for each other's sum otherwise."""
    first, second, third, fourth = seen[0], seen[1], seen[2], seen[3]
    fours = predicted.size // 4 * 4
    for x in range(0, fours, 4):
        first[predicted[x]] += _fixed(codes[x], mode)
        second[predicted[x + 1]] += _fixed(codes[x + 1], mode)
        third[predicted[x + 2]] += _fixed(codes[x + 2], mode)
        fourth[predicted[x + 3]] += _fixed(codes[x + 3], mode)
    for x in range(fours, predicted.size):
        first[predicted[x]] += _fixed(codes[x], mode)


@kernel
def _sum(labels, predicted, codes, mode, hidden, seen):
    classes = seen.shape[1]
    outside = labels.dtype.type(classes)
    for y in range(0, labels.shape[0], ROWS):
        if mode == CODE:  # told here, so that the loop itself has no choice to make
            _sum_seen(predicted[y], codes[y], CODE, seen)
        elif mode == HALF:
            _sum_seen(predicted[y], codes[y], HALF, seen)
        else:
            _sum_seen(predicted[y], codes[y], mode, seen)
        most = labels[y, 0]
        for label in labels[y]:
            most = max(most, label)
        if most < outside:  # as in most rows
            continue
        for x in range(labels.shape[1]):
            if labels[y, x] >= outside and inside(labels, y, x, classes):
                hidden[predicted[y, x]] += _fixed(codes[y, x], mode)


def confidence_by_class(
    labels: NDArray[np.unsignedinteger],
    predicted_class: NDArray[np.unsignedinteger],
    predicted_confidence: NDArray[np.unsignedinteger],
    encoding: Encoding,
    classes: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(hidden, seen), (K,) int64 each: predicted confidence summed by predicted class, in units of ``Encoding.unit``.

    ``hidden``: over ignored pixels all of whose neighbours are ignored too: the borders that annotators leave between
    objects are not meant. ``seen``: over all pixels. Both over every fourth row of the image, from the first on: enough
    to tell areas apart, in a quarter of the time. Class plane (H, W) whose ignored pixels hold the dtype's maximum,
    predicted class (H, W), codes of predicted confidence (H, W). An image has at most 2^31 - 1 pixels.
    """
    hidden, seen = np.zeros(classes, np.int64), np.zeros((4, classes), np.int64)
    codes = np.ascontiguousarray(predicted_confidence)
    _sum(labels, predicted_class, codes, sum_mode(encoding), hidden, seen)
    return hidden, seen.sum(axis=0)
