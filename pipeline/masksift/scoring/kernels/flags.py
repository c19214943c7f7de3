"""Flag the pixels of images by the thresholds of the data set, and weigh their confidences for softmin.

Flags are found in two loops over each tile of pixels. The first is a plain comparison, which the compiler vectorizes.
The second visits the few pixels whose classes differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import inner, kernel
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.pixel_statistics import sum_mode, to_fixed

_TILE_PIXELS = 1 << 14
"""Small enough that the planes of a tile stay in the cache between the loops."""


@dataclass(frozen=True)
class FlaggedPixels:
    """Flagged pixels of n images.

    Attributes:
        mask: 1 where the label is flagged, else 0: (n, H, W) uint8.
        pixels: Flagged pixels by given and predicted class, (n, K, K) int64.
        evidence: Their sums of m - s in units of ``Encoding.unit``, (n, K, K) int64.
    """

    mask: NDArray[np.uint8]
    pixels: NDArray[np.int64]
    evidence: NDArray[np.int64]


@inner
def _compare(labels, predicted, classes, mask):
    """Write 1 to ``mask`` where a valid pixel is not predicted as its label, else 0."""
    outside = labels.dtype.type(classes)
    for j in range(labels.size):
        mask[j] = (labels[j] != predicted[j]) & (labels[j] < outside)


@inner
def _keep_flagged(labels, predicted, self_codes, confident_codes, cut, limits, mode, flagged, evidence, mask):
    """Keep the flagged ones of the masked pixels, count them in ``flagged`` (K, K), and sum their m - s there.

    The rule is the predicted confidence with ``limits`` (K,), else ``cut``. Masked pixels are few: most steps have
    none.
    """
    step = 32
    for first in range(0, mask.size, step):
        last = min(first + step, mask.size)
        some = np.uint8(0)
        for j in range(first, last):
            some |= mask[j]
        if some == 0:
            continue
        for j in range(first, last):
            if mask[j] == 0:
                continue
            given, winner = np.int64(labels[j]), np.int64(predicted[j])
            if limits.size > 0:
                is_flagged = np.int64(confident_codes[j]) >= limits[winner]
            else:
                is_flagged = np.int64(self_codes[j]) <= cut
            mask[j] = is_flagged
            if is_flagged:
                flagged[given, winner] += 1
                evidence[given, winner] += to_fixed(confident_codes[j], mode) - to_fixed(self_codes[j], mode)


@kernel
def _flag(labels, predicted, self_codes, confident_codes, cut, limits, mode, flagged, evidence, mask):
    for i in range(len(labels)):
        for first in range(0, labels.shape[1], _TILE_PIXELS):
            last = min(labels.shape[1], first + _TILE_PIXELS)
            given, winner, marks = labels[i, first:last], predicted[i, first:last], mask[i, first:last]
            _compare(given, winner, flagged.shape[1], marks)
            own, best = self_codes[i, first:last], confident_codes[i, first:last]
            _keep_flagged(given, winner, own, best, cut, limits, mode, flagged[i], evidence[i], marks)


def _flat(planes: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    return np.ascontiguousarray(planes).reshape(len(planes), -1)


def flag_pixels(
    labels: NDArray[np.unsignedinteger],
    predicted_class: NDArray[np.unsignedinteger],
    self_confidence: NDArray[np.unsignedinteger],
    predicted_confidence: NDArray[np.unsignedinteger],
    encoding: Encoding,
    classes: int,
    cut: int,
    limits: NDArray[np.int64] | None = None,
    mask: NDArray[np.uint8] | None = None,
) -> FlaggedPixels:
    """Flag valid pixels of n images whose predicted class differs from the label.

    Args:
        labels: Class planes (n, H, W); ignored pixels hold the dtype's maximum.
        predicted_class: Predicted classes (n, H, W).
        self_confidence: Codes (n, H, W).
        predicted_confidence: Codes (n, H, W).
        encoding: Encoding of the codes.
        classes: Number of classes, K.
        cut: Largest self-confidence of a flagged pixel.
        limits: Smallest flagged code of predicted confidence of each predicted class (K,), which replaces ``cut``.
        mask: Output array (n, H, W) of the flags, C-contiguous.

    Returns:
        The flagged pixels.
    """
    given, winner, own, best = map(_flat, (labels, predicted_class, self_confidence, predicted_confidence))
    limits = np.empty(0, np.int64) if limits is None else limits
    flagged, evidence = np.zeros((2, len(given), classes, classes), np.int64)
    mask = np.empty(labels.shape, np.uint8) if mask is None else mask
    _flag(given, winner, own, best, cut, limits, sum_mode(encoding), flagged, evidence, mask.reshape(given.shape))
    return FlaggedPixels(mask, flagged, evidence)


@kernel
def _count_reached(labels, self_codes, tau, sides):
    """Count pixels of images below and from ``tau`` on in the columns of ``sides`` (n, 4, 2), in four rows in turn."""
    # the comparison is part of an address: as a number to add, the compiler would make it a branch, which is
    # mispredicted for confidences near tau
    last = tau.size - 1
    for i in range(len(labels)):
        for j in range(labels.shape[1]):
            k = np.int64(labels[i, j])
            sides[i, j & 3, np.uint8(np.int64(self_codes[i, j]) >= tau[k if k < last else last])] += 1


def count_reached(
    labels: NDArray[np.unsignedinteger], self_confidence: NDArray[np.unsignedinteger], tau: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Count the valid pixels of images whose self-confidence reaches the code of their label in ``tau`` (K,): (n,)."""
    never = np.append(tau, np.iinfo(np.int64).max)  # ignored pixels reach no limit
    sides = np.zeros((len(labels), 4, 2), np.int64)
    _count_reached(_flat(labels), _flat(self_confidence), never, sides)
    return np.asarray(sides[:, :, 1].sum(axis=1))


@kernel
def softmin_sums(labels, confidences, classes, temperature, weighted, weights):
    """Write sum s w and sum w over the valid pixels of each image (n, P) in pixel order, w = exp((min s - s) / T)."""
    for i in range(len(labels)):
        least = np.float64(np.inf)
        for j in range(labels.shape[1]):
            if labels[i, j] < classes and np.float64(confidences[i, j]) < least:
                least = np.float64(confidences[i, j])
        products = 0.0
        total = 0.0
        for j in range(labels.shape[1]):
            if labels[i, j] < classes:
                s = np.float64(confidences[i, j])
                w = np.exp((least - s) / temperature)
                products += s * w
                total += w
        weighted[i] = products
        weights[i] = total
