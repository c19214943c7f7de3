"""Read the stored predictions and labels of one image, and decode them in plain NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax as softmax_in_float64

from masksift.core.specs import ArraySpec, EnsembleMember, Packing, SourceSpec
from masksift.core.status import (
    ALL_IGNORED,
    BAD_LABELS,
    BAD_PROBABILITIES,
    MISSING_CHUNK,
    SCORED,
    STATUSES,
    UNREADABLE,
)
from masksift.review.verify.reference import IGNORED, Image, Precision
from masksift.storage.zarr.per_image import image_sizes
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.validation import ChunkDecodeError, MissingChunkError

_OUTSIDE = 1e-3
"""Accepted distance of a probability from [0, 1]."""
_STRIP_VALUES = 1 << 22
"""Logits whose softmax is computed at a time."""

Place = tuple[int, int]


@dataclass(frozen=True)
class ReadImage:
    """One image as it is stored.

    Attributes:
        size: Rows and columns without padding, within those that are stored.
        status: Status by its content.
        place: First invalid pixel (y, x) of bad labels or probabilities.
        image: Its evidence; None unless the status is `scored`.
        p: Predictions (K, H, W), unsigned integers or floats; likewise.
        softmax_error: Largest difference between the softmax in float32 and in float64; 0 for probabilities.
    """

    size: tuple[int, int]
    status: str
    place: Place | None = None
    image: Image | None = None
    p: NDArray[Any] | None = None
    softmax_error: float = 0.0


class ImageReader:
    """Read the images of one source.

    Args:
        spec: The source.
        evidence_dtype: Precision of its evidence.
        options: Storage options.

    Raises:
        FileNotFoundError: An array does not exist any more.
    """

    def __init__(self, spec: SourceSpec, evidence_dtype: str, options: Mapping[str, Any]) -> None:
        self._spec, self._options = spec, options
        self._precision = Precision(evidence_dtype, spec.scale)
        self._labels = ArrayReader(spec.labels, options, absent_is_missing=spec.absent_labels_are_missing)
        self._predictions = [ArrayReader(array.stored, options) for array in spec.prediction_arrays]

    @property
    def bytes(self) -> int:
        """Bytes read from the stores."""
        return sum(reader.bytes for reader in (self._labels, *self._predictions))

    def read(self, index: int) -> ReadImage:
        """Read an image."""
        spec = self._spec
        height, width = image_sizes(spec, index, index + 1, self._options)[0].tolist()
        size = (height, width)
        shown = (min(max(height, 0), spec.height), min(max(width, 0), spec.width))
        found: list[tuple[str, Place | None]] = []
        labels = self._read_labels(index, size, found)
        p, error = self._read_predictions(index, size, found)
        if labels is not None and p is not None and not found and (labels == IGNORED).all():
            found.append((ALL_IGNORED, None))
        if found or labels is None or p is None:
            status, place = min(found, key=lambda problem: STATUSES.index(problem[0]))
            return ReadImage(shown, status, place)
        return ReadImage(shown, SCORED, None, Image.from_predictions(p, labels, self._precision), p, error)

    def read_neighbor(self, index: int) -> Image | None:
        """Return the evidence of an image, None if there is no such image or it is not scored."""
        return self.read(index).image if 0 <= index < self._spec.images else None

    def lattice(self, p: NDArray[Any], step: int) -> NDArray[np.float64]:
        """Return the probabilities (K, h, w) in every ``step``-th row and column."""
        values = p[:, ::step, ::step]
        return self._precision.value(values) if p.dtype.kind == "u" else values.astype(np.float64)

    def stored_probabilities(self, p: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probabilities of predictions at the precision of the evidence."""
        return self._precision.value(self._precision.store(p))

    def _read_labels(
        self, index: int, size: tuple[int, int], found: list[tuple[str, Place | None]]
    ) -> NDArray[np.int64] | None:
        """Return the class of each pixel, and add what is wrong with the labels to ``found``."""
        spec = self._spec
        stored = self._read_array(self._labels, spec.labels, index, found)
        if not (0 < size[0] <= spec.height and 0 < size[1] <= spec.width):
            found.append((BAD_LABELS, None))
            return None
        if stored is None:
            return None
        labels = stored[: size[0], : size[1]].astype(np.int64)
        classes, bad = class_numbers(labels, spec.classes, spec.ignore, spec.remap, spec.label_offset)
        if bad.any():
            found.append((BAD_LABELS, first_place(bad)))
        return classes

    def _read_predictions(
        self, index: int, size: tuple[int, int], found: list[tuple[str, Place | None]]
    ) -> tuple[NDArray[Any] | None, float]:
        """Return the predictions, of an ensemble their mean, and the error of the softmax in float32."""
        spec = self._spec
        members: tuple[SourceSpec | EnsembleMember, ...] = spec.members or (spec,)
        rows, columns = np.clip(size, 1, (spec.height, spec.width)).tolist()
        mean, error, bad, complete = None, 0.0, None, True
        for member, reader in zip(members, self._predictions, strict=True):
            stored = self._read_array(reader, member.predictions.stored, index, found)
            complete = complete and stored is not None
            if stored is None or bad is not None:
                continue
            p = decode(stored, member.predictions, member.prediction_kind, member.scale)[:, :rows, :columns]
            bad = first_invalid(p, member.prediction_kind, member.scale, member.sum_tolerance)
            if bad is not None:
                continue
            if member.prediction_kind == "logits":
                p, own_error = softmax(p)
                error = max(error, own_error)
            if spec.members:  # a float32 sum in the order of the members
                step = member.scale if p.dtype.kind == "u" else 1.0
                p = np.clip(p.astype(np.float32) * np.float32(step), 0, 1)
                mean = p if mean is None else mean + p
            else:
                mean = p
        if bad is not None:
            found.append((BAD_PROBABILITIES, bad))
        if mean is None or bad is not None or not complete:
            return None, error
        return mean / np.float32(len(members)) if spec.members else mean, error

    def _read_array(
        self, reader: ArrayReader, array: ArraySpec, index: int, found: list[tuple[str, Place | None]]
    ) -> NDArray[Any] | None:
        """Return one image with its padding, or add the reason why it cannot be read to ``found``."""
        try:
            image: NDArray[Any] = reader.read(slice(index, index + 1), *(slice(0, n) for n in array.shape[1:]))[0]
            return image
        except MissingChunkError:
            found.append((MISSING_CHUNK, None))
        except ChunkDecodeError:
            found.append((UNREADABLE, None))
        return None


def first_place(bad: NDArray[np.bool_]) -> Place:
    """Return row and column of the first True."""
    y, x = np.unravel_index(int(bad.argmax()), bad.shape)
    return int(y), int(x)


def class_numbers(
    labels: NDArray[np.int64],
    classes: int,
    ignore: tuple[int, ...],
    remap: tuple[tuple[int, int], ...],
    offset: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the class of each stored label, `IGNORED` for ignore values, and the mask of invalid labels."""
    ignored = np.isin(labels, ignore)
    if not remap:
        numbers = labels - offset
        bad = ~ignored & ((numbers < 0) | (numbers >= classes))
        return np.where(ignored | bad, IGNORED, numbers), bad
    numbers, bad = np.full(labels.shape, IGNORED, np.int64), ~ignored
    for value, target in remap:
        here = labels == value
        numbers[here] = IGNORED if target in ignore else target
        bad &= ~here
    return numbers, bad


def first_invalid(p: NDArray[Any], kind: str, scale: float, tolerance: float) -> Place | None:
    """Return the first pixel of predictions (K, H, W) that is not finite, outside [0, 1] or does not sum to 1."""
    if kind == "logits":
        with np.errstate(over="ignore"):
            bad = np.asarray(~np.isfinite(p.astype(np.float32)).all(axis=0))
    else:
        step = scale if p.dtype.kind == "u" else 1.0
        with np.errstate(invalid="ignore", over="ignore"):
            total = p.sum(axis=0, dtype=np.float64) * step
            least, most = p.min(axis=0) * np.float64(step), p.max(axis=0) * np.float64(step)
            inside = (least >= -_OUTSIDE) & (most <= 1 + _OUTSIDE)  # False for NaN
            bad = np.asarray(~(inside & (np.abs(total - 1) <= tolerance + 1e-12)))
    return first_place(bad) if bad.any() else None


def decode(stored: NDArray[Any], array: ArraySpec, kind: str, scale: float) -> NDArray[Any]:
    """Return predictions (K, H, W) from stored numbers (classes, h, w), or (h, w) of the positive class of two."""
    planes = stored.reshape(-1, *stored.shape[-2:])
    if array.decoding is None:
        return planes
    packing = array.decoding.packing
    if packing is not None:
        planes = planes.view(packing.dtype)
        if packing != Packing(packing.dtype):
            values = planes * np.float64(1.0 if packing.scale_factor is None else packing.scale_factor)
            values += packing.add_offset
            values[np.isin(planes, packing.missing)] = np.nan
            with np.errstate(over="ignore"):
                planes = values.astype(np.float32)
    if array.is_resized:
        with np.errstate(over="ignore"):
            planes = resize(planes.astype(np.float32), array.shape[2:])
    if not array.is_binary:
        return planes
    positive = planes[0].astype(array.dtype)
    if kind == "logits":
        background = np.zeros_like(positive)
    elif positive.dtype.kind == "u":
        one = positive.dtype.type(round(1 / scale))
        background = one - np.minimum(positive, one)
    else:
        background = 1 - positive
    return np.stack([background, positive])


def resize(planes: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Interpolate planes (K, h, w) bilinearly with half-pixel centers, in float32."""
    top, bottom, below = _between(planes.shape[1], size[0])
    left, right, share = _between(planes.shape[2], size[1])
    below = below[:, np.newaxis]
    rows = (1 - below) * planes[:, top] + below * planes[:, bottom]
    return (1 - share) * rows[:, :, left] + share * rows[:, :, right]


def _between(stored: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the two stored rows between which each row of a resized image is, and the weight of the second."""
    half, ratio = np.float32(0.5), np.float32(stored) / np.float32(size)
    position = np.maximum(ratio * (np.arange(size, dtype=np.float32) + half) - half, np.float32(0))
    first = np.minimum(position.astype(np.int64), stored - 1)
    weight = np.clip(position - first.astype(np.float32), 0, 1).astype(np.float32)
    return first, np.minimum(first + 1, stored - 1), weight


def softmax(logits: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
    """Return the softmax (K, H, W) over the classes in float32, and its largest difference from that in float64.

    A run computes it in float32 with the arithmetic of `exp_in_float32`, which is repeated here because a last bit can
    decide how a confidence is rounded to float16. The result in float64 shows that the arithmetic is right.
    """
    out, error = np.empty(logits.shape, np.float32), 0.0
    rows = max(1, _STRIP_VALUES // (logits.shape[0] * logits.shape[2]))
    for y in range(0, logits.shape[1], rows):
        z = logits[:, y : y + rows].astype(np.float32)
        powers = exp_in_float32(z - z.max(axis=0))
        total = np.zeros(z.shape[1:], np.float32)
        for power in powers:  # in the order of the classes
            total += power
        out[:, y : y + rows] = powers / total
        exact = softmax_in_float64(logits[:, y : y + rows].astype(np.float64), axis=0)
        error = max(error, float(np.abs(out[:, y : y + rows] - exact).max()))
    return out, error


def exp_in_float32(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return exp of numbers <= 0: 2^n times the Taylor polynomial of degree 7 of the remainder x - n ln 2."""
    f = np.float32
    x = np.maximum(x, f(-87))
    n = (x * f(1.4426950408889634) + f(12582912)) - f(12582912)  # rounds x / ln 2 to an integer
    r = (x - n * f(0.693359375)) + n * f(2.12194440e-4)
    power = np.full_like(x, f(1 / 5040))
    for coefficient in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
        power = power * r + f(coefficient)
    return np.ldexp(power, n.astype(np.int32))
