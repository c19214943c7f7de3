"""Condensing: the K probability planes of an image become three, and are checked on the way.

A slab is what is read at once: all classes of a window of one image, C-contiguous (class, y, x). An image
of one slab and an image of four hundred give the same planes, counts and verdicts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.condense_loops import (
    CONDENSE_LOOPS,
    DOUBLE,
    HALF,
    INTEGER,
    SINGLE,
    TILE,
    map_byte_labels,
    map_labels,
    softmax,
)
from masksift.scoring.kernels.encoding import Encoding

RANGE_TOLERANCE = 1e-3
_EXAMINE_PIXELS = 1 << 16
_STRIP_PIXELS = 1 << 15
"""Pixels of logits that become probabilities at a time: few, so that these stay near the core until they are walked."""
_MODES = {"float16": HALF, "float32": SINGLE, "float64": DOUBLE}


def class_dtype(classes: int) -> np.dtype[np.unsignedinteger]:
    """The dtype of class planes: uint8 up to 254 classes, else uint16. Its two largest numbers are no classes:
    the largest marks ignored pixels, the next one labels that are no class at all."""
    return np.dtype(np.uint8 if classes <= 254 else np.uint16)


@dataclass(frozen=True)
class CondenseConfig:
    """What the walk needs to know of a source: all that decides the evidence, and nothing else.

    ``dtype``: of the predictions, ``uint8 | uint16 | float16 | float32 | float64``; ``scale``: the
    probability of one step of integer predictions; ``kind``: ``probabilities | logits``; ``evidence``:
    the precision that is kept; ``sum_tolerance``: how far the sum over classes may lie from 1;
    ``lattice``: every how many rows and columns ``p_k`` is counted.
    """

    classes: int
    dtype: str
    scale: float
    kind: str
    evidence: Encoding
    sum_tolerance: float
    lattice: int = 4

    @property
    def codes_dtype(self) -> np.dtype[np.unsignedinteger]:
        """Unsigned integers of the predictions' width (of float32 for logits, which become float32)."""
        return np.dtype(f"uint{8 * self.values_dtype.itemsize}")

    @property
    def values_dtype(self) -> np.dtype[np.generic]:
        return np.dtype("float32" if self.kind == "logits" else self.dtype)

    @cached_property
    def bins(self) -> tuple[np.generic, NDArray[np.uint8]]:
        """(shift, table): the lattice's bin of a code, min(floor(256 p), 255), is table[code >> shift].

        The edges of the bins have eight significant bits: of wider floats the exponent and seven bits of the mantissa
        tell the bin exactly.
        """
        shift = self.codes_dtype.type({"f4": 16, "f8": 45}.get(self.values_dtype.str[1:], 0))
        if shift:
            codes = np.arange((int(self.greatest) >> int(shift)) + 1, dtype=self.codes_dtype) << shift
            values = codes.view(self.values_dtype).astype(np.float64)
        else:
            source = Encoding(str(self.values_dtype), self.scale)
            values = source.values(np.arange(source.top + 1))
        return shift, np.minimum(values * 256, 255).astype(np.uint8)

    @property
    def greatest(self) -> np.generic:
        """The code of probability 1: a value above it, by less than the tolerance, is kept as 1."""
        one = {"f2": 0x3C00, "f4": 0x3F800000, "f8": 0x3FF0000000000000}.get(self.values_dtype.str[1:])
        if one is None:
            one = min(int(np.iinfo(self.codes_dtype).max), _steps(1, self.scale))
        return self.codes_dtype.type(one)

    def limits(self) -> tuple[np.generic, np.generic, np.generic, np.generic]:
        """(top, zero, low, high): the largest code, and the least and largest sum, that pass unexamined.

        `zero` is an element of the summing dtype. Sums are integers, in steps of the scale, for integers; else floats,
        those of float16 times 2^-112 (see `walk`).
        """
        low, high = 1 - self.sum_tolerance, 1 + self.sum_tolerance
        code = self.codes_dtype.type
        if self.kind == "logits":  # a softmax sums to 1: NaN is found by its codes
            return self.greatest, np.float32(0), np.float32(0), np.float32(np.inf)
        if self.values_dtype.kind == "f":
            summing = np.float64 if self.dtype == "float64" else np.float32
            unit = 2.0**-112 if self.dtype == "float16" else 1.0
            # sums so near the edge that their rounding decides are examined in float64
            rounding = self.classes * 2 * float(np.finfo(summing).eps)
            return (self.greatest, summing(0), summing((low + rounding) * unit), summing((high - rounding) * unit))
        top = min(int(np.iinfo(self.dtype).max), _steps(1 + RANGE_TOLERANCE, self.scale))
        small = self.dtype == "uint8" and self.classes <= 257  # 257 * 255 is the last that fits 16 bits
        steps = np.uint16 if small else np.uint32 if self.classes <= 255 else np.uint64
        bound = int(np.iinfo(steps).max)
        return (
            code(top),
            steps(0),
            steps(min(bound, max(0, math.ceil(low / self.scale - 1e-9)))),
            steps(min(bound, _steps(high, self.scale))),
        )


def _steps(value: float, step: float) -> int:
    return math.floor(value / step + 1e-9)


@dataclass(frozen=True)
class BadPixel:
    """The first pixel of a slab, in row-major order, that holds no probabilities: its place and all K values."""

    y: int
    x: int
    values: NDArray[np.float64]
    message: str


PlaneBuffers = tuple[NDArray[np.unsignedinteger], NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]]
"""Where the evidence of a slab may be written: its three planes in the order of `CondensedWindow`, C-contiguous."""


@dataclass
class CondensedWindow:
    """What a slab was condensed to: codes of the evidence (h, w) and counts (K, 256) of its lattice pixels."""

    self_confidence: NDArray[np.unsignedinteger]
    predicted_class: NDArray[np.unsignedinteger]
    predicted_confidence: NDArray[np.unsignedinteger]
    grid_labeled: NDArray[np.int64]
    grid_all: NDArray[np.int64]


Remap = tuple[tuple[int, int], ...]
"""Label values and what they stand for: a class number or an ignore value."""


def class_plane(
    labels: NDArray[np.integer],
    classes: int,
    ignore: tuple[int, ...],
    remap: Remap = (),
    out: NDArray[np.unsignedinteger] | None = None,
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.bool_] | None]:
    """Labels of any integer dtype and shape as class numbers (see `class_dtype`), and where they are no label (None
    where all are).

    A value that is both a class number and an ignore value is ignored. With a ``remap`` no other values are labels than
    those it names and the ignore values. ``out``: memory of that shape and dtype, which is used if it is C-contiguous.
    """
    labels, dtype = _native(labels), class_dtype(classes)
    bad = np.iinfo(dtype).max - 1
    if labels.dtype == np.uint8 and not remap:
        plane = out if out is not None and out.flags.c_contiguous else np.empty(labels.shape, dtype)
        values = np.array(sorted({value for value in ignore if 0 <= value <= 255}), np.uint8)
        if not map_byte_labels(np.ascontiguousarray(labels).reshape(-1), classes, values, bad, plane.reshape(-1)):
            return plane, None
    elif labels.dtype.itemsize <= 2:
        span = 1 << (8 * labels.dtype.itemsize)
        names = np.arange(span).astype(labels.dtype, casting="unsafe")  # index: the bits, name: the value
        table = _numbered(names, classes, ignore, remap)
        plane = np.empty(labels.shape, dtype)
        found = map_labels(
            np.ascontiguousarray(labels).view(f"u{labels.dtype.itemsize}").reshape(-1), table, plane.reshape(-1), bad
        )
        if not found:
            return plane, None
    else:
        plane = _numbered(labels, classes, ignore, remap)
    wrong = np.asarray(plane == bad)
    return plane, wrong if wrong.any() else None


def _numbered(
    values: NDArray[np.integer], classes: int, ignore: tuple[int, ...], remap: Remap
) -> NDArray[np.unsignedinteger]:
    """Class numbers of label values of any shape: the dtype's maximum of ignored ones, one less of what is no label."""
    dtype = class_dtype(classes)
    ignored, bad = dtype.type(np.iinfo(dtype).max), dtype.type(np.iinfo(dtype).max - 1)
    if remap:
        numbers: NDArray[np.unsignedinteger] = np.full(values.shape, bad)
    else:
        numbers = np.where((values >= 0) & (values < classes), values.astype(dtype, casting="unsafe"), bad)
    numbers[np.isin(values, ignore)] = ignored
    for value, meant in remap:
        numbers[values == value] = ignored if meant in ignore else dtype.type(meant)
    return numbers


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """The array in this machine's byte order: stores may hold the other one."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def condense_window(
    predictions: NDArray[np.generic],
    labels: NDArray[np.unsignedinteger],
    recipe: CondenseConfig,
    y0: int = 0,
    x0: int = 0,
    into: PlaneBuffers | None = None,
) -> CondensedWindow | BadPixel:
    """Condense one slab: predictions (K, h, w) of ``recipe.dtype`` and the class plane (h, w) of its labels.

    ``y0, x0``: where the slab lies in its image (the lattice is the image's). ``into``: planes that may be written in
    place of new ones, whatever the answer. Ties of the argmax go to the lowest class; the self-confidence of ignored
    pixels is 0. Values outside [0, 1] by at most 1e-3 are clipped; the first pixel with worse ones, or with a sum that
    is off, is answered instead.
    """
    if recipe.kind == "logits":
        return _condense_logits(predictions, labels, recipe, y0, x0, into)
    flat = np.ascontiguousarray(_native(predictions)).reshape(recipe.classes, -1)
    slab = _walk(flat, labels, recipe, recipe.limits(), y0, x0, into)
    if slab is not None:
        return slab
    bad = _examine(flat, labels.shape[1], recipe)
    if bad is not None:
        return bad
    clipped = np.clip(flat, 0, 1) + flat.dtype.type(0) if recipe.values_dtype.kind == "f" else flat
    top, zero, _, _ = recipe.limits()
    most = np.inf if zero.dtype.kind == "f" else _greatest(zero.dtype)
    slab = _walk(clipped, labels, recipe, (_largest(recipe, top), zero, zero, zero.dtype.type(most)), y0, x0)
    assert slab is not None, "a slab that was examined pixel by pixel cannot be bad"
    return slab


def _largest(recipe: CondenseConfig, top: np.generic) -> np.generic:
    return top if recipe.values_dtype.kind == "f" else top.dtype.type(_greatest(top.dtype))


def _greatest(dtype: np.dtype[Any]) -> int:
    """The greatest number of an unsigned dtype."""
    return (1 << 8 * dtype.itemsize) - 1


def _walk(
    flat: NDArray[np.generic],
    labels: NDArray[np.unsignedinteger],
    recipe: CondenseConfig,
    limits: tuple[np.generic, np.generic, np.generic, np.generic],
    y0: int,
    x0: int,
    into: PlaneBuffers | None = None,
) -> CondensedWindow | None:
    codes = flat.view(recipe.codes_dtype)
    top, zero, low, high = limits
    shape, pixels = labels.shape, labels.size
    tile = min(pixels, TILE)
    own, every = np.zeros((recipe.classes, 256), np.uint32), np.zeros((-(-recipe.classes // 4) * 4, 256), np.uint32)
    double = recipe.values_dtype == np.float64  # the one that the walk itself does not round to the evidence
    if into is None or double:
        kept = recipe.codes_dtype if double else recipe.evidence.codes_dtype
        into = (np.empty(pixels, kept), np.empty(pixels, class_dtype(recipe.classes)), np.empty(pixels, kept))
    self_confidence, predicted, confidence = (plane.reshape(-1) for plane in into)
    walk = CONDENSE_LOOPS[_MODES.get(str(recipe.values_dtype), INTEGER)]
    leaders = np.empty(tile, max(recipe.codes_dtype, predicted.dtype, key=lambda dtype: dtype.itemsize))
    highest, at_label = (np.empty(tile, recipe.codes_dtype) for _ in range(2))
    suspicious = walk(
        codes,
        labels.reshape(-1),
        top,
        low,
        high,
        recipe.greatest,
        shape[1],
        recipe.lattice,
        y0,
        x0,
        *recipe.bins,
        self_confidence,
        predicted,
        confidence,
        np.empty(tile, zero.dtype),
        leaders,
        highest,
        at_label,
        np.empty(tile, np.uint32),
        own,
        every,
    )
    if suspicious:
        return None
    if double:
        self_confidence, confidence = (
            plane.view(np.float64).astype(recipe.evidence.dtype).view(recipe.evidence.codes_dtype)
            for plane in (self_confidence, confidence)
        )
    return CondensedWindow(
        self_confidence.reshape(shape),
        predicted.reshape(shape),
        confidence.reshape(shape),
        own.astype(np.int64),
        every[: recipe.classes].astype(np.int64),
    )


def _examine(flat: NDArray[np.generic], width: int, recipe: CondenseConfig) -> BadPixel | None:
    """The first bad pixel of a slab, in float64, strip by strip: the slow look at what the walk found odd."""
    for first in range(0, flat.shape[1], _EXAMINE_PIXELS):
        values = flat[:, first : first + _EXAMINE_PIXELS].astype(np.float64)
        if recipe.values_dtype.kind == "u":
            values *= recipe.scale
        with np.errstate(invalid="ignore", over="ignore"):
            total: NDArray[np.float64] = values.sum(axis=0)
            infinite = np.asarray(np.logical_not(np.isfinite(values)).any(axis=0))
            outside = np.asarray(((values < -RANGE_TOLERANCE) | (values > 1 + RANGE_TOLERANCE)).any(axis=0))
            off = ~(np.abs(total - 1) <= recipe.sum_tolerance + 1e-12)
        bad = np.flatnonzero(infinite | outside | off)
        if bad.size:
            j = int(bad[0])
            if infinite[j]:
                fact = "not all values are finite"
            elif outside[j]:
                fact = "a value lies outside [0, 1]"
            else:
                fact = f"the values sum to {total[j]:.6g}, more than {recipe.sum_tolerance:.4g} away from 1"
            y, x = divmod(first + j, width)
            return BadPixel(y, x, values[:, j], fact)
    return None


def _condense_logits(
    logits: NDArray[np.generic],
    labels: NDArray[np.unsignedinteger],
    recipe: CondenseConfig,
    y0: int,
    x0: int,
    into: PlaneBuffers | None,
) -> CondensedWindow | BadPixel:
    """Softmax over the classes in float32, a strip of rows at a time, so that no second prediction is held."""
    height, width = labels.shape
    flat = np.ascontiguousarray(_native(logits)).reshape(recipe.classes, -1)
    codes = recipe.evidence.codes_dtype
    if into is None:
        into = (
            np.empty(labels.shape, codes),
            np.empty(labels.shape, class_dtype(recipe.classes)),
            np.empty(labels.shape, codes),
        )
    rows = max(1, _STRIP_PIXELS // width)
    buffer = np.empty((recipe.classes, min(rows, height) * width), np.float32)
    own, every = (np.zeros((recipe.classes, 256), np.int64) for _ in range(2))
    for y in range(0, height, rows):
        strip = slice(y, min(y + rows, height))
        first, last = strip.start * width, strip.stop * width
        source, start = flat, first
        if flat.dtype != np.float32:
            with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is found so
                source, start = flat[:, first:last].astype(np.float32), 0
        if last - first < buffer.shape[1]:
            buffer = np.empty((recipe.classes, last - first), np.float32)
        if not softmax(source, start, buffer):
            j = int(np.flatnonzero(~np.isfinite(source[:, start : start + last - first]).all(axis=0))[0])
            return BadPixel(
                y + j // width, j % width, flat[:, first + j].astype(np.float64), "not all logits are finite"
            )
        planes = (into[0][strip], into[1][strip], into[2][strip])
        part = _walk(buffer, labels[strip], recipe, recipe.limits(), y0 + y, x0, planes)
        assert part is not None, "a softmax of finite logits is finite"
        own += part.grid_labeled
        every += part.grid_all
    return CondensedWindow(*into, own, every)
