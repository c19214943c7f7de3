"""Sum the predicted confidence by class, over ignored and over all pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import inner, kernel
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.pixel_statistics import sum_mode, to_fixed

ROW_STEP = 4
"""Only every fourth row is summed."""


@inner
def surrounded_by_ignored(labels, y, x, classes):
    """Return whether all neighbors of an ignored pixel within the image are ignored too."""
    height, width = labels.shape
    for row in range(y - 1, y + 2):
        for column in range(x - 1, x + 2):
            if 0 <= row < height and 0 <= column < width and labels[row, column] < classes:
                return False
    return True


@inner
def _sum_image(labels, predicted, codes, mode, hidden, seen):
    """Sum every fourth row: all pixels to ``seen`` (4, K), ignored ones to ``hidden`` (K,).

    Pixels are summed into four tables in turn, because equal neighbors would wait for each other's sum in one table.
    """
    width, classes = labels.shape[1], seen.shape[1]
    outside = labels.dtype.type(classes)
    for y in range(0, labels.shape[0], ROW_STEP):
        winner, code, label = predicted[y], codes[y], labels[y]
        for x in range(width):
            seen[x & 3, winner[x]] += to_fixed(code[x], mode)
        most = label[0]
        for x in range(width):
            most = max(most, label[x])
        if most < outside:  # no ignored pixel, as in most rows
            continue
        for x in range(width):
            if label[x] >= outside and surrounded_by_ignored(labels, y, x, classes):
                hidden[winner[x]] += to_fixed(code[x], mode)


@kernel
def _sum(labels, predicted, codes, mode, hidden, seen):
    """Sum each image, to ``hidden`` (n, K) and ``seen`` (n, 4, K)."""
    for i in range(len(labels)):
        _sum_image(labels[i], predicted[i], codes[i], mode, hidden[i], seen[i])


def confidence_by_class(
    labels: NDArray[np.unsignedinteger],
    predicted_class: NDArray[np.unsignedinteger],
    predicted_confidence: NDArray[np.unsignedinteger],
    encoding: Encoding,
    classes: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sum predicted confidence by predicted class over every fourth row, in a quarter of the time of all rows.

    Ignored pixels count only if all their neighbors are ignored, which leaves out the borders that annotators draw
    between objects. An image has at most 2^31 - 1 pixels.

    Args:
        labels: Class planes (n, H, W); ignored pixels hold the dtype's maximum.
        predicted_class: Predicted classes (n, H, W).
        predicted_confidence: Codes (n, H, W).
        encoding: Encoding of the codes.
        classes: Number of classes.

    Returns:
        Sums over ignored pixels and over all pixels, (n, K) int64 each, in units of ``Encoding.unit``.
    """
    hidden, seen = np.zeros((len(labels), classes), np.int64), np.zeros((len(labels), 4, classes), np.int64)
    codes = np.ascontiguousarray(predicted_confidence)
    _sum(labels, predicted_class, codes, sum_mode(encoding), hidden, seen)
    return hidden, seen.sum(axis=1)
