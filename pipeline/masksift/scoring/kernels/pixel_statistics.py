"""Count the evidence of images for the thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import inner, kernel
from masksift.scoring.kernels.encoding import Encoding

CODE, HALF, SINGLE = range(3)
"""Conversions of codes to fixed point for sums."""

_TILE_PIXELS = 1 << 15
"""Pixels whose codes stay in the cache between the loops over them."""

_BLOCK_BITS = 6
"""The histogram of an image is read block by block of 64 bins, because small images leave most blocks empty."""

_PIXELS_PER_ENTRY = 8
"""Pixels per entry of a table from which clearing several tables pays."""


@dataclass(frozen=True)
class CodeCounts:
    """Codes that occur in each of n images, ascending, and their numbers of pixels.

    Attributes:
        codes: Codes of all images, image by image, uint32.
        pixels: Pixels with each code, uint32.
        ends: End of each image in ``codes``, (n,) int64.
    """

    codes: NDArray[np.uint32]
    pixels: NDArray[np.uint32]
    ends: NDArray[np.int64]

    @classmethod
    def concatenate(cls, groups: Sequence[CodeCounts]) -> CodeCounts:
        """Concatenate the images of several groups."""
        starts = np.cumsum([0, *(len(group.codes) for group in groups)])
        return cls(
            np.concatenate([group.codes for group in groups]),
            np.concatenate([group.pixels for group in groups]),
            np.concatenate([group.ends + start for group, start in zip(groups, starts, strict=False)]),
        )


@dataclass(frozen=True)
class ClassCounts:
    """Valid pixels of n images by class, (n, K) int64 each, from which the agreement of classes follows.

    Squares are sums of c^2, where c is the predicted confidence m in 8 bits: the code itself for 8-bit evidence,
    otherwise min(floor(256 m), 255).

    Attributes:
        labeled: Pixels labeled k.
        predicted: Pixels predicted k.
        agreeing: Pixels labeled and predicted k.
        predicted_squares: Squares of the pixels predicted k.
        agreeing_squares: Squares of the pixels labeled and predicted k.
    """

    labeled: NDArray[np.int64]
    predicted: NDArray[np.int64]
    agreeing: NDArray[np.int64]
    predicted_squares: NDArray[np.int64]
    agreeing_squares: NDArray[np.int64]

    @classmethod
    def concatenate(cls, groups: Sequence[ClassCounts]) -> ClassCounts:
        """Concatenate the images of several groups."""
        return cls.from_array(np.concatenate([group.to_array() for group in groups], axis=1))

    @classmethod
    def from_array(cls, counts: NDArray[np.int64]) -> ClassCounts:
        """Return the counts that `to_array` stacked."""
        return cls(*counts)

    def to_array(self) -> NDArray[np.int64]:
        """Stack the counts: (5, n, K)."""
        return np.stack(list(vars(self).values()))


@dataclass(frozen=True)
class PixelStatistics:
    """Counts over the valid pixels of n images.

    Attributes:
        joint: Pixels by given and predicted class, (n, K, K) int64.
        sums: Self-confidence by given class in units of ``Encoding.unit``, (n, K) int64.
        squares: Squares of `ClassCounts` by predicted class, of the pixels with another label and of those with this
            one, (n, 2, K) int64.
        self_counts: Histogram of the self-confidence of all images, (bins,) int64.
        confident_counts: Predicted confidence of all pixels predicted as another class than the given one, by predicted
            class: (K, 256) int64 for 8-bit evidence, else (0, 256).
        self_codes: Bins of the self-confidence of each image.
        given_codes: Given class times 256 plus self-confidence of each image; without codes for more than 8 bits.
    """

    joint: NDArray[np.int64]
    sums: NDArray[np.int64]
    squares: NDArray[np.int64]
    self_counts: NDArray[np.int64]
    confident_counts: NDArray[np.int64]
    self_codes: CodeCounts
    given_codes: CodeCounts

    @cached_property
    def valid(self) -> NDArray[np.int64]:
        """Number of valid pixels, (n,) int64."""
        valid: NDArray[np.int64] = self.joint.sum(axis=(1, 2))
        return valid

    @cached_property
    def class_counts(self) -> ClassCounts:
        """Counts by class."""
        return ClassCounts(
            self.joint.sum(axis=2),
            self.joint.sum(axis=1),
            self.joint.diagonal(axis1=1, axis2=2),
            self.squares.sum(axis=1),
            self.squares[:, 1],
        )


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
def _count_singly(first, last, labels, predicted, self_codes, confident_codes, joint, by_class):
    classes = joint.shape[0]
    for j in range(first, last):
        given, winner = np.int64(labels[j]), np.int64(predicted[j])
        if given == winner:
            by_class[0, given, self_codes[j]] += np.uint32(1)
        elif given < classes:
            by_class[4, given, self_codes[j]] += np.uint32(1)
            joint[given, winner] += 1
            by_class[5, winner, confident_codes[j]] += np.uint32(1)


@inner
def _append_codes(counts, first, stop, codes, pixels, size):
    """Append the nonempty bins from ``first`` to ``stop`` to the lists, and return their size."""
    for code in range(first, stop):
        codes[size], pixels[size] = code, counts[code]
        size += np.int64(counts[code] > 0)
    return size


@inner
def _count_image_bytes(labels, predicted, self_codes, confident_codes, fours, sides, joint, by_class):
    """Count 8-bit evidence of one image.

    ``joint`` (K, K): pixels whose classes differ. ``by_class`` (6, K, 256): codes of the agreeing pixels in four
    tables, or in one if ``sides`` is 0 instead of 3; self-confidence of the others by label, and their predicted
    confidence by predicted class. ``fours``: labels, predicted classes and codes as words of four pixels, compared and
    split in registers. Ignored pixels never agree with a predicted class.
    """
    given, winner, own = fours
    first, second, third, fourth = (
        by_class[0].reshape(-1),
        by_class[1 & sides].reshape(-1),
        by_class[2 & sides].reshape(-1),
        by_class[3 & sides].reshape(-1),
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
            _count_singly(4 * n, 4 * n + 4, labels, predicted, self_codes, confident_codes, joint, by_class)
    _count_singly(4 * given.size, labels.size, labels, predicted, self_codes, confident_codes, joint, by_class)


@kernel
def _count_bytes(
    labels,
    predicted,
    self_codes,
    confident_codes,
    words,
    sides,
    by_class,
    histogram,
    joint,
    sums,
    squares,
    self_counts,
    pairs,
    codes,
    pixels,
    ends,
    given_codes,
    given_pixels,
    given_ends,
):
    """Count 8-bit evidence of images (n, P).

    Scratch: ``by_class`` (6, K, 256) and ``histogram`` (256,). Outputs as in `PixelStatistics`. ``words``: pixels of an
    image that are counted four at a time.
    """
    classes, size, given_size = joint.shape[1], np.int64(0), np.int64(0)
    for i in range(len(labels)):
        by_class[: sides + 1] = 0
        by_class[4:] = 0
        given, winner, own = labels[i], predicted[i], self_codes[i]
        fours = (
            given[:words].view(np.uint32),
            winner[:words].view(np.uint32),
            own[:words].view(np.uint32),
        )
        _count_image_bytes(given, winner, own, confident_codes[i], fours, sides, joint[i], by_class)
        histogram[:] = 0
        for k in range(classes):
            same, row, other = by_class[0, k], by_class[4, k], by_class[5, k]
            for side in range(1, sides + 1):
                more = by_class[side, k]
                for code in range(256):
                    same[code] += more[code]
            agreeing, total, other_squares, same_squares = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
            for code in range(256):
                agreeing += np.int64(same[code])
                row[code] += same[code]
                histogram[code] += row[code]
                pairs[k, code] += other[code]
            for code in range(256):
                total += np.int64(code) * np.int64(row[code])
                # where the label is the predicted class, both have one confidence
                same_squares += np.int64(code * code) * np.int64(same[code])
                other_squares += np.int64(code * code) * np.int64(other[code])
            joint[i, k, k] = agreeing
            sums[i, k] = total
            squares[i, 0, k], squares[i, 1, k] = other_squares, same_squares
        flat = by_class[4].reshape(-1)
        given_size = _append_codes(flat, 0, flat.size, given_codes, given_pixels, given_size)
        size = _append_codes(histogram, 0, 256, codes, pixels, size)
        for code in range(256):
            self_counts[code] += np.int64(histogram[code])
        ends[i], given_ends[i] = size, given_size


def _make_count(mode):
    """Return the loop that counts pixels with evidence of more than 8 bits in one mode."""

    @inner
    def count(labels, predicted, self_codes, confident_codes, square, shift, joint, sums, squares, counts):
        """Add pixels to ``joint`` (K, K), ``sums`` (K,), ``squares`` (2, K) and the histograms ``counts`` (2, bins).

        Neighbors mostly have one class, which is the predicted one: their sums stay in registers until it changes.
        """
        classes, current = joint.shape[0], np.int64(0)
        pixels, total, total_squares = np.int64(0), np.int64(0), np.int64(0)
        for i in range(labels.size):
            given, winner, code = np.int64(labels[i]), np.int64(predicted[i]), self_codes[i]
            if given == winner:
                if given != current:
                    joint[current, current] += pixels
                    sums[current] += total
                    squares[1, current] += total_squares
                    current, pixels, total, total_squares = given, np.int64(0), np.int64(0), np.int64(0)
                pixels += 1
                total += to_fixed(code, mode)
                total_squares += np.int64(square[code >> shift])  # its confidence is the predicted one
                counts[i & 1, code >> shift] += np.uint32(1)
            elif given < classes:
                joint[given, winner] += 1
                sums[given] += to_fixed(code, mode)
                squares[0, winner] += np.int64(square[confident_codes[i] >> shift])
                counts[i & 1, code >> shift] += np.uint32(1)
        joint[current, current] += pixels
        sums[current] += total
        squares[1, current] += total_squares

    return count


_count_code, _count_half, _count_single = (_make_count(mode) for mode in (CODE, HALF, SINGLE))


def _make_loop(mode):
    """Return the loop that counts images with evidence of more than 8 bits in one mode.

    It closes over a number only: numba's cache key contains the closed-over values, and functions differ by process.
    """

    @kernel
    def loop(
        labels,
        predicted,
        self_codes,
        confident_codes,
        square,
        shift,
        counts,
        used,
        joint,
        sums,
        squares,
        self_counts,
        codes,
        pixels,
        ends,
    ):
        """Count images (n, P).

        Scratch, zeros: ``counts`` (2, bins) and ``used``, the blocks of bins that are not empty. Outputs as in
        `PixelStatistics`.
        """
        size = np.int64(0)
        for i in range(len(labels)):
            for first in range(0, labels.shape[1], _TILE_PIXELS):
                last = min(first + _TILE_PIXELS, labels.shape[1])
                given, winner, own = labels[i, first:last], predicted[i, first:last], self_codes[i, first:last]
                best = confident_codes[i, first:last]
                if mode == CODE:
                    _count_code(given, winner, own, best, square, shift, joint[i], sums[i], squares[i], counts)
                elif mode == HALF:
                    _count_half(given, winner, own, best, square, shift, joint[i], sums[i], squares[i], counts)
                else:
                    _count_single(given, winner, own, best, square, shift, joint[i], sums[i], squares[i], counts)
                for j in range(own.size):
                    used[(own[j] >> shift) >> _BLOCK_BITS] = 1
            for block in range(used.size):
                if used[block] == 0:
                    continue
                used[block] = 0
                first = block << _BLOCK_BITS
                stop = min(self_counts.size, first + (1 << _BLOCK_BITS))
                for code in range(first, stop):
                    counts[0, code] += counts[1, code]
                    self_counts[code] += np.int64(counts[0, code])
                size = _append_codes(counts[0], first, stop, codes, pixels, size)
                counts[:, first:stop] = 0
            ends[i] = size

    return loop


_LOOPS = {mode: _make_loop(mode) for mode in (CODE, HALF, SINGLE)}


def sum_mode(encoding: Encoding) -> int:
    """Return the conversion of an encoding's codes to fixed point."""
    return {"float16": HALF, "float32": SINGLE}.get(encoding.dtype, CODE)


def _flat(planes: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    return np.ascontiguousarray(planes).reshape(len(planes), -1)


def count_pixels(
    labels: NDArray[np.unsignedinteger],
    predicted_class: NDArray[np.unsignedinteger],
    self_confidence: NDArray[np.unsignedinteger],
    predicted_confidence: NDArray[np.unsignedinteger],
    encoding: Encoding,
    classes: int,
) -> PixelStatistics:
    """Count n images of at most 2^31 - 1 pixels in all.

    Args:
        labels: Class planes (n, H, W); ignored pixels hold the dtype's maximum.
        predicted_class: Predicted classes (n, H, W).
        self_confidence: Codes (n, H, W).
        predicted_confidence: Codes (n, H, W).
        encoding: Encoding of the codes.
        classes: Number of classes.

    Returns:
        The counts.
    """
    given, winner, own = map(_flat, (labels, predicted_class, self_confidence))
    n, pixels = given.shape
    joint, sums = np.zeros((n, classes, classes), np.int64), np.zeros((n, classes), np.int64)
    squares = np.zeros((n, 2, classes), np.int64)
    self_counts, no_counts = np.zeros(encoding.bins, np.int64), np.zeros((0, 256), np.int64)
    self_codes = _empty_codes(n, min(pixels, encoding.bins))
    if encoding.dtype == "uint8":
        entries = classes * 256
        given_codes, pairs = _empty_codes(n, min(pixels, entries)), np.zeros((classes, 256), np.uint32)
        # 16-bit class numbers, and words that begin anywhere, are counted one by one
        words = pixels // 4 * 4 if given.dtype == np.uint8 and (n == 1 or pixels % 4 == 0) else 0
        _count_bytes(
            given,
            winner,
            own,
            _flat(predicted_confidence),
            words,
            3 if pixels >= _PIXELS_PER_ENTRY * entries else 0,
            np.empty((6, classes, 256), np.uint32),
            np.empty(256, np.uint32),
            joint,
            sums,
            squares,
            self_counts,
            pairs,
            *self_codes,
            *given_codes,
        )
        return PixelStatistics(
            joint,
            sums,
            squares,
            self_counts,
            pairs.astype(np.int64),
            _code_counts(*self_codes),
            _code_counts(*given_codes),
        )
    mode = sum_mode(encoding)
    _LOOPS[mode](
        given,
        winner,
        own,
        _flat(predicted_confidence),
        encoding.squares,
        own.dtype.type(encoding.key_shift),
        np.zeros((2, encoding.bins), np.uint32),
        np.zeros(-(-encoding.bins >> _BLOCK_BITS) + 1, np.uint8),
        joint,
        sums,
        squares,
        self_counts,
        *self_codes,
    )
    return PixelStatistics(
        joint, sums, squares, self_counts, no_counts, _code_counts(*self_codes), _code_counts(*_empty_codes(n))
    )


def _empty_codes(images: int, most: int = 0) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.int64]]:
    """Return memory for the lists of `CodeCounts`, with an entry beyond the last, which a loop writes in vain."""
    size = images * most + 1
    return np.empty(size, np.uint32), np.empty(size, np.uint32), np.zeros(images, np.int64)


def _code_counts(codes: NDArray[np.uint32], pixels: NDArray[np.uint32], ends: NDArray[np.int64]) -> CodeCounts:
    return CodeCounts(codes[: ends[-1]].copy(), pixels[: ends[-1]].copy(), ends)


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
