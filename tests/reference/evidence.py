"""Reference for evidence: the three planes of one image, or its status.

`reference.audit` re-exports these names; its docstring explains the letters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.scores import Pixel, Plane

Array = NDArray[Any]

OK, BAD_PROBABILITIES, BAD_LABELS, ALL_IGNORED = "ok", "bad_probabilities", "bad_labels", "all_ignored"
OUTSIDE = 1e-3  # tolerance of values outside [0, 1]


@dataclass(frozen=True)
class Storage:
    """Storage of a probability: its dtype, and the unit of sums."""

    dtype: np.dtype[Any]
    unit: float  # unsigned integers: scale; float16: 2**-24, its finest step; float32: 2**-32

    def keep(self, p: float) -> Any:
        """Clip p to [0, 1] and round it to the dtype, ties to even."""
        p = min(max(p, 0.0), 1.0)
        if self.dtype.kind == "u":  # the largest integer of a value up to 1 stands for 1
            return min(round(p / self.unit), math.floor(1 / self.unit + 1e-9))
        return p  # numpy's assignment rounds floats

    def probability(self, stored: Array) -> Array:
        """Probabilities of stored values in float64."""
        if self.dtype.kind == "u":
            return np.minimum(stored.astype(np.float64) * self.unit, 1.0)
        return stored.astype(np.float64)

    def units(self, stored: Any) -> int:
        """A stored value in whole units. Only float32 below 2**-9 is rounded."""
        return int(stored) if self.dtype.kind == "u" else round(float(stored) / self.unit)


@dataclass(frozen=True)
class Image:
    """Condensed image: planes as nested lists, s and m as probabilities. A bad image has no valid pixel."""

    status: str
    label: Plane
    valid: Plane
    s: Plane
    a: Plane
    m: Plane
    stored: tuple[Array, Array, Array]
    p: Array | None  # (K, H, W) in float64, not rounded to the evidence's precision

    def pixels(self) -> list[Pixel]:
        """V_i, row by row."""
        return [(y, x) for y, row in enumerate(self.valid) for x, is_valid in enumerate(row) if is_valid]

    def over(self, plane: Plane) -> list[Any]:
        """The values of a plane on V_i, row by row."""
        return [plane[y][x] for y, x in self.pixels()]


def storage_of(dtype: np.dtype[Any], scale: float | None, kind: str, evidence_dtype: str) -> Storage:
    """Precision of the predictions. float32, float64 and all logits become float16 unless float32 is configured."""
    if kind not in ("probabilities", "logits") or evidence_dtype not in ("auto", "float32"):
        raise ValueError(f"unknown kind {kind!r} or evidence dtype {evidence_dtype!r}")
    if dtype in (np.uint8, np.uint16) and kind == "probabilities":
        unit = 1 / np.iinfo(dtype).max if scale is None else scale
        if not 0 < unit < math.inf:
            raise ValueError(f"scale must be above 0 and finite, not {scale}")
        return Storage(dtype, unit)
    if dtype not in (np.float16, np.float32, np.float64) or scale is not None:
        raise ValueError(f"no {kind} in {dtype} with scale {scale}: integers are scaled probabilities")
    narrow = dtype == np.float16 and kind == "probabilities"
    if evidence_dtype == "auto" or narrow:
        return Storage(np.dtype(np.float16), 2.0**-24)
    return Storage(np.dtype(np.float32), 2.0**-32)


def softmax(logits: Array) -> Array:
    """exp(z_k - max z) / sum_k exp(z_k - max z) over the classes, all in float32, summed in class order."""
    z = logits.astype(np.float32)
    with np.errstate(over="ignore"):  # a difference beyond float32 becomes -inf, and its exponential 0
        powers = np.exp(z - z.max(axis=0))
    total = powers[0].copy()
    for power in powers[1:]:
        total += power
    return np.asarray(powers / total)


def probabilities(predictions: Array, kind: str, storage: Storage) -> Array | None:
    """p (K, H, W) of one image in float64, not rounded to the evidence's precision; None if a value is not finite."""
    if predictions.dtype.kind == "u":
        return predictions.astype(np.float64) * storage.unit
    with np.errstate(over="ignore"):  # a float64 logit beyond float32 is refused just below
        finite = np.isfinite(predictions.astype(np.float32) if kind == "logits" else predictions).all()
    if not finite:
        return None
    return (softmax(predictions) if kind == "logits" else predictions).astype(np.float64)


def bad_probabilities(p: Array | None, tolerance: float) -> bool:
    """True if any pixel, ignored or not, is not finite, outside [0, 1] by over 1e-3, or sums too far from 1."""
    if p is None:
        return True
    for row in p.reshape(len(p), -1).T.tolist():
        if min(row) < -OUTSIDE or max(row) > 1 + OUTSIDE or abs(math.fsum(row) - 1) > tolerance:
            return True
    return False


def tolerance_of(sum_tolerance: float | None, storage: Storage, classes: int) -> float:
    """The configured tolerance, or 0.02, plus half a step per class for integer predictions."""
    if sum_tolerance is not None:
        return sum_tolerance
    return 0.02 + (classes * storage.unit / 2 if storage.dtype.kind == "u" else 0.0)


def condense(
    predictions: Array, labels: Array, ignore: Sequence[int], kind: str, storage: Storage, tolerance: float
) -> Image:
    """Condense one image to its status and its three planes."""
    classes, height, width = predictions.shape
    label: Plane = labels.tolist()
    valid = [[given not in ignore for given in row] for row in label]
    p = probabilities(predictions, kind, storage)
    s, m = np.zeros((height, width), storage.dtype), np.zeros((height, width), storage.dtype)
    a = np.zeros((height, width), np.uint8 if classes <= 256 else np.uint16)
    if any(here and not 0 <= label[y][x] < classes for y, x, here in each(valid)):
        status = BAD_LABELS
    elif p is None or bad_probabilities(p, tolerance):
        status = BAD_PROBABILITIES
    else:
        status = OK if any(here for _, _, here in each(valid)) else ALL_IGNORED
        for y, x, here in each(valid):
            original = predictions[:, y, x].tolist()  # before softmax, clipping and rounding
            a[y, x] = original.index(max(original))  # the first of equal values: the lowest class
            m[y, x] = storage.keep(p[a[y, x], y, x].item())
            if here:
                s[y, x] = storage.keep(p[label[y][x], y, x].item())
    if status != OK:
        valid = [[False] * width for _ in range(height)]  # excluded from all statistics
    value_s, value_m = storage.probability(s).tolist(), storage.probability(m).tolist()
    return Image(status, label, valid, value_s, a.tolist(), value_m, (s, a, m), p)


def each(plane: Plane) -> list[tuple[int, int, Any]]:
    """(row, column, value) of every pixel."""
    return [(y, x, value) for y, row in enumerate(plane) for x, value in enumerate(row)]
