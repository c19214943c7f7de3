"""Condense the K probability planes of an image to three evidence planes, and validate them in the same pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.limits import RANGE_TOLERANCE
from masksift.scoring.kernels.condense_loops import (
    DOUBLE,
    HALF,
    INTEGER,
    SINGLE,
    TILE_PIXELS,
    map_byte_labels,
    map_labels,
    softmax,
    softmax_scratch,
)
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.image_loops import IMAGE_LOOPS, softmax_images

_STRIP_PIXELS = 1 << 15
"""Pixels of logits that become probabilities at a time: few enough to stay in the cache until they are condensed."""
_SEARCH_PIXELS = 1 << 16
_MODES = {"float16": HALF, "float32": SINGLE, "float64": DOUBLE}
_NARROW = ("uint8", "uint16", "float16")


def is_compiled() -> bool:
    """Return whether a process of this machine has begun to compile the kernels of this version."""
    return any(loop._cache.was_used for loop in IMAGE_LOOPS.values())


def class_dtype(classes: int) -> np.dtype[np.unsignedinteger]:
    """Return the dtype of class planes: uint8 up to 254 classes, else uint16.

    Its two largest numbers are no classes: the largest marks ignored pixels, the next one invalid labels.
    """
    return np.dtype(np.uint8 if classes <= 254 else np.uint16)


def evidence_dtype(dtype: str, prediction_kind: str, requested: str) -> str:
    """Return the dtype of stored confidences.

    8- and 16-bit probabilities keep their dtype. Wider ones and logits become float16, or what is requested.
    """
    if prediction_kind == "probabilities" and dtype in _NARROW:
        return dtype
    return "float16" if requested == "auto" else requested


def default_sum_tolerance(classes: int, step: float) -> float:
    """Return how far a sum over classes may be from 1: 0.02, and half a step of integers (0: floats) per class more."""
    return 0.02 + classes * abs(step) / 2


@dataclass(frozen=True)
class CondenseConfig:
    """Settings that decide the evidence of a source.

    Attributes:
        classes: K.
        dtype: Dtype of the predictions: uint8, uint16, float16, float32 or float64.
        scale: Probability of one step of integer predictions.
        prediction_kind: "probabilities" or "logits".
        evidence: Precision of the stored confidences.
        sum_tolerance: Largest distance of a pixel's sum over classes from 1.
        lattice: Distance of the rows and columns where the probabilities of all classes are counted; 0 for none.
        missing: Stored numbers that became NaN because they mean a missing value; named in messages.
    """

    classes: int
    dtype: str
    scale: float
    prediction_kind: str
    evidence: Encoding
    sum_tolerance: float
    lattice: int = 4
    missing: tuple[float, ...] = ()

    @classmethod
    def for_predictions(
        cls,
        classes: int,
        dtype: str,
        prediction_kind: str = "probabilities",
        scale: float | None = None,
        sum_tolerance: float | None = None,
        requested_evidence: str = "auto",
        lattice: int = 4,
    ) -> CondenseConfig:
        """Fill in the defaults for predictions of a dtype; ``scale`` is for integers only."""
        integers = dtype.startswith("uint")
        step = (scale or 1 / np.iinfo(dtype).max) if integers else 1.0
        encoding = Encoding(evidence_dtype(dtype, prediction_kind, requested_evidence), step)
        tolerance = (
            default_sum_tolerance(classes, step if integers else 0.0) if sum_tolerance is None else sum_tolerance
        )
        return cls(classes, dtype, step, prediction_kind, encoding, tolerance, lattice)

    @property
    def not_finite(self) -> str:
        """Message about a pixel with values that are not finite."""
        values = "logits" if self.prediction_kind == "logits" else "values"
        stored = ", ".join(f"{number:g}" for number in self.missing)
        return f"not all {values} are finite" + (f" (_FillValue {stored} means a missing value)" if stored else "")

    @property
    def codes_dtype(self) -> np.dtype[np.unsignedinteger]:
        """Unsigned dtype as wide as the predictions (as float32 for logits, which are converted to it)."""
        return np.dtype(f"uint{8 * self.values_dtype.itemsize}")

    @property
    def values_dtype(self) -> np.dtype[np.generic]:
        """Dtype of the probabilities that are condensed."""
        return np.dtype("float32" if self.prediction_kind == "logits" else self.dtype)

    @cached_property
    def bins(self) -> tuple[np.generic, NDArray[np.uint8]]:
        """Shift and table of the lattice histograms: the bin min(floor(256 p), 255) of a code is table[code >> shift].

        The edges of the bins have eight significant bits: of wider floats the exponent and seven bits of the mantissa
        determine the bin exactly.
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
        """Code of probability 1. A value above it, within the tolerance, is stored as 1."""
        one = {"f2": 0x3C00, "f4": 0x3F800000, "f8": 0x3FF0000000000000}.get(self.values_dtype.str[1:])
        if one is None:
            one = min(int(np.iinfo(self.codes_dtype).max), _steps(1, self.scale))
        return self.codes_dtype.type(one)

    def limits(self) -> tuple[np.generic, np.generic, np.generic, np.generic]:
        """Return (top, zero, low, high): the largest code and the range of sums that pass without a closer check.

        ``zero`` is an element of the dtype of the sums. Sums of integers are integers, in steps of the scale. Other
        sums are floats, those of float16 times 2^-112 (`condense_loops`).
        """
        low, high = 1 - self.sum_tolerance, 1 + self.sum_tolerance
        code = self.codes_dtype.type
        if self.prediction_kind == "logits":  # a softmax sums to 1: the codes reveal NaN
            return self.greatest, np.float32(0), np.float32(0), np.float32(np.inf)
        if self.values_dtype.kind == "f":
            summing = np.float64 if self.dtype == "float64" else np.float32
            unit = 2.0**-112 if self.dtype == "float16" else 1.0
            # a closer check in float64 decides about sums so near the edge that their rounding matters
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
    """First invalid pixel of a window in row-major order: its position, its K values and what is wrong."""

    y: int
    x: int
    values: NDArray[np.float64]
    message: str


PlaneBuffers = tuple[NDArray[np.unsignedinteger], NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]]
"""Output planes in the order of `CondensedWindow`, C-contiguous."""

LatticeCounts = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Histograms (K, 256) of the lattice pixels: of p_k of those labeled k, and of all valid ones."""


@dataclass
class CondensedWindow:
    """Evidence codes (h, w) of a window and the histograms (K, 256) of its lattice pixels."""

    self_confidence: NDArray[np.unsignedinteger]
    predicted_class: NDArray[np.unsignedinteger]
    predicted_confidence: NDArray[np.unsignedinteger]
    grid_labeled: NDArray[np.int64]
    grid_all: NDArray[np.int64]


Remap = tuple[tuple[int, int], ...]
"""Pairs of a label value and the class number or ignore value it stands for."""


def class_plane(
    labels: NDArray[np.integer],
    classes: int,
    ignore: tuple[int, ...],
    remap: Remap = (),
    offset: int = 0,
    out: NDArray[np.unsignedinteger] | None = None,
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.bool_] | None]:
    """Convert labels to class numbers.

    A value that is both a class number and an ignore value is ignored.

    Args:
        labels: Labels of bool or any integer dtype, and of any shape.
        classes: Number of classes.
        ignore: Label values that mark ignored pixels.
        remap: If not empty, the only valid label values besides the ignore values.
        offset: Label value of class 0, without remap.
        out: Output array of that shape and `class_dtype`, used if it is C-contiguous.

    Returns:
        The class numbers, and a mask of the invalid labels, None if all are valid.
    """
    labels, dtype = _to_native_order(labels), class_dtype(classes)
    if labels.dtype == bool:
        labels = labels.view(np.uint8)
    bad = np.iinfo(dtype).max - 1
    if labels.dtype == np.uint8 and not remap and not offset:
        plane = out if out is not None and out.flags.c_contiguous else np.empty(labels.shape, dtype)
        values = np.array(sorted({value for value in ignore if 0 <= value <= 255}), np.uint8)
        if not map_byte_labels(np.ascontiguousarray(labels).reshape(-1), classes, values, bad, plane.reshape(-1)):
            return plane, None
    elif labels.dtype.itemsize <= 2:
        bits = np.dtype(f"u{labels.dtype.itemsize}")
        every = np.arange(1 << 8 * bits.itemsize).astype(bits).view(labels.dtype)
        table = _map_values(every, classes, ignore, remap, offset)
        plane = np.empty(labels.shape, dtype)
        if not map_labels(np.ascontiguousarray(labels).view(bits).reshape(-1), table, plane.reshape(-1), bad):
            return plane, None
    else:
        plane = _map_values(labels, classes, ignore, remap, offset)
    wrong = np.asarray(plane == bad)
    return plane, wrong if wrong.any() else None


def _map_values(
    values: NDArray[np.integer], classes: int, ignore: tuple[int, ...], remap: Remap, offset: int
) -> NDArray[np.unsignedinteger]:
    dtype = class_dtype(classes)
    ignored, bad = dtype.type(np.iinfo(dtype).max), dtype.type(np.iinfo(dtype).max - 1)
    if remap:
        numbers: NDArray[np.unsignedinteger] = np.full(values.shape, bad)
    else:
        numbers = values.astype(dtype, casting="unsafe")
        if offset:  # modular arithmetic: each step may wrap around, but not their sum
            numbers -= dtype.type(offset & int(np.iinfo(dtype).max))
        numbers[(values < offset) | (values >= classes + offset)] = bad
    numbers[np.isin(values, ignore)] = ignored
    for value, target in remap:
        numbers[values == value] = ignored if target in ignore else dtype.type(target)
    return numbers


def _to_native_order(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def condense_window(
    predictions: NDArray[np.generic],
    labels: NDArray[np.unsignedinteger],
    config: CondenseConfig,
    y0: int = 0,
    x0: int = 0,
    out: PlaneBuffers | None = None,
) -> CondensedWindow | BadPixel:
    """Condense one window of an image.

    Any division of an image into windows gives the same planes, counts and statuses. Ties of the argmax go to the
    lowest class. The self-confidence of ignored pixels is 0. Values outside [0, 1] by at most 1e-3 are clipped.

    Args:
        predictions: Predictions (K, h, w) of ``config.dtype``.
        labels: Class plane (h, w).
        config: Settings of the source.
        y0: First row of the window in its image, which fixes the lattice.
        x0: First column of the window in its image.
        out: Planes that may be overwritten, whatever the result.

    Returns:
        The evidence, or the first pixel with values out of range or a sum too far from 1.
    """
    if config.prediction_kind == "logits":
        return _condense_logits(predictions, labels, config, y0, x0, out)
    flat = np.ascontiguousarray(_to_native_order(predictions)).reshape(config.classes, -1)
    top, zero, low, high = config.limits()
    window = _run_loop(flat, labels, config, (top, zero, low, high), y0, x0, out)
    if window is not None:
        return window
    bad = _find_bad_pixel(flat, labels.shape[1], config)
    if bad is not None:
        return bad
    if config.values_dtype.kind == "f":
        flat = np.clip(flat, 0, 1) + flat.dtype.type(0)  # -0.0 becomes 0.0, whose code is 0
    else:
        top = top.dtype.type(_greatest(top.dtype))
    most = np.inf if zero.dtype.kind == "f" else _greatest(zero.dtype)
    window = _run_loop(flat, labels, config, (top, zero, zero, zero.dtype.type(most)), y0, x0)
    assert window is not None, "every pixel passed the closer check"
    return window


def _greatest(dtype: np.dtype[Any]) -> int:
    return (1 << 8 * dtype.itemsize) - 1


def _run_loop(
    flat: NDArray[np.generic],
    labels: NDArray[np.unsignedinteger],
    config: CondenseConfig,
    limits: tuple[np.generic, np.generic, np.generic, np.generic],
    y0: int,
    x0: int,
    out: PlaneBuffers | None = None,
) -> CondensedWindow | None:
    """Condense (K, P) values, or return None if a code or a sum is beyond the limits."""
    if out is None:
        codes, shape = config.evidence.codes_dtype, labels.shape
        out = (np.empty(shape, codes), np.empty(shape, class_dtype(config.classes)), np.empty(shape, codes))
    own, predicted, confidence = (plane[np.newaxis] for plane in out)
    state = np.zeros(1, np.uint8)
    counts = _run_loops(
        flat[np.newaxis], labels[np.newaxis], config, limits, (y0, x0), (own, predicted, confidence), state
    )
    return None if state[0] else CondensedWindow(*out, *counts)


def _run_loops(
    flat: NDArray[np.generic],
    labels: NDArray[np.unsignedinteger],
    config: CondenseConfig,
    limits: tuple[np.generic, np.generic, np.generic, np.generic],
    corner: tuple[int, int],
    out: PlaneBuffers,
    state: NDArray[np.uint8],
) -> LatticeCounts:
    """Condense (n, K, P) values to planes (n, h, w), and set ``state`` where a code or a sum is beyond the limits."""
    top, zero, low, high = limits
    images, _, width = labels.shape
    pixels = flat.shape[2]
    tile = min(pixels, TILE_PIXELS)
    padded = -(-config.classes // 4) * 4
    labeled, every = (np.zeros((2, rows, 256), np.uint32) for rows in (config.classes, padded))
    double = config.values_dtype == np.float64  # the loop does not round it to the evidence's precision
    self_confidence, predicted, confidence = (plane.reshape(images, pixels) for plane in out)
    if double:
        own, best = (np.empty((images, pixels), config.codes_dtype) for _ in range(2))
    else:
        own, best = self_confidence, confidence
    IMAGE_LOOPS[_MODES.get(str(config.values_dtype), INTEGER)](
        flat.view(config.codes_dtype),
        labels.reshape(images, pixels),
        state,
        top,
        low,
        high,
        config.greatest,
        width,
        config.lattice,
        *corner,
        *config.bins,
        own,
        predicted,
        best,
        np.empty(tile, zero.dtype),
        np.empty(tile, max(config.codes_dtype, predicted.dtype, key=lambda dtype: dtype.itemsize)),
        np.empty(tile, config.codes_dtype),
        np.empty(tile, config.codes_dtype),
        np.empty(tile, np.uint32),
        labeled[0],
        every[0],
        labeled[1],
        every[1],
    )
    if double:
        with np.errstate(all="ignore"):  # undefined numbers of images that failed
            for wide, plane in ((own, self_confidence), (best, confidence)):
                plane[...] = wide.view(np.float64).astype(config.evidence.dtype).view(config.evidence.codes_dtype)
    return labeled[1].astype(np.int64), every[1, : config.classes].astype(np.int64)


def condense_whole_images(
    predictions: NDArray[np.generic],
    labels: NDArray[np.unsignedinteger],
    config: CondenseConfig,
    out: PlaneBuffers,
    state: NDArray[np.uint8],
) -> LatticeCounts:
    """Condense whole images, as `condense_window` does one.

    Args:
        predictions: Predictions (n, K, H, W) of ``config.dtype``.
        labels: Class planes (n, H, W), C-contiguous.
        config: Settings of the source.
        out: Output planes (n, H, W).
        state: Images to leave out hold 1, others 0, (n,). Set to 2 for an image that `condense_window` must check, or
            must divide into strips; its planes are undefined, and it is not counted.

    Returns:
        The counts of all images that are condensed.
    """
    images, height, width = labels.shape
    counts = (np.zeros((config.classes, 256), np.int64), np.zeros((config.classes, 256), np.int64))
    flat = np.ascontiguousarray(_to_native_order(predictions)).reshape(images, config.classes, height * width)
    is_logits = config.prediction_kind == "logits"
    if is_logits and height * width > _STRIP_PIXELS:
        state[state == 0] = 2
        return counts
    step = max(1, _STRIP_PIXELS // (height * width)) if is_logits else images
    for first in range(0, images, step):
        part = slice(first, first + step)
        failed, values = (state[part] != 0).astype(np.uint8), flat[part]
        if is_logits:
            with np.errstate(over="ignore"):  # softmax rejects the infinity that a large float64 becomes
                logits = values.astype(np.float32, copy=False)
            values = np.empty(logits.shape, np.float32)
            softmax_images(logits, failed, values, *softmax_scratch())
        planes = (out[0][part], out[1][part], out[2][part])
        for total, more in zip(
            counts, _run_loops(values, labels[part], config, config.limits(), (0, 0), planes, failed), strict=True
        ):
            total += more
        state[part][(failed != 0) & (state[part] == 0)] = 2
    return counts


def _find_bad_pixel(flat: NDArray[np.generic], width: int, config: CondenseConfig) -> BadPixel | None:
    """Check (K, P) values in float64 and return the first invalid pixel."""
    for first in range(0, flat.shape[1], _SEARCH_PIXELS):
        values = flat[:, first : first + _SEARCH_PIXELS].astype(np.float64)
        if config.values_dtype.kind == "u":
            values *= config.scale
        with np.errstate(invalid="ignore", over="ignore"):
            total: NDArray[np.float64] = values.sum(axis=0)
            infinite = np.asarray(np.logical_not(np.isfinite(values)).any(axis=0))
            outside = np.asarray(((values < -RANGE_TOLERANCE) | (values > 1 + RANGE_TOLERANCE)).any(axis=0))
            off = ~(np.abs(total - 1) <= config.sum_tolerance + 1e-12)
        bad = np.flatnonzero(infinite | outside | off)
        if bad.size:
            j = int(bad[0])
            if infinite[j]:
                message = config.not_finite
            elif outside[j]:
                message = "a value is outside [0, 1]"
                if config.values_dtype.kind == "f" and config.classes == 2:  # a single logit is completed to a sum of 1
                    message += " (if these are logits, set kind to logits)"
            else:
                message = f"the values sum to {total[j]:.6g}, more than {config.sum_tolerance:.4g} away from 1"
            y, x = divmod(first + j, width)
            return BadPixel(y, x, values[:, j], message)
    return None


def _condense_logits(
    logits: NDArray[np.generic],
    labels: NDArray[np.unsignedinteger],
    config: CondenseConfig,
    y0: int,
    x0: int,
    out: PlaneBuffers | None,
) -> CondensedWindow | BadPixel:
    """Apply softmax in float32 and condense, a strip of rows at a time to avoid a second copy of the prediction."""
    height, width = labels.shape
    flat = np.ascontiguousarray(_to_native_order(logits)).reshape(config.classes, -1)
    codes = config.evidence.codes_dtype
    if out is None:
        numbers = np.empty(labels.shape, class_dtype(config.classes))
        out = (np.empty(labels.shape, codes), numbers, np.empty(labels.shape, codes))
    rows = max(1, _STRIP_PIXELS // width)
    buffer = np.empty((config.classes, min(rows, height) * width), np.float32)
    labeled, every = (np.zeros((config.classes, 256), np.int64) for _ in range(2))
    for y in range(0, height, rows):
        strip = slice(y, min(y + rows, height))
        first, last = strip.start * width, strip.stop * width
        source, start = flat, first
        if flat.dtype != np.float32:
            with np.errstate(over="ignore"):  # softmax rejects the infinity that a large float64 becomes
                source, start = flat[:, first:last].astype(np.float32), 0
        if last - first < buffer.shape[1]:
            buffer = np.empty((config.classes, last - first), np.float32)
        if not softmax(source, start, buffer):
            j = int(np.flatnonzero(~np.isfinite(source[:, start : start + last - first]).all(axis=0))[0])
            values = flat[:, first + j].astype(np.float64)
            return BadPixel(y + j // width, j % width, values, config.not_finite)
        planes = (out[0][strip], out[1][strip], out[2][strip])
        window = _run_loop(buffer, labels[strip], config, config.limits(), y0 + y, x0, planes)
        assert window is not None, "a softmax of finite logits is finite"
        labeled += window.grid_labeled
        every += window.grid_all
    return CondensedWindow(*out, labeled, every)
