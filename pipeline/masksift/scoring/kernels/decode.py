"""Turn stored numbers into predictions: unpack them, resize them, and complete the positive class by the background."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.specs import Packing
from masksift.scoring.kernels._jit import kernel

_STRIP_VALUES = 1 << 16
"""Numbers that are unpacked at a time: few enough to stay in the cache as float64."""


def binary_dtype(dtype: str, scale: float) -> str:
    """Return the dtype of both classes of binary predictions.

    Args:
        dtype: Dtype of the positive class.
        scale: Probability of one step of integers.

    Returns:
        The same dtype if it holds the probability 1, and with it every complement, exactly; else float32.
    """
    if np.dtype(dtype).kind == "f":
        return dtype
    steps = round(1 / scale)
    return dtype if abs(steps * scale - 1) < 1e-9 and steps <= np.iinfo(dtype).max else "float32"


def add_background(
    positive: NDArray[Any], prediction_kind: str, scale: float, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Complete the positive class by the background.

    A probability p becomes (1 - p, p). A logit x becomes (0, x), whose softmax is the sigmoid of x.

    Args:
        positive: Values of the positive class (h, w), integers only if `binary_dtype` keeps their dtype.
        prediction_kind: "probabilities" or "logits".
        scale: Probability of one step of integers.
        out: Output array (2, h, w) of the same dtype, which may hold ``positive`` as its second plane.

    Returns:
        Values of background and positive class (2, h, w).
    """
    result = np.empty((2, *positive.shape), positive.dtype) if out is None else out
    background, foreground = result
    if prediction_kind == "logits":
        background[...] = 0
    elif positive.dtype.kind == "f":
        np.subtract(1, positive, out=background)
    else:  # integers above 1 keep a sum above 1
        one = positive.dtype.type(round(1 / scale))
        np.subtract(one, np.minimum(positive, one), out=background)
    if foreground is not positive:
        foreground[...] = positive
    return result


def complete_binary(positive: NDArray[Any], prediction_kind: str, scale: float | None = None) -> NDArray[Any]:
    """Complete values of the positive class of any dtype.

    Args:
        positive: Values (..., h, w).
        prediction_kind: "probabilities" or "logits".
        scale: Probability of one step of integers; None means 1 / largest integer.

    Returns:
        Background and positive class (..., 2, h, w), in `binary_dtype`.
    """
    step = 1.0 if positive.dtype.kind == "f" else scale or 1 / np.iinfo(positive.dtype).max
    if binary_dtype(positive.dtype.name, step) != positive.dtype.name:
        packing = Packing(positive.dtype.name, step)
        positive = unpack(positive, packing, np.empty(positive.shape, np.float32))
    out = np.empty((2, *positive.shape), positive.dtype)
    return np.moveaxis(add_background(positive, prediction_kind, step, out), 0, -3)


def unpack(stored: NDArray[Any], packing: Packing | None, out: NDArray[np.float32]) -> NDArray[np.float32]:
    """Write the values of stored numbers as float32, NaN where they are missing.

    Args:
        stored: Stored numbers of any shape, of ``packing.dtype``.
        packing: Their packing; None if they are the values.
        out: Output array of that shape, C-contiguous.

    Returns:
        The output array.
    """
    if packing is None:
        with np.errstate(over="ignore"):  # infinity is rejected later
            out[...] = stored
        return out
    flat, values = stored.reshape(-1), out.reshape(-1)
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity are rejected later
        for first in range(0, flat.size, _STRIP_VALUES):
            numbers = flat[first : first + _STRIP_VALUES]
            strip = numbers * np.float64(1.0 if packing.scale_factor is None else packing.scale_factor)
            strip += packing.add_offset
            for number in packing.missing:
                strip[numbers == number] = np.nan
            values[first : first + _STRIP_VALUES] = strip
    return out


def source_rows(first: int, last: int, stored: int, size: int) -> tuple[int, int]:
    """Return the stored rows [first, last) from which rows [first, last) of a resized image are interpolated."""
    positions = [_positions(np.array([row]), stored, size) for row in (first, last - 1)]
    return int(positions[0][0][0]), int(positions[1][1][0]) + 1


def source_rows_at_most(rows: int, stored: int, size: int) -> int:
    """Return a bound of the stored rows from which any ``rows`` consecutive rows of a resized image are computed."""
    return min(stored, rows * stored // size + 3)


def resize_rows(
    planes: NDArray[np.float32],
    first_stored: int,
    stored_size: tuple[int, ...],
    size: tuple[int, ...],
    first: int,
    out: NDArray[np.float32],
) -> None:
    """Interpolate rows of an image bilinearly, with half-pixel centers.

    The coordinates are those of torch's ``interpolate(mode="bilinear", align_corners=False)``, in float32 as there. A
    value depends only on its position, so that no division into windows changes a bit.

    Args:
        planes: Stored rows (K, h, w) with all columns, C-contiguous.
        first_stored: Number of their first row in the stored image.
        stored_size: Rows and columns of the stored image.
        size: Rows and columns of the resized image.
        first: First row to compute.
        out: Output (K, rows, columns), C-contiguous.
    """
    low, high, weight = _positions(np.arange(first, first + out.shape[1]), stored_size[0], size[0])
    columns = _positions(np.arange(size[1]), stored_size[1], size[1])
    blended = np.empty(planes.shape[2], np.float32)
    _interpolate(planes, low - first_stored, high - first_stored, weight, *columns, blended, out)


def _positions(
    rows: NDArray[np.int64], stored: int, size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the two stored rows between which each row of a resized image is, and the weight of the second."""
    if stored == size:
        return rows, rows, np.zeros(len(rows), np.float32)
    half = np.float32(0.5)
    ratio = np.float32(stored) / np.float32(size)
    position = np.maximum(ratio * (rows.astype(np.float32) + half) - half, np.float32(0))
    low = np.minimum(position.astype(np.int64), stored - 1)
    weight = np.clip(position - low.astype(np.float32), 0, 1).astype(np.float32)
    return low, np.minimum(low + 1, stored - 1), weight


@kernel
def _interpolate(planes, low, high, weight, left, right, share, blended, out):
    """Blend two rows of each plane (K, h, w) into ``blended`` (w,), and two columns of it into ``out`` (K, H, W)."""
    one = np.float32(1)
    for k in range(out.shape[0]):
        for y in range(out.shape[1]):
            upper, lower, beta = planes[k, low[y]], planes[k, high[y]], weight[y]
            alpha = np.float32(one - beta)
            for x in range(blended.size):
                blended[x] = alpha * upper[x] + beta * lower[x]
            row = out[k, y]
            for x in range(row.size):
                row[x] = (one - share[x]) * blended[left[x]] + share[x] * blended[right[x]]
