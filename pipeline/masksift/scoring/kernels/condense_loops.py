"""Inner loops of condensing: K planes to 3 planes, sums and lattice histograms.

Each loop runs along one row of one class plane, so that the compiler vectorizes it. The K rows of a tile of pixels stay
in the second-level cache between the loops. Every intermediate is cast back to its small type, because numba promotes
small integers to 64 bits, which costs a factor of three.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import inner, kernel

TILE_PIXELS = 8192
"""Rows long enough for hardware prefetching, while K rows and the state per pixel fit the second-level cache."""

_SOFTMAX_PIXELS = 2048

INTEGER, HALF, SINGLE, DOUBLE = range(4)
"""Modes of summing the codes of a prediction."""


@inner
def _max_with_class(code, number, most, leader):
    return max(code, most), number if code > most else leader


def _make_update(mode):
    """Return the loop for one mode; a branch on ``mode`` in it prevents vectorization and compiles seconds longer."""

    @inner
    def update(a, b, c, d, mask_b, mask_c, mask_d, number, labels, best, winner, chosen, sums):
        """Update maximum, its class, the value at the label and the sum by one row each of four classes.

        Four classes at a time read and write the state of a pixel a quarter as often. The row of a missing class is
        another row under a mask of 0, which changes nothing.
        """
        code, wide = a.dtype.type, sums.dtype.type
        one = winner.dtype.type(1)
        second = winner.dtype.type(number + one)
        third = winner.dtype.type(second + one)
        fourth = winner.dtype.type(third + one)
        for j in range(a.size):
            w, x, y, z = a[j], code(b[j] & mask_b), code(c[j] & mask_c), code(d[j] & mask_d)
            given, own = winner.dtype.type(labels[j]), chosen[j]
            own = w if given == number else own
            own = x if given == second else own
            own = y if given == third else own
            chosen[j] = z if given == fourth else own
            most, leader = _max_with_class(w, number, best[j], winner[j])
            most, leader = _max_with_class(x, second, most, leader)
            most, leader = _max_with_class(y, third, most, leader)
            best[j], winner[j] = _max_with_class(z, fourth, most, leader)
            total = sums[j]
            for p in (w, x, y, z):
                if mode == HALF:  # the bits shifted into a float32 are exactly the probability times 2^-112
                    total = wide(total + np.uint32(np.uint32(p) << np.uint32(13)).view(np.float32))
                elif mode == SINGLE:
                    total = wide(total + np.uint32(p).view(np.float32))
                elif mode == DOUBLE:
                    total = wide(total + np.uint64(p).view(np.float64))
                else:
                    total = wide(total + wide(p))
            sums[j] = total

    return update


@inner
def _is_suspicious(best, sums, top, low, high):
    """Return whether any pixel of the tile has a code above ``top`` or a sum outside [low, high]."""
    odd = False  # the negations detect NaN
    for j in range(best.size):
        odd |= (best[j] > top) | (not (sums[j] >= low)) | (not (sums[j] <= high))
    return odd


@inner
def _lattice_positions(labels, classes, first, width, step, y0, x0, where):
    """Write the positions of the valid lattice pixels of the tile that starts at ``first`` to ``where``."""
    last = first + labels.size
    y = first // width
    y += (step - (y0 + y) % step) % step
    left = (step - x0 % step) % step
    found = 0
    while y * width < last:
        x = left
        start = first - y * width
        if start > x:
            x += (start - x + step - 1) // step * step
        stop = min(width, last - y * width)
        while x < stop:
            j = y * width + x - first
            if labels[j] < classes:
                where[found] = j
                found += 1
            x += step
        y += step
    return found


@inner
def _count_four(a, b, c, d, where, shift, table, in_a, in_b, in_c, in_d):
    # four classes in turn: increments of one table would wait for each other where neighbors are equal
    for n in range(where.size):
        j = where[n]
        in_a[table[a[j] >> shift]] += np.uint32(1)
        in_b[table[b[j] >> shift]] += np.uint32(1)
        in_c[table[c[j] >> shift]] += np.uint32(1)
        in_d[table[d[j] >> shift]] += np.uint32(1)


@inner
def _count_lattice(tile, labels, where, shift, table, own, every):
    """Count the bins table[code >> shift] of the lattice pixels ``where``: at the label in ``own``, all in ``every``.

    Rows of ``every`` beyond the last class are undefined.
    """
    end = tile.shape[0] - 1
    for k in range(0, tile.shape[0], 4):
        _count_four(
            tile[k],
            tile[min(k + 1, end)],
            tile[min(k + 2, end)],
            tile[min(k + 3, end)],
            where,
            shift,
            table,
            every[k],
            every[k + 1],
            every[k + 2],
            every[k + 3],
        )
    for n in range(where.size):
        given = labels[where[n]]
        own[given, table[tile[given, where[n]] >> shift]] += np.uint32(1)


@inner
def _float32_to_half(code):
    """Round the bits of a float32 in [0, 1] to the nearest float16, ties to even, like a cast."""
    # a cast takes a hundred times as long on small numbers
    single = np.uint32(code)
    odd = np.uint32(np.uint32(single >> np.uint32(13)) & np.uint32(1))
    normal = np.uint32(np.uint32(np.uint32(single + np.uint32(0xFFF)) + odd) >> np.uint32(13))
    # below 2^-14 a float16 counts steps of 2^-24
    steps = np.uint32(np.int32(np.rint(single.view(np.float32) * np.float32(16777216.0))))
    return steps if single < np.uint32(0x38800000) else np.uint32(normal - np.uint32(112 << 10))


@kernel
def store_codes(codes, mode, greatest, plane):
    """Write codes of a tile to an evidence plane: float32 rounded to float16 if needed, others at most ``greatest``."""
    if mode == SINGLE and plane.itemsize == 2:
        for j in range(codes.size):
            plane[j] = plane.dtype.type(_float32_to_half(codes[j]))
    else:
        for j in range(codes.size):
            plane[j] = plane.dtype.type(min(codes[j], greatest))


_update_integers, _update_halves, _update_singles, _update_doubles = (
    _make_update(mode) for mode in (INTEGER, HALF, SINGLE, DOUBLE)
)


def _make_loop(mode):
    """Return the condensing loop for one mode.

    It closes over a number only: numba's cache key contains the closed-over values, and functions differ by process.
    """

    @kernel
    def condense(
        codes,
        labels,
        top,
        low,
        high,
        greatest,
        width,
        step,
        y0,
        x0,
        shift,
        table,
        self_confidence,
        predicted_class,
        predicted_confidence,
        sums,
        leaders,
        highest,
        at_label,
        where,
        own,
        every,
    ):
        """Condense a flattened window: codes (K, P) and labels (P,) to three planes (P,).

        ``greatest`` is the code of probability 1; ``shift``, of the codes' dtype, and ``table`` are
        `CondenseConfig.bins`. Scratch of one tile: ``sums`` of the summing dtype, ``leaders`` of class numbers, best as
        wide as the codes (equal lanes), ``highest`` and ``at_label`` of codes, ``where`` of uint32; a loop that
        allocates them takes a tenth longer to compile. ``own`` (K, 256) and ``every`` (K rounded up to a multiple of 4,
        256), uint32, are added to.

        Returns:
            True, with invalid outputs, at the first tile with a code above ``top`` or a sum outside [low, high].
        """
        classes, pixels = codes.shape
        end, full, none = classes - 1, codes.dtype.type(-1), codes.dtype.type(0)
        for first in range(0, pixels, sums.size):
            last = min(pixels, first + sums.size)
            given = labels[first:last]
            best, winner, chosen, total = (
                highest[: last - first],
                leaders[: last - first],
                at_label[: last - first],
                sums[: last - first],
            )
            best[:] = 0
            winner[:] = 0
            chosen[:] = 0
            total[:] = 0
            for k in range(0, classes, 4):  # ascending, and only a larger value wins: ties go to the lowest class
                a, b = codes[k, first:last], codes[min(k + 1, end), first:last]
                c, d = codes[min(k + 2, end), first:last], codes[min(k + 3, end), first:last]
                mask_b = full if k + 1 <= end else none
                mask_c = full if k + 2 <= end else none
                mask_d = full if k + 3 <= end else none
                number = winner.dtype.type(k)
                if mode == HALF:
                    _update_halves(a, b, c, d, mask_b, mask_c, mask_d, number, given, best, winner, chosen, total)
                elif mode == SINGLE:
                    _update_singles(a, b, c, d, mask_b, mask_c, mask_d, number, given, best, winner, chosen, total)
                elif mode == DOUBLE:
                    _update_doubles(a, b, c, d, mask_b, mask_c, mask_d, number, given, best, winner, chosen, total)
                else:
                    _update_integers(a, b, c, d, mask_b, mask_c, mask_d, number, given, best, winner, chosen, total)
            if _is_suspicious(best, total, top, low, high):
                return True
            store_codes(winner, INTEGER, winner.dtype.type(end), predicted_class[first:last])
            store_codes(best, mode, greatest, predicted_confidence[first:last])
            store_codes(chosen, mode, greatest, self_confidence[first:last])
            if step > 0:
                found = _lattice_positions(given, classes, first, width, step, y0, x0, where)
                _count_lattice(codes[:, first:last], given, where[:found], shift, table, own, every)
        return False

    return condense


CONDENSE_LOOPS = {mode: _make_loop(mode) for mode in (INTEGER, HALF, SINGLE, DOUBLE)}


@inner
def _update_peak(row, best):
    """Raise ``best`` to ``row``; return whether a value is not finite."""
    odd = False
    for j in range(row.size):
        best[j] = max(best[j], row[j])
        odd |= row[j] - row[j] != np.float32(0)
    return odd


@inner
def _exp_row(row, peak, powers, out):
    """Compute out = exp(row - peak), row <= peak, in float32: 2^n by its bits times a polynomial of the remainder.

    The relative error is below 2e-7. Unlike a call of the C library's exp, plain arithmetic is vectorized and gives the
    same bits on every machine.
    """
    for j in range(row.size):
        x = max(np.float32(row[j] - peak[j]), np.float32(-87.0))
        # adding and subtracting 1.5 * 2^23 rounds to the nearest integer
        n = np.float32(np.float32(x * np.float32(1.4426950408889634) + np.float32(12582912.0)) - np.float32(12582912.0))
        # log 2 as a sum of two numbers keeps the last bits of the remainder (Cody and Waite)
        r = np.float32(np.float32(x - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4))
        p = np.float32(np.float32(1 / 5040) * r + np.float32(1 / 720))
        p = np.float32(p * r + np.float32(1 / 120))
        p = np.float32(p * r + np.float32(1 / 24))
        p = np.float32(p * r + np.float32(1 / 6))
        p = np.float32(p * r + np.float32(0.5))
        p = np.float32(p * r + np.float32(1.0))
        out[j] = np.float32(p * r + np.float32(1.0))
        powers[j] = np.int32(np.int32(np.int32(n) + np.int32(127)) << np.int32(23))


@inner
def _scale_row(out, powers, total):
    for j in range(out.size):
        out[j] = np.float32(out[j] * powers[j])
        total[j] = np.float32(total[j] + out[j])


@inner
def _divide_row(row, total):
    for j in range(row.size):
        row[j] = np.float32(row[j] / total[j])


@kernel
def softmax_tiles(logits, start, out, peaks, totals, scratch):
    """Write the softmax to ``out``. Scratch of a tile: ``peaks`` and ``totals`` of float32, ``scratch`` of int32.

    Returns:
        False, with ``out`` incomplete, if a logit is not finite.
    """
    classes, pixels = out.shape
    for first in range(0, pixels, peaks.size):
        last = min(pixels, first + peaks.size)
        peak, total, powers = peaks[: last - first], totals[: last - first], scratch[: last - first]
        peak[:] = -np.inf
        odd = False
        for k in range(classes):
            odd |= _update_peak(logits[k, start + first : start + last], peak)
        if odd:
            return False
        total[:] = 0
        for k in range(classes):
            _exp_row(logits[k, start + first : start + last], peak, powers, out[k, first:last])
            _scale_row(out[k, first:last], powers.view(np.float32), total)
        for k in range(classes):
            _divide_row(out[k, first:last], total)
    return True


def softmax(logits: NDArray[np.float32], start: int, out: NDArray[np.float32]) -> bool:
    """Write the softmax of the logits (K, P) from pixel ``start`` on to ``out`` (K, p), in float32.

    Returns:
        False, with ``out`` incomplete, if a logit is not finite.
    """
    return bool(softmax_tiles(logits, start, out, *softmax_scratch()))


def softmax_scratch() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Return the scratch of `softmax_tiles`."""
    size = _SOFTMAX_PIXELS
    return np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.int32)


@kernel
def map_labels(labels, table, plane, bad):
    """Write table[labels] to ``plane`` (P,), and return how many are ``bad``."""
    found = 0
    for j in range(labels.size):
        number = table[labels[j]]
        plane[j] = number
        found += number == bad
    return found


@kernel
def map_byte_labels(labels, classes, ignore, bad, plane):
    """Write the class of each label (P,) uint8 to ``plane``: itself, ``bad`` + 1 if in ``ignore``, else ``bad``.

    ``bad`` is the dtype's last number but one. Plain comparisons, a tile at a time, are vectorized, unlike a table or a
    counted comparison.

    Returns:
        True if any label is bad.
    """
    one = plane.dtype.type(1)
    wrong, ignored, limit = plane.dtype.type(bad), plane.dtype.type(bad + 1), plane.dtype.type(classes)
    most = plane.dtype.type(0)
    for first in range(0, labels.size, TILE_PIXELS):
        given, numbers = labels[first : first + TILE_PIXELS], plane[first : first + TILE_PIXELS]
        for j in range(given.size):
            numbers[j] = plane.dtype.type(given[j]) if given[j] < limit else wrong
        for value in ignore:
            for j in range(given.size):
                number = numbers[j]  # an unconditional read avoids a branch
                numbers[j] = ignored if given[j] == value else number
        for j in range(given.size):  # plus one: ignored labels become 0, bad ones the maximum
            most = max(most, plane.dtype.type(numbers[j] + one))
    return most == ignored
