"""Count the evidence of one image for the thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import inner, kernel
from masksift.scoring.kernels.encoding import Encoding

CODE, HALF, SINGLE = range(3)
"""Conversions of codes to fixed point for sums."""

_TILE_PIXELS = {CODE: 1 << 19, HALF: 1 << 19, SINGLE: 1 << 15}
_PIXEL_SHIFT = {CODE: 44, HALF: 44, SINGLE: 48}
"""One word counts pixels from this bit on and self-confidence in fixed point below it; a tile bounds both."""


@dataclass(frozen=True)
class PixelStatistics:
    """Counts over the valid pixels of one image.

    Attributes:
        joint: Pixels by given and predicted class, (K, K) int64.
        sums: Self-confidence by given class in units of ``Encoding.unit``, K integers.
        self_counts: Histogram of self-confidence, (bins,) int64.
        confident_counts: Predicted confidence of the pixels predicted as another class than the given one, by predicted
            class: (K, 256) int64 for 8-bit evidence, else (0, 256).
        given_counts: Self-confidence by given class, in the same shapes.
    """

    joint: NDArray[np.int64]
    sums: list[int]
    self_counts: NDArray[np.int64]
    confident_counts: NDArray[np.int64]
    given_counts: NDArray[np.int64]

    @property
    def valid(self) -> int:
        """Number of valid pixels."""
        return int(self.joint.sum())


@inner
def half_to_fixed(bits):
    """Convert float16 bits to steps of 2^-24, exactly and without a branch."""
    exponent = np.int64(bits) >> 10
    normal = np.int64(exponent > 0)
    return ((np.int64(bits) & 1023) | (normal << 10)) << (exponent - normal)


@inner
def to_fixed(code, mode):
    """Convert a code to fixed point: int64 in units of ``Encoding.unit``."""
    if mode == CODE:
        return np.int64(code)
    if mode == HALF:
        return half_to_fixed(code)
    return np.int64(np.rint(np.float64(np.uint32(code).view(np.float32)) * 4294967296.0))


# Pixels are counted four at a time. If all four have their predicted class, as most do, one branch serves them all, and
# each counts into its own table, because equal neighbors would wait for each other's increment in one table. Other
# groups of four, and the rest at the end, are counted one by one.


@inner
def _count_singly(first, last, labels, predicted, self_codes, confident_codes, joint, by_class, pairs):
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
def _count_bytes(labels, predicted, self_codes, confident_codes, fours, joint, by_class, pairs):
    """Count 8-bit evidence.

    ``joint`` (K, K): pixels whose classes differ. ``by_class`` (5, K, 256): codes of the agreeing pixels in four
    tables, and codes of the others. ``fours``: labels, predicted classes and codes as words of four pixels, compared
    and split in registers. Ignored pixels never agree with a predicted class.
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
            _count_singly(4 * n, 4 * n + 4, labels, predicted, self_codes, confident_codes, joint, by_class, pairs)
    _count_singly(4 * given.size, labels.size, labels, predicted, self_codes, confident_codes, joint, by_class, pairs)


def _make_add(mode):
    """Return the function that counts one pixel of more than 8 bits in one mode."""

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


_add_code, _add_half, _add_single = (_make_add(mode) for mode in (CODE, HALF, SINGLE))


def _make_loop(mode):
    """Return the loop that counts evidence of more than 8 bits in one mode.

    It closes over a number only: numba's cache key contains the closed-over values, and functions differ by process.
    """

    @kernel
    def loop(labels, predicted, self_codes, shift, above, joint, counts):
        """Add pixels << shift plus self-confidence in fixed point to ``joint`` (4 or 1, K, K) uint64."""
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


_LOOPS = {mode: _make_loop(mode) for mode in (CODE, HALF, SINGLE)}


@kernel
def _unpack(packed, above, joint, sums):
    """Add packed counts to ``joint`` (K, K) and ``sums`` (K,), int64, and reset them to 0."""
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
    """Return the conversion of an encoding's codes to fixed point."""
    return {"float16": HALF, "float32": SINGLE}.get(encoding.dtype, CODE)


def _sides(pixels: int, classes: int) -> int:
    """Return the number of tables to count into: one for images so small that clearing four would cost more."""
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
    """Count one image of at most 2^31 - 1 pixels.

    Args:
        labels: Class plane (H, W); ignored pixels hold the dtype's maximum.
        predicted_class: Predicted classes (H, W).
        self_confidence: Codes (H, W).
        predicted_confidence: Codes (H, W).
        encoding: Encoding of the codes.
        classes: Number of classes.

    Returns:
        The counts.
    """
    given, winner, own, best = map(_flat, (labels, predicted_class, self_confidence, predicted_confidence))
    joint, sums = np.zeros((classes, classes), np.int64), np.zeros(classes, np.int64)
    if encoding.dtype == "uint8":
        by_class, pairs = np.zeros((5, classes, 256), np.uint32), np.zeros((classes, 256), np.uint32)
        words = given.size // 4 * 4 if given.dtype == np.uint8 else 0  # 16-bit class numbers are counted one by one
        fours = tuple(plane[:words].view(np.uint32) for plane in (given, winner, own))
        _count_bytes(given, winner, own, best, fours, joint, by_class, pairs)
        histograms = _histograms(joint, by_class)
        sums_by_class = (histograms @ encoding.fixed).tolist()
        return PixelStatistics(joint, sums_by_class, histograms.sum(axis=0), pairs.astype(np.int64), histograms)
    mode = sum_mode(encoding)
    above, shift = np.uint64(_PIXEL_SHIFT[mode]), own.dtype.type(encoding.key_shift)
    packed = np.zeros((_sides(given.size, classes), classes, classes), np.uint64)
    counts = np.zeros((2, encoding.bins), np.uint32)
    for start in range(0, given.size, _TILE_PIXELS[mode]):
        tile = slice(start, start + _TILE_PIXELS[mode])
        _LOOPS[mode](given[tile], winner[tile], own[tile], shift, above, packed, counts)
        _unpack(packed, above, joint, sums)
    no_counts = np.zeros((0, 256), np.int64)
    return PixelStatistics(joint, sums.tolist(), counts.sum(axis=0, dtype=np.int64), no_counts, no_counts)


def _histograms(joint: NDArray[np.int64], by_class: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return codes of self-confidence by given class, (K, 256) int64, and add the agreeing pixels to ``joint``."""
    agreeing: NDArray[np.int64] = by_class[:4].sum(axis=0, dtype=np.int64)
    np.fill_diagonal(joint, agreeing.sum(axis=1))
    agreeing += by_class[4]
    return agreeing


@kernel
def count_at_least(labels, predicted, confident_codes, limits):
    """Count the valid pixels predicted as another class with m >= limits[predicted]."""
    count = 0
    for j in range(labels.size):
        if labels[j] < limits.size and labels[j] != predicted[j]:
            count += np.int64(confident_codes[j]) >= limits[predicted[j]]
    return count


@kernel
def add_low_bit_counts(labels, self_codes, classes, key, counts):
    """Add the lower 16 bits of the valid codes whose upper 16 bits equal ``key`` to ``counts`` (65536,) int64."""
    for j in range(labels.size):
        if labels[j] < classes and (self_codes[j] >> 16) == key:
            counts[self_codes[j] & 65535] += 1
