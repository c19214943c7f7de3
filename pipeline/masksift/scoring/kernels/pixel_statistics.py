"""Counting over the three planes of one image (numba): what thresholds are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import inner, kernel
from masksift.scoring.kernels.encoding import Encoding

CODE, HALF, SINGLE = range(3)
"""How codes are summed."""

_TILE = {CODE: 1 << 19, HALF: 1 << 19, SINGLE: 1 << 15}
_ABOVE = {CODE: 44, HALF: 44, SINGLE: 48}
"""Pixels, and self-confidence in fixed point, are counted in one word: so many pixels at most, from this bit on."""


@dataclass(frozen=True)
class PixelStatistics:
    """Counts over the valid pixels of one image (or of several, added up): what the statistics are made of.

    ``joint`` (K, K) int64: pixels by given and predicted class. ``sums`` (K,) int: self-confidence summed by
    given class, in units of ``Encoding.unit``. ``self_counts`` (bins,) int64: histogram of self-confidence.
    ``confident_counts`` (K, 256) int64, 8-bit evidence only: predicted confidence of the pixels whose
    predicted class differs from the given one, by predicted class.
    """

    joint: NDArray[np.int64]
    sums: list[int]
    self_counts: NDArray[np.int64]
    confident_counts: NDArray[np.int64]

    @property
    def valid(self) -> int:
        return int(self.joint.sum())


@inner
def half_to_fixed(bits):
    # float16 bits -> steps of 2^-24, exactly, without a branch
    exponent = np.int64(bits) >> 10
    normal = np.int64(exponent > 0)
    return ((np.int64(bits) & 1023) | (normal << 10)) << (exponent - normal)


# Pixels are taken four at a time. Where all four have the class they are predicted as, the rule, one branch serves them
# all, and each counts into a table of its own: equal neighbours would wait for each other's increment otherwise. The
# other fours, and what is left at the end, go one by one.


@inner
def _tally_singly(first, last, labels, predicted, self_codes, confident_codes, joint, by_class, pairs):
    classes = joint.shape[0]
    for j in range(first, last):
        given, winner = np.int64(labels[j]), np.int64(predicted[j])
        if given == winner:
            by_class[0, given, self_codes[j]] += np.uint32(1)
        elif given < classes:
            by_class[4, given, self_codes[j]] += np.uint32(1)
            joint[given, winner] += 1
            pairs[winner, confident_codes[j]] += np.uint32(1)


@kernel
def _tally_bytes(labels, predicted, self_codes, confident_codes, fours, joint, by_class, pairs):
    """joint (K, K): pixels whose classes differ; by_class (5, K, 256): codes of the others, in four, and theirs.

    ``fours``: labels, predicted class and self-confidence, as far as they are words of four pixels, which are compared
    and taken apart in a register. Ignored pixels are predicted as no class.
    """
    given, winner, own = fours
    first, second, third, fourth = (
        by_class[0].reshape(-1),
        by_class[1].reshape(-1),
        by_class[2].reshape(-1),
        by_class[3].reshape(-1),
    )
    byte, high = np.uint32(0xFF), np.uint32(0xFF00)
    for n in range(given.size):
        k, s = given[n], own[n]
        if k == winner[n]:
            first[((k << np.uint32(8)) & high) | (s & byte)] += np.uint32(1)
            second[(k & high) | ((s >> np.uint32(8)) & byte)] += np.uint32(1)
            third[((k >> np.uint32(8)) & high) | ((s >> np.uint32(16)) & byte)] += np.uint32(1)
            fourth[((k >> np.uint32(16)) & high) | (s >> np.uint32(24))] += np.uint32(1)
        else:
            _tally_singly(4 * n, 4 * n + 4, labels, predicted, self_codes, confident_codes, joint, by_class, pairs)
    _tally_singly(4 * given.size, labels.size, labels, predicted, self_codes, confident_codes, joint, by_class, pairs)


def _adder(mode):
    """How one pixel is counted, for one way of summing codes of more than 8 bits."""

    @inner
    def add(i, side, labels, predicted, self_codes, shift, above, joint, counts):
        given, code = np.int64(labels[i]), self_codes[i]
        if given < joint.shape[1]:
            if mode == CODE:
                fixed = np.uint64(code)
            elif mode == HALF:
                fixed = np.uint64(half_to_fixed(code))
            else:
                fixed = np.uint64(np.rint(np.float64(np.uint32(code).view(np.float32)) * 4294967296.0))
            joint[side, given, np.int64(predicted[i])] += (np.uint64(1) << above) | fixed
            counts[i & 1, code >> shift] += np.uint32(1)

    return add


_add_code, _add_half, _add_single = (_adder(mode) for mode in (CODE, HALF, SINGLE))


def _tallier(mode):
    """The loop for one way of summing codes of more than 8 bits. It closes over a number alone: numba keeps what is
    compiled under the values that are closed over, and a function has another one in each process."""

    @kernel
    def loop(labels, predicted, self_codes, shift, above, joint, counts):
        """joint (4 or 1, K, K) uint64: pixels << above, plus their self-confidence in fixed point."""
        sides, fours = joint.shape[0] - 1, labels.size // 4 * 4
        for j in range(0, fours, 4):
            for side in range(4):
                if mode == CODE:
                    _add_code(j + side, side & sides, labels, predicted, self_codes, shift, above, joint, counts)
                elif mode == HALF:
                    _add_half(j + side, side & sides, labels, predicted, self_codes, shift, above, joint, counts)
                else:
                    _add_single(j + side, side & sides, labels, predicted, self_codes, shift, above, joint, counts)
        for i in range(fours, labels.size):
            if mode == CODE:
                _add_code(i, 0, labels, predicted, self_codes, shift, above, joint, counts)
            elif mode == HALF:
                _add_half(i, 0, labels, predicted, self_codes, shift, above, joint, counts)
            else:
                _add_single(i, 0, labels, predicted, self_codes, shift, above, joint, counts)

    return loop


_LOOPS = {mode: _tallier(mode) for mode in (CODE, HALF, SINGLE)}


@kernel
def _unpack(packed, above, joint, sums):
    """Add packed counts to joint (K, K) int64 and sums (K,) int64, and set them to 0."""
    sides, classes, _ = packed.shape
    rest = (np.uint64(1) << above) - np.uint64(1)
    for side in range(sides):
        for given in range(classes):
            for winner in range(classes):
                word = packed[side, given, winner]
                joint[given, winner] += np.int64(word >> above)
                sums[given] += np.int64(word & rest)
                packed[side, given, winner] = 0


def sum_mode(encoding: Encoding) -> int:
    """How codes of an encoding are summed."""
    return {"float16": HALF, "float32": SINGLE}.get(encoding.dtype, CODE)


def _sides(pixels: int, classes: int) -> int:
    """Tables to count into in turn: one where an image is so small that clearing them would cost more."""
    return 4 if pixels >= 16 * classes * classes else 1


def _flat(plane: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    return np.ascontiguousarray(plane).reshape(-1)


def count_pixels(
    labels: NDArray[np.unsignedinteger],
    predicted_class: NDArray[np.unsignedinteger],
    self_confidence: NDArray[np.unsignedinteger],
    predicted_confidence: NDArray[np.unsignedinteger],
    encoding: Encoding,
    classes: int,
) -> PixelStatistics:
    """Count one image: class plane (H, W) whose ignored pixels hold the dtype's maximum, predicted class
    (H, W), codes of self-confidence and of predicted confidence (H, W).

    An image has at most 2^31 - 1 pixels.
    """
    given, winner, own, best = map(_flat, (labels, predicted_class, self_confidence, predicted_confidence))
    joint, sums = np.zeros((classes, classes), np.int64), np.zeros(classes, np.int64)
    if encoding.dtype == "uint8":
        by_class, pairs = np.zeros((5, classes, 256), np.uint32), np.zeros((classes, 256), np.uint32)
        words = given.size // 4 * 4 if given.dtype == np.uint8 else 0  # class numbers of 16 bits: one by one
        fours = tuple(plane[:words].view(np.uint32) for plane in (given, winner, own))
        _tally_bytes(given, winner, own, best, fours, joint, by_class, pairs)
        histograms = _histograms(joint, by_class)
        return PixelStatistics(
            joint, (histograms @ encoding.fixed).tolist(), histograms.sum(axis=0), pairs.astype(np.int64)
        )
    mode = sum_mode(encoding)
    above, shift = np.uint64(_ABOVE[mode]), own.dtype.type(encoding.key_shift)
    packed = np.zeros((_sides(given.size, classes), classes, classes), np.uint64)
    counts = np.zeros((2, encoding.bins), np.uint32)
    for start in range(0, given.size, _TILE[mode]):
        part = slice(start, start + _TILE[mode])
        _LOOPS[mode](given[part], winner[part], own[part], shift, above, packed, counts)
        _unpack(packed, above, joint, sums)
    return PixelStatistics(joint, sums.tolist(), counts.sum(axis=0, dtype=np.int64), np.zeros((0, 256), np.int64))


def _histograms(joint: NDArray[np.int64], by_class: NDArray[np.uint32]) -> NDArray[np.int64]:
    """(K, 256) int64: codes of self-confidence by given class. Completes `joint` by the pixels whose classes agree."""
    agreeing: NDArray[np.int64] = by_class[:4].sum(axis=0, dtype=np.int64)
    np.fill_diagonal(joint, agreeing.sum(axis=1))
    agreeing += by_class[4]
    return agreeing


@kernel
def count_at_least(labels, predicted, confident_codes, limits):
    """How many valid pixels are predicted as another class with m >= limits[predicted]."""
    found = 0
    for j in range(labels.size):
        if labels[j] < limits.size and labels[j] != predicted[j]:
            found += np.int64(confident_codes[j]) >= limits[predicted[j]]
    return found


@kernel
def add_low_bit_counts(labels, self_codes, classes, key, counts):
    """Histogram of the lower 16 bits of the valid codes whose upper 16 bits equal `key`: the second look
    that float32 evidence needs. counts (65536,) int64 is added to."""
    for j in range(labels.size):
        if labels[j] < classes and (self_codes[j] >> 16) == key:
            counts[self_codes[j] & 65535] += 1
