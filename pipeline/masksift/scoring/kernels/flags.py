"""Flag the pixels of one image by the thresholds of the data set, and weigh its confidences for softmin.

Flags are found in two loops over each tile of pixels. The first is a plain comparison, which the compiler vectorizes.
The second visits the few pixels whose classes differ.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import inner, kernel
from masksift.scoring.kernels.encoding import Encoding

_TILE_PIXELS = 1 << 14
"""Small enough that the planes of a tile stay in the cache between the loops."""


@inner
def _compare(labels, predicted, classes, mask):
    """Write 1 to ``mask`` where a valid pixel is not predicted as its label, else 0."""
    outside = labels.dtype.type(classes)
    for j in range(labels.size):
        mask[j] = (labels[j] != predicted[j]) & (labels[j] < outside)


@inner
def _keep_flagged(labels, predicted, self_codes, confident_codes, cut, limits, flagged, mask):
    """Keep the flagged ones of the masked pixels, and count them in ``flagged`` (K, K).

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
            flagged[given, winner] += is_flagged
            mask[j] = is_flagged


@kernel
def _flag(labels, predicted, self_codes, confident_codes, cut, limits, flagged, mask):
    for first in range(0, labels.size, _TILE_PIXELS):
        last = min(labels.size, first + _TILE_PIXELS)
        given, winner, marks = labels[first:last], predicted[first:last], mask[first:last]
        _compare(given, winner, flagged.shape[0], marks)
        best = confident_codes[first:last]
        _keep_flagged(given, winner, self_codes[first:last], best, cut, limits, flagged, marks)


def _flat(plane: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    return np.ascontiguousarray(plane).reshape(-1)


def flag_pixels(
    labels: NDArray[np.unsignedinteger],
    predicted_class: NDArray[np.unsignedinteger],
    self_confidence: NDArray[np.unsignedinteger],
    classes: int,
    cut: int,
    confidence: tuple[NDArray[np.unsignedinteger], NDArray[np.int64]] | None = None,
    mask: NDArray[np.uint8] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Flag valid pixels of one image whose predicted class differs from the label.

    Args:
        labels: Class plane (H, W); ignored pixels hold the dtype's maximum.
        predicted_class: Predicted classes (H, W).
        self_confidence: Codes (H, W).
        classes: Number of classes, K.
        cut: Largest self-confidence of a flagged pixel.
        confidence: Codes of predicted confidence (H, W) and the smallest flagged code of each predicted class (K,),
            which replace ``cut``.
        mask: Output array (H, W) of the flags.

    Returns:
        The flags (H, W), 0 or 1, and the flagged pixels by given and predicted class, (K, K).
    """
    given, winner, own = map(_flat, (labels, predicted_class, self_confidence))
    no_limits = np.empty(0, np.int64)
    best, limits = (own[:0], no_limits) if confidence is None else (_flat(confidence[0]), confidence[1])
    flagged = np.zeros((classes, classes), np.int64)
    mask = np.empty(labels.shape, np.uint8) if mask is None else mask
    _flag(given, winner, own, best, cut, limits, flagged, mask.reshape(-1))
    return mask, flagged


@kernel
def _count_reached(labels, self_codes, tau, sides):
    """Count pixels below and from ``tau`` on in the columns of ``sides`` (4, 2), in four rows in turn."""
    # the comparison is part of an address: as a number to add, the compiler would make it a branch, which is
    # mispredicted for confidences near tau
    last = tau.size - 1
    for j in range(labels.size):
        k = np.int64(labels[j])
        sides[j & 3, np.uint8(np.int64(self_codes[j]) >= tau[k if k < last else last])] += 1


def count_reached(
    labels: NDArray[np.unsignedinteger], self_confidence: NDArray[np.unsignedinteger], tau: NDArray[np.int64]
) -> int:
    """Count the valid pixels of an image whose self-confidence reaches the code of their label in ``tau`` (K,)."""
    never = np.append(tau, np.iinfo(np.int64).max)  # ignored pixels reach no limit
    sides = np.zeros((4, 2), np.int64)
    _count_reached(_flat(labels), _flat(self_confidence), never, sides)
    return int(sides[:, 1].sum())


@lru_cache(maxsize=8)
def _values_by_code(encoding: Encoding) -> NDArray[np.float64]:
    """Return the probability of each code of at most 16 bits."""
    return encoding.values(np.arange(encoding.bins))


def distribution(counts: NDArray[np.int64], encoding: Encoding) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the values that occur, ascending, and how often, from counts by code of at most 16 bits (bins,)."""
    found = np.flatnonzero(counts)
    return _values_by_code(encoding)[found], counts[found].astype(np.float64)


@kernel
def softmin_sums(labels, confidences, classes, least, temperature):
    """Return (sum s w, sum w) over the valid pixels in pixel order, w = exp((least - s) / temperature)."""
    weighted = 0.0
    weights = 0.0
    for j in range(labels.size):
        if labels[j] < classes:
            s = np.float64(confidences[j])
            w = np.exp((least - s) / temperature)
            weighted += s * w
            weights += w
    return weighted, weights
