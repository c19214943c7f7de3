"""Counting over the three planes of one image (numba): what scores are made of.

A tile of pixels is walked three times. The first and the last walk are plain comparisons, which become SIMD code; only
the one between them, which books every pixel, goes pixel by pixel, and holds no branch that could be guessed wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import inner, kernel
from masksift.scoring.kernels.encoding import Encoding

_TILE = 1 << 14
"""Pixels of a tile: its planes stay near the core from one walk to the next."""

_SIDES = 4
"""Tables that pixels are booked into in turn: equal neighbours would wait for each other's increment otherwise."""


_PAD = 8
"""Entries that a row of a table is longer than its codes: where tables lie a multiple of 4096 bytes apart, the same
entry of each waits for the others', as if there were one table (by half as long again, of confident predictions)."""


@dataclass(frozen=True)
class ScoreCounts:
    """Counts over the valid pixels of one image: what the scores are made of.

    ``joint`` (K, K) int64: pixels by given and predicted class. ``values`` (n,) float64, never falling: the
    self-confidences that occur; ``times`` (n,) float64: how often each does, a whole number; ``total``: their sum in
    units of ``Encoding.unit``. Of float32 evidence, whose values are too many, these are empty and 0. ``above``:
    pixels whose self-confidence reaches the limit of their given class. ``mask`` (H, W) uint8: 1 where the label is
    flagged; ``flagged`` (K, K) int64: flagged pixels by given and predicted class.
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
        return int(self.joint.sum())


@inner
def _differ(labels, predicted, classes, given, mask):
    """given: the labels, `classes` where they are ignored; mask: where a valid one is not what is predicted."""
    outside = given.dtype.type(classes)
    for j in range(labels.size):
        given[j] = min(labels[j], outside)
        mask[j] = (labels[j] != predicted[j]) & (labels[j] < outside)


@inner
def _judge(labels, predicted, self_codes, confident_codes, cut, limits, joint, flagged, mask):
    """Count the pixels under the mask, whose classes differ, into joint (K, K), and leave the mask where they are
    flagged: with `limits` (K,) by their predicted confidence, else by `cut`. They are few: most steps hold none."""
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
                marked = np.int64(confident_codes[j]) >= limits[winner]
            else:
                marked = np.int64(self_codes[j]) <= cut
            joint[given, winner] += 1
            flagged[given, winner] += marked
            mask[j] = marked


@inner
def _book_bytes(given, self_codes, by_class):
    fours = given.size // 4 * 4
    for j in range(0, fours, 4):
        for side in range(4):
            by_class[side, given[j + side], self_codes[j + side]] += np.uint32(1)
    for j in range(fours, given.size):
        by_class[0, given[j], self_codes[j]] += np.uint32(1)


@kernel
def _count_bytes(labels, predicted, self_codes, confident_codes, cut, limits, by_class, joint, flagged, mask, given):
    """by_class (4, K + 1, 256 + pad): codes by given class, the last of which holds the ignored pixels; joint (K, K):
    pixels whose classes differ. ``given``: scratch of a tile."""
    for first in range(0, labels.size, given.size):
        last = min(labels.size, first + given.size)
        known, winner, own = labels[first:last], predicted[first:last], self_codes[first:last]
        _differ(known, winner, joint.shape[0], given[: last - first], mask[first:last])
        _book_bytes(given[: last - first], own, by_class)
        best = confident_codes[first:last]
        _judge(known, winner, own, best, cut, limits, joint, flagged, mask[first:last])


@inner
def _without_ignored(given, self_codes, classes, codes):
    """Codes of self-confidence, 0 at ignored pixels: whatever stands there has its place in a histogram."""
    for j in range(given.size):
        codes[j] = self_codes[j] if given[j] < classes else codes.dtype.type(0)


# Whether a code reaches tau is part of an address: as a number to be added it is compiled to a branch, which is guessed
# wrong where confidences lie around tau.


@inner
def _book_wide(given, codes, tau, sides, counts):
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
def _book_singles(given, codes, tau, sides):
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
    """sides (4, K + 1, 2): pixels by given class, the last of which holds the ignored ones, below and from tau (K + 1,)
    on; counts (2, bins + pad): codes, 0 of ignored pixels; (2, 0) where no histogram is wanted. joint (K, K): pixels
    whose classes differ. ``given``, ``codes``: scratch of a tile."""
    classes = joint.shape[0]
    for first in range(0, labels.size, given.size):
        last = min(labels.size, first + given.size)
        known, winner, own = labels[first:last], predicted[first:last], self_codes[first:last]
        _differ(known, winner, classes, given[: last - first], mask[first:last])
        if counts.size > 0:
            _without_ignored(given[: last - first], own, classes, codes[: last - first])
            _book_wide(given[: last - first], codes[: last - first], tau, sides, counts)
        else:
            _book_singles(given[: last - first], own, tau, sides)
        best = confident_codes[first:last]
        _judge(known, winner, own, best, cut, limits, joint, flagged, mask[first:last])


@kernel
def _occurring(counts, values, fixed, found, times):
    """Of the bins of counts (bins,) that are not empty: value and count. Answers (how many they are, the sum of `fixed`
    over all pixels)."""
    size = total = 0
    for code in range(counts.size):
        number = int(counts[code])
        found[size], times[size] = values[code], number
        total += number * fixed[code]
        size += number > 0
    return size, total


@lru_cache(maxsize=8)
def _tables(encoding: Encoding) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What every code of at most 16 bits is worth: its probability, and the same in units of `Encoding.unit`."""
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
    """Count one image: class plane (H, W) whose ignored pixels hold the dtype's maximum, predicted class (H, W), codes
    of self-confidence (H, W).

    ``tau`` (K,): the code at which a pixel of a class counts as `above`. A valid pixel whose predicted class differs
    is flagged where its self-confidence is at most ``cut``, or, given ``confidence`` (codes of predicted confidence
    (H, W), a limit for each predicted class (K,)), where its predicted confidence reaches that limit. ``mask`` (H, W):
    where the flags go. An image has at most 2^31 - 1 pixels.
    """
    given, winner, own = map(_flat, (labels, predicted_class, self_confidence))
    best, limits = (own[:0], tau[:0]) if confidence is None else (_flat(confidence[0]), confidence[1])
    joint, flagged = (np.zeros((classes, classes), np.int64) for _ in range(2))
    mask = np.empty(labels.shape, np.uint8) if mask is None else mask
    flags, known = mask.reshape(-1), np.empty(min(_TILE, given.size), given.dtype)
    if encoding.dtype == "uint8":
        by_class = np.zeros((_SIDES, classes + 1, 256 + _PAD), np.uint32)
        _count_bytes(given, winner, own, best, cut, limits, by_class, joint, flagged, flags, known)
        pixels, above, counts = _of_bytes(by_class[:, :classes, :256].sum(axis=0, dtype=np.uint32), tau)
    else:
        sides = np.zeros((_SIDES, classes + 1, 2), np.uint32)
        bins = 0 if encoding.dtype == "float32" else encoding.bins
        halves = np.zeros((2, bins + _PAD if bins else 0), np.uint32)
        reach = np.append(tau, np.iinfo(np.int64).max)  # no ignored pixel does
        codes = np.empty(known.size, own.dtype)
        _count_wide(given, winner, own, best, reach, cut, limits, sides, halves, joint, flagged, flags, known, codes)
        pixels, above, counts = _of_wide(sides.sum(axis=0, dtype=np.int64), halves[0, :bins] + halves[1, :bins])
    np.fill_diagonal(joint, pixels - joint.sum(axis=1))  # those of each class that are predicted as it
    return ScoreCounts(joint, *_distribution(counts, encoding), above, mask, flagged)


Booked = tuple[NDArray[np.int64], int, NDArray[np.uint32]]
"""Valid pixels by given class (K,), how many of all reach their limit, histogram of self-confidence (bins,)."""


def _of_bytes(histograms: NDArray[np.uint32], tau: NDArray[np.int64]) -> Booked:
    """Of histograms of self-confidence by given class (K, 256)."""
    above = histograms[np.arange(256) >= tau[:, np.newaxis]].sum(dtype=np.int64)
    return histograms.sum(axis=1, dtype=np.int64), int(above), histograms.sum(axis=0, dtype=np.uint32)


def _of_wide(by_class: NDArray[np.int64], counts: NDArray[np.uint32]) -> Booked:
    """Of pixels below and above by given class (K + 1, 2), ignored ones last, and of a histogram that holds these as
    code 0."""
    pixels = by_class.sum(axis=1)
    counts[:1] -= np.uint32(pixels[-1])
    return pixels[:-1], int(by_class[:-1, 1].sum()), counts


def _distribution(
    counts: NDArray[np.uint32], encoding: Encoding
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """(values, times, total) of `ScoreCounts`, of a histogram (bins,)."""
    found, times = np.empty(counts.size), np.empty(counts.size)
    if encoding.dtype == "float32":
        return found, times, 0
    size, total = _occurring(counts, *_tables(encoding), found, times)
    return found[:size], times[:size], int(total)


@kernel
def softmin_sums(labels, confidences, classes, least, temperature):
    """(sum s w, sum w) over the valid pixels with w = exp((least - s) / temperature), in pixel order."""
    weighted = 0.0
    weights = 0.0
    for j in range(labels.size):
        if labels[j] < classes:
            s = np.float64(confidences[j])
            w = np.exp((least - s) / temperature)
            weighted += s * w
            weights += w
    return weighted, weights
