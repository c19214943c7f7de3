"""What a model sees where the annotator said nothing (numba): confidence by predicted class, on ignored pixels and on
all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masksift.kernels.compiling import inner, kernel
from masksift.kernels.encoding import Encoding
from masksift.kernels.tally import CODE, HALF, half_to_fixed, sum_mode

__all__ = ["ROWS", "confidence_by_class", "inside"]

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
def _fixed(codes, singles, mode, y, x):
    if mode == CODE:
        return np.int64(codes[y, x])
    if mode == HALF:
        return half_to_fixed(codes[y, x])
    return np.int64(np.rint(np.float64(singles[y, x]) * 4294967296.0))


@inner
def _sum_seen(predicted, codes, singles, mode, y, seen):
    """A row. Four tables in turn: equal neighbours would wait for each other's sum otherwise."""
    fours = predicted.shape[1] // 4 * 4
    for x in range(0, fours, 4):
        for side in range(4):
            seen[side, predicted[y, x + side]] += _fixed(codes, singles, mode, y, x + side)
    for x in range(fours, predicted.shape[1]):
        seen[0, predicted[y, x]] += _fixed(codes, singles, mode, y, x)


@kernel
def _sum(labels, predicted, codes, singles, mode, hidden, seen):
    classes = seen.shape[1]
    outside = labels.dtype.type(classes)
    for y in range(0, labels.shape[0], ROWS):
        if mode == CODE:  # told here, so that the loop itself has no choice to make
            _sum_seen(predicted, codes, singles, CODE, y, seen)
        elif mode == HALF:
            _sum_seen(predicted, codes, singles, HALF, y, seen)
        else:
            _sum_seen(predicted, codes, singles, mode, y, seen)
        some = np.uint8(0)
        for label in labels[y]:
            some |= np.uint8(label >= outside)
        if some == 0:  # as in most rows
            continue
        for x in range(labels.shape[1]):
            if labels[y, x] >= outside and inside(labels, y, x, classes):
                hidden[predicted[y, x]] += _fixed(codes, singles, mode, y, x)


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
    singles = codes.view(np.float32) if encoding.dtype == "float32" else np.empty((0, 0), np.float32)
    _sum(labels, predicted_class, codes, singles, sum_mode(encoding), hidden, seen)
    return hidden, seen.sum(axis=0)
