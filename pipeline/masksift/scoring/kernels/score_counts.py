"""Count the evidence of one image for the scores.

Three loops run over each tile of pixels. The first and the last are plain comparisons, which the compiler vectorizes.
The middle one counts pixel by pixel, without a branch that could be mispredicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import inner, kernel
from masksift.scoring.kernels.encoding import Encoding

_TILE_PIXELS = 1 << 14
"""Small enough that the planes of a tile stay in the cache between the loops."""

_TABLES = 4
"""Tables that pixels are counted into in turn, because equal neighbors would wait for each other's increment in one."""

_PAD = 8
"""Extra entries per row of a table. At distances of multiples of 4096 bytes, equal entries of different tables would
wait for each other as in one table: confident predictions would take half as long again."""


@dataclass(frozen=True)
class ScoreCounts:
    """Counts over the valid pixels of one image.

    Attributes:
        joint: Pixels by given and predicted class, (K, K) int64.
        values: Self-confidences that occur, (n,) float64, ascending; empty for float32 evidence, which has too many.
        times: Pixels with each value, (n,) float64, integers.
        total: Sum of self-confidence in units of ``Encoding.unit``; 0 for float32 evidence.
        above: Pixels whose self-confidence reaches the limit of their given class.
        mask: 1 where the label is flagged, (H, W) uint8.
        flagged: Flagged pixels by given and predicted class, (K, K) int64.
    """

    joint: NDArray[np.int64]
    values: NDArray[np.float64]
    times: NDArray[np.float64]
    total: int
    above: int
    mask: NDArray[np.uint8]
    flagged: NDArray[np.int64]

    @property
    def valid(self) -> int:
        """Number of valid pixels."""
        return int(self.joint.sum())


@inner
def _compare(labels, predicted, classes, given, mask):
    """Write labels, ``classes`` for ignored ones, to ``given``, and to ``mask`` where valid ones are not predicted."""
    outside = given.dtype.type(classes)
    for j in range(labels.size):
        given[j] = min(labels[j], outside)
        mask[j] = (labels[j] != predicted[j]) & (labels[j] < outside)


@inner
def _flag(labels, predicted, self_codes, confident_codes, cut, limits, joint, flagged, mask):
    """Count the masked pixels, whose classes differ, in ``joint`` (K, K), and keep the mask of the flagged ones.

    The rule is the predicted confidence with ``limits`` (K,), else ``cut``. Masked pixels are few: most steps have
    none.
    """
    step = 32
    for first in range(0, mask.size, step):
        last = min(first + step, mask.size)
        some = np.uint8(0)
        for differs in mask[first:last]:
            some |= differs
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
            joint[given, winner] += 1
            flagged[given, winner] += is_flagged
            mask[j] = is_flagged


@inner
def _add_bytes(given, self_codes, by_class):
    fours = given.size // 4 * 4
    for j in range(0, fours, 4):
        for side in range(4):
            by_class[side, given[j + side], self_codes[j + side]] += np.uint32(1)
    for j in range(fours, given.size):
        by_class[0, given[j], self_codes[j]] += np.uint32(1)


@kernel
def _count_bytes(labels, predicted, self_codes, confident_codes, cut, limits, by_class, joint, flagged, mask, given):
    """Count 8-bit evidence.

    ``by_class`` (4, K + 1, 256 + pad): codes by given class, ignored pixels last. ``joint`` (K, K): pixels whose
    classes differ. ``given``: scratch of a tile.
    """
    for first in range(0, labels.size, given.size):
        last = min(labels.size, first + given.size)
        known, winner, own = labels[first:last], predicted[first:last], self_codes[first:last]
        _compare(known, winner, joint.shape[0], given[: last - first], mask[first:last])
        _add_bytes(given[: last - first], own, by_class)
        best = confident_codes[first:last]
        _flag(known, winner, own, best, cut, limits, joint, flagged, mask[first:last])


@inner
def _without_ignored(given, self_codes, classes, codes):
    """Copy codes of self-confidence, 0 at ignored pixels, whose codes are undefined."""
    for j in range(given.size):
        codes[j] = self_codes[j] if given[j] < classes else codes.dtype.type(0)


# The comparison of a code with tau is part of an address. As a number to add, the compiler would make it a branch,
# which is mispredicted for confidences near tau.


@inner
def _add_wide(given, codes, tau, sides, counts):
    fours = given.size // 4 * 4
    for j in range(0, fours, 4):
        for side in range(4):
            k, code = given[j + side], codes[j + side]
            counts[side & 1, code] += np.uint32(1)
            sides[side, k, np.uint8(np.int64(code) >= tau[k])] += np.uint32(1)
    for j in range(fours, given.size):
        k, code = given[j], codes[j]
        counts[0, code] += np.uint32(1)
        sides[0, k, np.uint8(np.int64(code) >= tau[k])] += np.uint32(1)


@inner
def _add_singles(given, codes, tau, sides):
    fours = given.size // 4 * 4
    for j in range(0, fours, 4):
        for side in range(4):
            k = given[j + side]
            sides[side, k, np.uint8(np.int64(codes[j + side]) >= tau[k])] += np.uint32(1)
    for j in range(fours, given.size):
        k = given[j]
        sides[0, k, np.uint8(np.int64(codes[j]) >= tau[k])] += np.uint32(1)


@kernel
def _count_wide(
    labels, predicted, self_codes, confident_codes, tau, cut, limits, sides, counts, joint, flagged, mask, given, codes
):
    """Count evidence of more than 8 bits.

    ``sides`` (4, K + 1, 2): pixels by given class, ignored ones last, below and from ``tau`` (K + 1,) on. ``counts``
    (2, bins + pad): codes, 0 for ignored pixels; (2, 0) for no histogram. ``joint`` (K, K): pixels whose classes
    differ. ``given``, ``codes``: scratch of a tile.
    """
    classes = joint.shape[0]
    for first in range(0, labels.size, given.size):
        last = min(labels.size, first + given.size)
        known, winner, own = labels[first:last], predicted[first:last], self_codes[first:last]
        _compare(known, winner, classes, given[: last - first], mask[first:last])
        if counts.size > 0:
            _without_ignored(given[: last - first], own, classes, codes[: last - first])
            _add_wide(given[: last - first], codes[: last - first], tau, sides, counts)
        else:
            _add_singles(given[: last - first], own, tau, sides)
        best = confident_codes[first:last]
        _flag(known, winner, own, best, cut, limits, joint, flagged, mask[first:last])


@kernel
def _nonempty_bins(counts, values, fixed, found, times):
    """Write values and counts of the nonempty bins; return their number and the sum of ``fixed`` over all pixels."""
    size = total = 0
    for code in range(counts.size):
        number = int(counts[code])
        found[size], times[size] = values[code], number
        total += number * fixed[code]
        size += number > 0
    return size, total


@lru_cache(maxsize=8)
def _values_by_code(encoding: Encoding) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the probability of each code of at most 16 bits, and the same in units of `Encoding.unit`."""
    return encoding.values(np.arange(encoding.bins)), encoding.fixed


def _flat(plane: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    return np.ascontiguousarray(plane).reshape(-1)


def count_scores(
    labels: NDArray[np.unsignedinteger],
    predicted_class: NDArray[np.unsignedinteger],
    self_confidence: NDArray[np.unsignedinteger],
    encoding: Encoding,
    classes: int,
    tau: NDArray[np.int64],
    cut: int = -1,
    confidence: tuple[NDArray[np.unsignedinteger], NDArray[np.int64]] | None = None,
    mask: NDArray[np.uint8] | None = None,
) -> ScoreCounts:
    """Count one image of at most 2^31 - 1 pixels.

    Args:
        labels: Class plane (H, W); ignored pixels hold the dtype's maximum.
        predicted_class: Predicted classes (H, W).
        self_confidence: Codes (H, W).
        encoding: Encoding of the codes.
        classes: Number of classes.
        tau: Code from which a pixel of each class counts as `above`, (K,).
        cut: Largest self-confidence of a flagged pixel.
        confidence: Codes of predicted confidence (H, W) and the smallest flagged code of each predicted class (K,),
            which replace ``cut``.
        mask: Output array (H, W) of the flags.

    Returns:
        The counts. Only valid pixels whose predicted class differs are flagged.
    """
    given, winner, own = map(_flat, (labels, predicted_class, self_confidence))
    best, limits = (own[:0], tau[:0]) if confidence is None else (_flat(confidence[0]), confidence[1])
    joint, flagged = (np.zeros((classes, classes), np.int64) for _ in range(2))
    mask = np.empty(labels.shape, np.uint8) if mask is None else mask
    flags, known = mask.reshape(-1), np.empty(min(_TILE_PIXELS, given.size), given.dtype)
    if encoding.dtype == "uint8":
        by_class = np.zeros((_TABLES, classes + 1, 256 + _PAD), np.uint32)
        _count_bytes(given, winner, own, best, cut, limits, by_class, joint, flagged, flags, known)
        pixels, above, counts = _total_bytes(by_class[:, :classes, :256].sum(axis=0, dtype=np.uint32), tau)
    else:
        sides = np.zeros((_TABLES, classes + 1, 2), np.uint32)
        bins = 0 if encoding.dtype == "float32" else encoding.bins
        halves = np.zeros((2, bins + _PAD if bins else 0), np.uint32)
        reach = np.append(tau, np.iinfo(np.int64).max)  # ignored pixels reach no limit
        codes = np.empty(known.size, own.dtype)
        _count_wide(given, winner, own, best, reach, cut, limits, sides, halves, joint, flagged, flags, known, codes)
        pixels, above, counts = _total_wide(sides.sum(axis=0, dtype=np.int64), halves[0, :bins] + halves[1, :bins])
    np.fill_diagonal(joint, pixels - joint.sum(axis=1))  # pixels predicted as their class
    return ScoreCounts(joint, *_distribution(counts, encoding), above, mask, flagged)


Totals = tuple[NDArray[np.int64], int, NDArray[np.uint32]]
"""Valid pixels by given class (K,), pixels that reach their limit, histogram of self-confidence (bins,)."""


def _total_bytes(histograms: NDArray[np.uint32], tau: NDArray[np.int64]) -> Totals:
    """Total histograms of self-confidence by given class (K, 256)."""
    above = histograms[np.arange(256) >= tau[:, np.newaxis]].sum(dtype=np.int64)
    return histograms.sum(axis=1, dtype=np.int64), int(above), histograms.sum(axis=0, dtype=np.uint32)


def _total_wide(by_class: NDArray[np.int64], counts: NDArray[np.uint32]) -> Totals:
    """Total pixels below and above by given class (K + 1, 2), ignored ones last, which ``counts`` holds as code 0."""
    pixels = by_class.sum(axis=1)
    counts[:1] -= np.uint32(pixels[-1])
    return pixels[:-1], int(by_class[:-1, 1].sum()), counts


def _distribution(
    counts: NDArray[np.uint32], encoding: Encoding
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return values, times and total of `ScoreCounts` from a histogram (bins,)."""
    found, times = np.empty(counts.size), np.empty(counts.size)
    if encoding.dtype == "float32":
        return found, times, 0
    size, total = _nonempty_bins(counts, *_values_by_code(encoding), found, times)
    return found[:size], times[:size], int(total)


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
