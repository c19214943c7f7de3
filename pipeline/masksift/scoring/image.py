"""Validate and condense one image: labels and predictions to evidence, a status and class statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.advice import ALL_IGNORED_ADVICE, MAX_LISTED_LABELS, label_advice, probability_advice
from masksift.core.specs import BINARY_MASK
from masksift.core.status import ALL_IGNORED, BAD_LABELS, BAD_PROBABILITIES, SCORED, ImageStatus
from masksift.scoring.arrays import detach, is_on_device, to_numpy
from masksift.scoring.device import condense_on_device
from masksift.scoring.kernels.condense import (
    BadPixel,
    CondenseConfig,
    CondensedWindow,
    Remap,
    class_dtype,
    class_plane,
    condense_window,
)
from masksift.scoring.kernels.ensemble import accumulate_member
from masksift.scoring.kernels.ignored_pixels import confidence_by_class
from masksift.scoring.kernels.pixel_statistics import add_low_bit_counts, count_at_least, count_pixels
from masksift.scoring.methods.base import ImageEvidence
from masksift.scoring.statistics.class_statistics import ClassStatistics

_MAX_LISTED_VALUES = 8

Members = Sequence[tuple[str, CondenseConfig]]
"""Name and settings of each member of an ensemble, in order; empty for a single prediction."""


class LabelValidator:
    """Convert the labels of one image to class planes, window by window, and record invalid labels."""

    def __init__(self, classes: int, ignore: tuple[int, ...], remap: Remap = (), offset: int = 0) -> None:
        self._classes, self._ignore, self._remap, self._offset = classes, ignore, remap, offset
        self._first: tuple[int, int, int] | None = None
        self._values: list[int] = []
        self._count = 0

    def to_class_indices(
        self, labels: NDArray[np.integer], y0: int = 0, x0: int = 0, out: NDArray[np.unsignedinteger] | None = None
    ) -> NDArray[np.unsignedinteger]:
        """Return the class plane (h, w) of the window of labels (h, w) at (y0, x0), in ``out`` where possible."""
        plane, bad = class_plane(labels, self._classes, self._ignore, self._remap, self._offset, out)
        if bad is not None:
            y, x = (int(i) for i in np.argwhere(bad)[0])
            invalid = np.unique(labels[bad].astype(np.uint8) if labels.dtype == bool else labels[bad])
            values = {*self._values, *invalid[: MAX_LISTED_LABELS + 1].tolist()}
            self._values = sorted(values)[: MAX_LISTED_LABELS + 1]
            pixel = (y0 + y, x0 + x, int(labels[y, x]))
            self._first = min(self._first, pixel) if self._first else pixel
            self._count += int(bad.sum())
        return plane

    @property
    def status(self) -> ImageStatus | None:
        """`bad_labels` with the first invalid label and their number, or None if every label is valid."""
        if self._first is None:
            return None
        y, x, value = self._first
        advice = label_advice(self._values, self._classes, self._ignore, self._remap, self._offset)
        known = f"a class {self._offset}..{self._classes - 1 + self._offset}"
        if self._offset:
            known = f"{known} (label offset {self._offset})"
        elif self._remap == BINARY_MASK:
            known = "0 nor 255 (remap 0:0,255:1)"
        elif self._remap:
            known = f"one of the {len(self._remap)} of remap"
        ignored = f" nor an ignore value {list(self._ignore)}" if self._ignore else ", and no ignore value is given"
        return ImageStatus(
            BAD_LABELS,
            f"label {value} at (y={y}, x={x}) is neither {known}{ignored}; "
            f"{self._count:,} such {'pixel' if self._count == 1 else 'pixels'}",
            advice,
        )


@dataclass(frozen=True)
class EvidencePlanes:
    """Evidence of one image, (H, W) each: codes of self-confidence, predicted class, codes of its confidence."""

    self_confidence: NDArray[np.unsignedinteger]
    predicted_class: NDArray[np.unsignedinteger]
    predicted_confidence: NDArray[np.unsignedinteger]

    @classmethod
    def empty(cls, height: int, width: int, config: CondenseConfig) -> EvidencePlanes:
        """Return planes of zeros, which a quarantined image keeps."""
        codes, shape = config.evidence.codes_dtype, (height, width)
        return cls(np.zeros(shape, codes), np.zeros(shape, class_dtype(config.classes)), np.zeros(shape, codes))

    @property
    def arrays(self) -> tuple[NDArray[np.unsignedinteger], NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]]:
        """The planes in the order of the fields."""
        return self.self_confidence, self.predicted_class, self.predicted_confidence


class ImageCondenser:
    """Condense one image from windows in any order."""

    def __init__(
        self,
        labels: NDArray[np.unsignedinteger],
        planes: EvidencePlanes,
        config: CondenseConfig,
        members: Members = (),
    ) -> None:
        """Set up one image.

        Args:
            labels: Class plane (H, W).
            planes: Output planes.
            config: Settings of the prediction, or of the members' mean.
            members: Members of an ensemble.
        """
        self._labels, self._planes, self._config, self._members = labels, planes, config, members
        self._grid_labeled = np.zeros((config.classes, 256), np.int64)
        self._grid_all = np.zeros((config.classes, 256), np.int64)
        self._bad: tuple[int, int, int, BadPixel] | None = None
        self.evidence: ImageEvidence | None = None
        """Labels, evidence and counts of the image after `finish`, if it is scored."""

    def add_member_window(
        self, number: int, predictions: NDArray[Any], total: NDArray[np.float32], y0: int = 0, x0: int = 0
    ) -> None:
        """Add a window of one member; the last member's call condenses the mean.

        Args:
            number: Number of the member; the members of a window come in order.
            predictions: Predictions (K, h, w).
            total: Sum (K, h, w) of the members, the same array for all of them.
            y0: First row of the window.
            x0: First column of the window.
        """
        window = (slice(y0, y0 + predictions.shape[1]), slice(x0, x0 + predictions.shape[2]))
        config = self._members[number][1]
        bad = accumulate_member(predictions, self._labels[window], config, total, first=number == 0)
        if bad is not None:
            self._reject(number, y0, x0, bad)
        if number + 1 == len(self._members) and self._bad is None:
            total /= np.float32(len(self._members))
            self.add_window(total, y0, x0)

    def _reject(self, member: int, y0: int, x0: int, bad: BadPixel) -> None:
        """Keep the first invalid pixel of the first member that has any."""
        candidate = (member, y0 + bad.y, x0 + bad.x, bad)
        if self._bad is None or candidate[:3] < self._bad[:3]:
            self._bad = candidate

    def add_window(self, predictions: NDArray[Any], y0: int = 0, x0: int = 0) -> None:
        """Add the window of predictions (K, h, w) at (y0, x0)."""
        height, width = predictions.shape[1:]
        window = (slice(y0, y0 + height), slice(x0, x0 + width))
        labels, planes = np.ascontiguousarray(self._labels[window]), self._planes.arrays
        in_place = labels.shape == self._labels.shape and all(plane.flags.c_contiguous for plane in planes)
        condensed = condense_window(predictions, labels, self._config, y0, x0, planes if in_place else None)
        if isinstance(condensed, BadPixel):
            self._reject(0, y0, x0, condensed)
            return
        self.add_condensed(condensed, window)

    def add_condensed(
        self, condensed: CondensedWindow, window: tuple[slice, slice] = (slice(None), slice(None))
    ) -> None:
        """Add the evidence of a window."""
        values = (condensed.self_confidence, condensed.predicted_class, condensed.predicted_confidence)
        for plane, value in zip(self._planes.arrays, values, strict=True):
            if not np.may_share_memory(plane, value):
                plane[window] = value
        self._grid_labeled += condensed.grid_labeled
        self._grid_all += condensed.grid_all

    def finish(self) -> tuple[ImageStatus, ClassStatistics | None]:
        """Return the status and the statistics, None unless scored. Set the planes of an invalid image to 0."""
        planes, config = self._planes, self._config
        if self._bad is not None:
            for plane in planes.arrays:
                plane[:] = 0
            member, y, x, bad = self._bad
            name = f" of {self._members[member][0]}" if self._members else ""
            values = ", ".join(f"{value:.6g}" for value in bad.values[:_MAX_LISTED_VALUES])
            more = f", ... ({len(bad.values)} values)" if len(bad.values) > _MAX_LISTED_VALUES else ""
            reason = f"pixel (y={y}, x={x}){name}: {bad.message}: [{values}{more}]"
            failed = self._members[member][1] if self._members else config
            advice = probability_advice(
                bad.values.tolist(), failed.dtype, failed.prediction_kind, failed.scale, failed.sum_tolerance
            )
            return ImageStatus(BAD_PROBABILITIES, reason, advice), None
        evidence, predicted, confidence = config.evidence, planes.predicted_class, planes.predicted_confidence
        counts = count_pixels(self._labels, predicted, planes.self_confidence, confidence, evidence, config.classes)
        if counts.valid == 0:
            return ImageStatus(ALL_IGNORED, "every pixel is ignored", ALL_IGNORED_ADVICE), None
        ignored = confidence_by_class(self._labels, predicted, confidence, evidence, config.classes)
        statistics = ClassStatistics.from_image(evidence, counts, self._grid_labeled, self._grid_all, *ignored)
        self.evidence = ImageEvidence(
            self._labels,
            predicted,
            planes.self_confidence,
            confidence,
            config.classes,
            evidence,
            counted=(counts, ignored),
        )
        return ImageStatus(SCORED), statistics


@dataclass(frozen=True)
class CondensedImage:
    """One image after condensing: class plane, evidence, status and, if it is scored, statistics."""

    labels: NDArray[np.unsignedinteger]
    planes: EvidencePlanes
    status: ImageStatus
    statistics: ClassStatistics | None


def condense_image(
    labels: NDArray[np.integer],
    predictions: Sequence[Any],
    config: CondenseConfig,
    ignore: tuple[int, ...] = (),
    members: Members = (),
) -> CondensedImage:
    """Condense one image in memory.

    Args:
        labels: Labels (H, W).
        predictions: Predictions (K, H, W): one, or one per member. Arrays of any library; a single one on an
            accelerator is condensed there.
        config: Settings of the prediction, or of the members' mean.
        ignore: Label values that mark ignored pixels.
        members: Members of an ensemble.

    Returns:
        The condensed image. Planes of an invalid image are zeros.
    """
    validator = LabelValidator(config.classes, ignore)
    plane = validator.to_class_indices(labels)
    height, width = plane.shape
    planes = EvidencePlanes.empty(height, width, config)
    if validator.status is not None:
        return CondensedImage(plane, planes, validator.status, None)
    condenser = ImageCondenser(plane, planes, config, members)
    if members:
        mean = np.empty((config.classes, height, width), np.float32)
        for number, member in enumerate(predictions):
            condenser.add_member_window(number, to_numpy(member), mean)
    elif (
        is_on_device(predictions[0])
        and (condensed := condense_on_device(detach(predictions[0]), plane, config)) is not None
    ):
        condenser.add_condensed(condensed)
    else:
        condenser.add_window(to_numpy(predictions[0]))
    return CondensedImage(plane, planes, *condenser.finish())


def count_confident_pixels(labels: NDArray[Any], planes: EvidencePlanes, limits: NDArray[np.int64]) -> int:
    """Count the valid pixels predicted as another class with at least that class's code in ``limits`` (K,)."""
    flat = (labels.reshape(-1), planes.predicted_class.reshape(-1), planes.predicted_confidence.reshape(-1))
    return int(count_at_least(*flat, limits))


def count_low_bits(labels: NDArray[Any], self_confidence: NDArray[Any], classes: int, key: int) -> NDArray[np.int64]:
    """Count the lower halves of the float32 codes of self-confidence whose upper half is ``key``: (65536,) int64."""
    counts = np.zeros(1 << 16, np.int64)
    add_low_bit_counts(labels.reshape(-1), self_confidence.reshape(-1), classes, key, counts)
    return counts
