"""The inner loops of condensing: K planes -> 3 planes, sums and lattice histograms (numba).

Each loop runs along one row of one class plane, so that it becomes SIMD code; a tile of pixels is small
enough that its K rows stay in the second-level cache between the loops. Every intermediate is cast back
to its small type: numba promotes small integers to 64 bits otherwise, which costs a factor of three.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["DOUBLE", "HALF", "INTEGER", "SINGLE", "TILE", "look_up", "round_to_half", "softmax", "walk"]

TILE = 16384
"""Pixels of a tile. Its rows are long enough for the hardware to fetch ahead (shorter ones cost float32 a factor of
two), and what is kept of each pixel stays in the second-level cache."""

INTEGER, HALF, SINGLE, DOUBLE = range(4)
"""How the codes of a prediction are summed."""


@njit(cache=True, nogil=True)
def _take_integers(row, number, best, winner, sums):
    """Take in one row of one class: the maximum so far, whose class it is, and the sum."""
    for j in range(row.size):
        code, most = row[j], best[j]
        best[j] = max(code, most)
        winner[j] = number if code > most else winner[j]
        sums[j] = sums.dtype.type(sums[j] + sums.dtype.type(code))


@njit(cache=True, nogil=True)
def _take_halves(row, number, best, winner, sums):
    for j in range(row.size):
        code, most = row[j], best[j]
        best[j] = max(code, most)
        winner[j] = number if code > most else winner[j]
        # float16 bits -> fixed point 2^-24, exactly: the mantissa shifted by the exponent. Bits above 1.0 (infinite,
        # NaN, negative) would shift too far; `top` finds them.
        bits = np.uint32(code)
        exponent = np.uint32(bits >> np.uint32(10))
        normal = np.uint32(exponent > np.uint32(0))
        mantissa = np.uint32(np.uint32(bits & np.uint32(1023)) | np.uint32(normal << np.uint32(10)))
        shift = np.uint32(np.uint32(exponent - normal) & np.uint32(15))
        sums[j] = sums.dtype.type(sums[j] + np.uint32(mantissa << shift))


@njit(cache=True, nogil=True)
def _take_singles(row, number, best, winner, sums):
    for j in range(row.size):
        code, most = row[j], best[j]
        best[j] = max(code, most)
        winner[j] = number if code > most else winner[j]
        sums[j] = np.float32(sums[j] + np.uint32(code).view(np.float32))


@njit(cache=True, nogil=True)
def _take_doubles(row, number, best, winner, sums):
    for j in range(row.size):
        code, most = row[j], best[j]
        best[j] = max(code, most)
        winner[j] = number if code > most else winner[j]
        sums[j] = sums[j] + np.uint64(code).view(np.float64)


@njit(cache=True, nogil=True)
def _at_label(labels, tile, chosen):
    classes = tile.shape[0]
    for j in range(labels.size):
        given = labels[j]
        chosen[j] = tile[given, j] if given < classes else chosen.dtype.type(0)


@njit(cache=True, nogil=True)
def _outside(best, sums, top, low, high):
    """Whether any pixel of the tile holds a code above `top` or a sum outside [low, high]."""
    largest = best[0]
    for j in range(best.size):
        largest = max(largest, best[j])
    least = sums[0]
    most = sums[0]
    for j in range(sums.size):
        least = min(least, sums[j])
        most = max(most, sums[j])
    return largest > top or least < low or most > high or least != least or most != most


@njit(cache=True, nogil=True)
def _lattice_positions(labels, classes, first, width, step, y0, x0, where):
    """Positions in the tile of its valid lattice pixels into `where`; `first` is the tile's first pixel."""
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


@njit(cache=True, nogil=True)
def _count_codes(row, where, table, counts, other):
    # Two tables in turn: equal neighbours would otherwise wait for each other's increment.
    pairs = where.size // 2 * 2
    for n in range(0, pairs, 2):
        counts[table[row[where[n]]]] += np.uint32(1)
        other[table[row[where[n + 1]]]] += np.uint32(1)
    if pairs < where.size:
        counts[table[row[where[pairs]]]] += np.uint32(1)


@njit(cache=True, nogil=True)
def _bin(row, j):
    # in the row's own precision: no promotion of float32, no rounding of float64
    return min(np.int32(row[j] * row.dtype.type(256)), np.int32(255))


@njit(cache=True, nogil=True)
def _count_floats(row, where, counts, other):
    pairs = where.size // 2 * 2
    for n in range(0, pairs, 2):
        counts[_bin(row, where[n])] += np.uint32(1)
        other[_bin(row, where[n + 1])] += np.uint32(1)
    if pairs < where.size:
        counts[_bin(row, where[pairs])] += np.uint32(1)


@njit(cache=True, nogil=True)
def _lattice(tile, values, labels, where, table, own, every, other):
    """Count p_k of the lattice pixels `where`: those labelled k into `own`, all into `every` + `other`."""
    for k in range(tile.shape[0]):
        if table.size > 0:
            _count_codes(tile[k], where, table, every[k], other[k])
        else:
            _count_floats(values[k], where, every[k], other[k])
    for n in range(where.size):
        j = where[n]
        given = labels[j]
        if table.size > 0:
            own[given, table[tile[given, j]]] += np.uint32(1)
        else:
            own[given, _bin(values[given], j)] += np.uint32(1)


@njit(cache=True, nogil=True)
def walk(
    codes, values, mode, labels, top, low, high, width, step, y0, x0, table,
    self_confidence, predicted_class, predicted_confidence, sums, where, winners, own, every, other,
):  # fmt: skip
    """One walk over a slab, flattened: codes (K, P) and labels (P,) -> the three planes (P,).

    ``mode``: how the codes are summed; ``values``: the same predictions as floats, for float32 and float64.
    Scratch of one tile: ``sums`` of the summing dtype, ``winners`` of class numbers, best as wide as the codes (lanes
    of one width), ``where``. ``own``, ``every`` and ``other`` (K, 256) uint32 are added to. Returns True at the first
    tile that holds anything to be looked at more closely (a code above ``top``, a sum outside [low, high]); what was
    written until then is to be thrown away.
    """
    classes, pixels = codes.shape
    for first in range(0, pixels, sums.size):
        last = min(pixels, first + sums.size)
        best = predicted_confidence[first:last]
        winner = winners[: last - first]
        total = sums[: last - first]
        best[:] = 0
        winner[:] = 0
        total[:] = 0
        for k in range(classes):  # upwards, and only what is larger wins: ties go to the lowest class
            number = winner.dtype.type(k)
            if mode == HALF:
                _take_halves(codes[k, first:last], number, best, winner, total)
            elif mode == SINGLE:
                _take_singles(codes[k, first:last], number, best, winner, total)
            elif mode == DOUBLE:
                _take_doubles(codes[k, first:last], number, best, winner, total)
            else:
                _take_integers(codes[k, first:last], number, best, winner, total)
        if _outside(best, total, top, low, high):
            return True
        predicted_class[first:last] = winner
        _at_label(labels[first:last], codes[:, first:last], self_confidence[first:last])
        if step > 0:
            found = _lattice_positions(labels[first:last], classes, first, width, step, y0, x0, where)
            _lattice(codes[:, first:last], values[:, first:last], labels[first:last],
                     where[:found], table, own, every, other)  # fmt: skip
    return False


@njit(cache=True, nogil=True)
def _maximum(row, best):
    for j in range(row.size):
        best[j] = max(best[j], row[j])


@njit(cache=True, nogil=True)
def _exp_row(row, peak, powers, out):
    """out = exp(row - peak), row <= peak, float32: 2^n by its bits times a polynomial of the remainder.

    The relative error is below 2e-7 of the exact exp. A loop of plain arithmetic becomes SIMD code, which a
    call of the C library's exp does not, and its bits are the same on every machine.
    """
    for j in range(row.size):
        x = max(np.float32(row[j] - peak[j]), np.float32(-87.0))
        # Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
        n = np.float32(np.float32(x * np.float32(1.4426950408889634) + np.float32(12582912.0)) - np.float32(12582912.0))
        # log 2 in two parts, so that the remainder keeps its last bits (Cody and Waite)
        r = np.float32(np.float32(x - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4))
        p = np.float32(np.float32(1 / 5040) * r + np.float32(1 / 720))
        p = np.float32(p * r + np.float32(1 / 120))
        p = np.float32(p * r + np.float32(1 / 24))
        p = np.float32(p * r + np.float32(1 / 6))
        p = np.float32(p * r + np.float32(0.5))
        p = np.float32(p * r + np.float32(1.0))
        out[j] = np.float32(p * r + np.float32(1.0))
        powers[j] = np.int32(np.int32(np.int32(n) + np.int32(127)) << np.int32(23))


@njit(cache=True, nogil=True)
def _scale_row(out, powers, total):
    for j in range(out.size):
        out[j] = np.float32(out[j] * powers[j])
        total[j] = np.float32(total[j] + out[j])


@njit(cache=True, nogil=True)
def _divide(row, total):
    for j in range(row.size):
        row[j] = np.float32(row[j] / total[j])


@njit(cache=True, nogil=True)
def softmax(logits, out):
    """Softmax over the first axis of finite logits (K, P) float32 into out (K, P), in float32."""
    classes, pixels = logits.shape
    tile = 2048
    peaks = np.empty(tile, np.float32)
    totals = np.empty(tile, np.float32)
    scratch = np.empty(tile, np.int32)
    for first in range(0, pixels, tile):
        last = min(pixels, first + tile)
        peak, total, powers = peaks[: last - first], totals[: last - first], scratch[: last - first]
        peak[:] = logits[0, first:last]
        for k in range(1, classes):
            _maximum(logits[k, first:last], peak)
        total[:] = 0
        for k in range(classes):
            _exp_row(logits[k, first:last], peak, powers, out[k, first:last])
            _scale_row(out[k, first:last], powers.view(np.float32), total)
        for k in range(classes):
            _divide(out[k, first:last], total)


@njit(cache=True, nogil=True)
def round_to_half(values, bits, halves):
    """float32 in [0, 1] and their bits (P,) -> bits of the nearest float16 (P,), ties to even.

    The same as a cast, which takes a hundred times as long on small numbers.
    """
    for j in range(values.size):
        single = np.uint32(bits[j])
        odd = np.uint32(np.uint32(single >> np.uint32(13)) & np.uint32(1))
        normal = np.uint32(np.uint32(np.uint32(single + np.uint32(0xFFF)) + odd) >> np.uint32(13))
        # below 2^-14 a float16 counts steps of 2^-24
        steps = np.int32(np.rint(values[j] * np.float32(16777216.0)))
        halves[j] = np.uint16(steps) if single < np.uint32(0x38800000) else np.uint16(normal - np.uint32(112 << 10))


@njit(cache=True, nogil=True)
def look_up(labels, table, plane, bad):
    """plane (P,) = table[labels]; answers how many of them are `bad`."""
    found = 0
    for j in range(labels.size):
        number = table[labels[j]]
        plane[j] = number
        found += number == bad
    return found
