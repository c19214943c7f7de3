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


@kernel
def _sum(labels, predicted, codes, singles, mode, hidden, seen):
    # Four tables in turn: equal neighbours would wait for each other's sum otherwise.
    classes = seen.shape[1]
    for y in range(0, labels.shape[0], ROWS):
        for x in range(labels.shape[1]):
            winner = np.int64(predicted[y, x])
            fixed = _fixed(codes, singles, mode, y, x)
            seen[x & 3, winner] += fixed
            if labels[y, x] >= classes and inside(labels, y, x, classes):
                hidden[winner] += fixed


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
