"""Validate and condense images: labels and predictions to evidence, statuses and class statistics."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.advice import ALL_IGNORED_ADVICE, MAX_LISTED_LABELS, label_advice, probability_advice
from masksift.core.specs import BINARY_MASK
from masksift.core.status import ALL_IGNORED, BAD_LABELS, BAD_PROBABILITIES, SCORED, ImageStatus
from masksift.scoring.arrays import detach, image_at, is_on_device, to_numpy
from masksift.scoring.device import condense_on_device
from masksift.scoring.kernels.condense import (
    BadPixel,
    CondenseConfig,
    CondensedWindow,
    LatticeCounts,
    Remap,
    class_dtype,
    class_plane,
    condense_whole_images,
    condense_window,
)
from masksift.scoring.kernels.ensemble import accumulate_member
from masksift.scoring.kernels.pixel_statistics import add_low_bit_counts, count_at_least
from masksift.scoring.methods.base import ImageEvidence, ImageSummary, Method, summarize
from masksift.scoring.statistics.class_statistics import ClassStatistics

GROUP_PIXELS, GROUP_PAIRS = 1 << 18, 1 << 18
"""Images are counted and scored together up to this number of pixels, whose planes stay in the cache, and up to this
number of counted class pairs, images times K x K."""

_MAX_LISTED_VALUES = 8

Members = Sequence[tuple[str, CondenseConfig]]
"""Name and settings of each member of an ensemble, in order; empty for a single prediction."""


def image_groups(images: int, pixels: int, classes: int) -> Iterator[slice]:
    """Yield the groups in which images of ``pixels`` pixels are counted and scored."""
    step = max(1, min(GROUP_PIXELS // pixels, GROUP_PAIRS // classes**2))
    for first in range(0, images, step):
        yield slice(first, min(images, first + step))


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
    """Evidence of one image (H, W) or of images (n, H, W).

    Codes of self-confidence, predicted class, codes of its confidence.
    """

    self_confidence: NDArray[np.unsignedinteger]
    predicted_class: NDArray[np.unsignedinteger]
    predicted_confidence: NDArray[np.unsignedinteger]

    @classmethod
    def empty(cls, shape: tuple[int, ...], config: CondenseConfig) -> EvidencePlanes:
        """Return planes of zeros, which a quarantined image keeps."""
        codes = config.evidence.codes_dtype
        return cls(np.zeros(shape, codes), np.zeros(shape, class_dtype(config.classes)), np.zeros(shape, codes))

    @property
    def arrays(self) -> tuple[NDArray[np.unsignedinteger], NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]]:
        """The planes in the order of the fields."""
        return self.self_confidence, self.predicted_class, self.predicted_confidence

    def __getitem__(self, images: int | slice) -> EvidencePlanes:
        """Return views of one image or several."""
        return EvidencePlanes(*(plane[images] for plane in self.arrays))


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
        self._grid_labeled, self._grid_all = _no_lattice_counts(config)
        self._bad: tuple[int, int, int, BadPixel] | None = None
        self.evidence: ImageEvidence | None = None
        """Labels, evidence and counts of the image, a batch of one, after `finish`, if it is scored."""

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

    @property
    def failure(self) -> ImageStatus | None:
        """`bad_probabilities` with the first invalid pixel, or None if all are valid."""
        if self._bad is None:
            return None
        member, y, x, bad = self._bad
        name = f" of {self._members[member][0]}" if self._members else ""
        values = ", ".join(f"{value:.6g}" for value in bad.values[:_MAX_LISTED_VALUES])
        more = f", ... ({len(bad.values)} values)" if len(bad.values) > _MAX_LISTED_VALUES else ""
        reason = f"pixel (y={y}, x={x}){name}: {bad.message}: [{values}{more}]"
        failed = self._members[member][1] if self._members else self._config
        advice = probability_advice(
            bad.values.tolist(), failed.dtype, failed.prediction_kind, failed.scale, failed.sum_tolerance
        )
        return ImageStatus(BAD_PROBABILITIES, reason, advice)

    @property
    def lattice_counts(self) -> LatticeCounts:
        """Counts of the lattice pixels so far."""
        return self._grid_labeled, self._grid_all

    def finish(self) -> tuple[ImageStatus, ClassStatistics | None]:
        """Return the status and the statistics, None unless scored. Set the planes of an invalid image to 0."""
        if (failure := self.failure) is not None:
            for plane in self._planes.arrays:
                plane[:] = 0
            return failure, None
        planes = EvidencePlanes(*(plane[np.newaxis] for plane in self._planes.arrays))
        evidence = make_evidence(self._labels[np.newaxis], planes, self._config)
        if not evidence.valid_pixels[0]:
            return _EVERY_PIXEL_IGNORED, None
        self.evidence = evidence
        return ImageStatus(SCORED), class_statistics(self._config, evidence, self.lattice_counts)


_EVERY_PIXEL_IGNORED = ImageStatus(ALL_IGNORED, "every pixel is ignored", ALL_IGNORED_ADVICE)


def make_evidence(labels: NDArray[np.unsignedinteger], planes: EvidencePlanes, config: CondenseConfig) -> ImageEvidence:
    """Return the evidence (n, H, W) of condensed images; all pixels of a quarantined image are ignored."""
    self_confidence, predicted, confidence = planes.arrays
    return ImageEvidence(labels, predicted, self_confidence, confidence, config.classes, config.evidence)


def class_statistics(config: CondenseConfig, images: ImageEvidence, lattice_counts: LatticeCounts) -> ClassStatistics:
    """Return the statistics of the images that have valid pixels, whose lattice pixels are counted."""
    ignored, total = (by_image[images.valid_pixels > 0].sum(axis=0) for by_image in images.ignored)
    return ClassStatistics.from_counts(config.evidence, images.statistics, *lattice_counts, ignored, total)


class ImagesCondenser:
    """Condense images of one size: whole ones together, others window by window."""

    def __init__(
        self,
        labels: NDArray[np.unsignedinteger],
        planes: EvidencePlanes,
        config: CondenseConfig,
        members: Members = (),
    ) -> None:
        """Set up the images.

        Args:
            labels: Class planes (n, H, W).
            planes: Output planes (n, H, W).
            config: Settings of the prediction, or of the members' mean.
            members: Members of an ensemble.
        """
        self._labels, self._planes, self._config, self._members = labels, planes, config, members
        self._lattice_counts: LatticeCounts = _no_lattice_counts(config)
        self._alone: dict[int, ImageCondenser] = {}

    def image(self, i: int) -> ImageCondenser:
        """Return what adds the windows of an image."""
        if i not in self._alone:
            self._alone[i] = ImageCondenser(self._labels[i], self._planes[i], self._config, self._members)
        return self._alone[i]

    def add_images(self, first: int, predictions: NDArray[Any], left_out: Container[int]) -> None:
        """Add the whole predictions (m, K, H, W) of the images from ``first`` on, except those ``left_out``."""
        images = slice(first, first + len(predictions))
        state = np.array([i in left_out for i in range(images.start, images.stop)], np.uint8)
        counts = condense_whole_images(
            predictions, self._labels[images], self._config, self._planes[images].arrays, state
        )
        for total, more in zip(self._lattice_counts, counts, strict=True):
            total += more
        for i in np.flatnonzero(state == 2).tolist():
            self.image(first + i).add_window(predictions[i])

    def finish(
        self,
        failed: Mapping[int, ImageStatus],
        consume: Callable[[slice, ImageEvidence, ClassStatistics], None],
        *,
        overwrite_labels: bool = False,
    ) -> list[ImageStatus]:
        """Set the planes of images that are quarantined to 0, and hand over all images in groups.

        Args:
            failed: Statuses of images that were left out.
            consume: Called with each group of images, their evidence and their statistics, while the planes are in the
                cache. All pixels of quarantined images are ignored.
            overwrite_labels: Ignore these pixels in the class planes themselves instead of a copy.

        Returns:
            Status of each image.
        """
        failed, config = dict(failed), self._config
        for i, condenser in self._alone.items():
            if i not in failed and (failure := condenser.failure) is not None:
                failed[i] = failure
            elif i not in failed:
                for total, more in zip(self._lattice_counts, condenser.lattice_counts, strict=True):
                    total += more
        is_failed = np.zeros(len(self._labels), bool)
        is_failed[list(failed)] = True
        for plane in self._planes.arrays:
            plane[is_failed] = 0
        if overwrite_labels:
            self._labels[is_failed] = np.iinfo(self._labels.dtype).max
        labels = self._labels if overwrite_labels else ignoring_images(self._labels, is_failed)
        lattice_counts, valid = self._lattice_counts, list[int]()
        for part in image_groups(len(labels), labels[0].size, config.classes):
            evidence = make_evidence(labels[part], self._planes[part], config)
            consume(part, evidence, class_statistics(config, evidence, lattice_counts))
            lattice_counts = _no_lattice_counts(config)  # those of all groups are in the first
            valid += evidence.valid_pixels.tolist()
        scored = ImageStatus(SCORED)
        statuses = [scored if pixels else _EVERY_PIXEL_IGNORED for pixels in valid]
        for i, status in failed.items():
            statuses[i] = status
        return statuses


def _no_lattice_counts(config: CondenseConfig) -> LatticeCounts:
    return np.zeros((config.classes, 256), np.int64), np.zeros((config.classes, 256), np.int64)


@dataclass(frozen=True)
class CondensedImage:
    """One image after condensing: class plane, evidence, status and, if it is scored, statistics."""

    labels: NDArray[np.unsignedinteger]
    planes: EvidencePlanes
    status: ImageStatus
    statistics: ClassStatistics | None


@dataclass(frozen=True)
class CondensedImages:
    """n images of one size after condensing.

    Attributes:
        labels: Class planes (n, H, W).
        planes: Evidence (n, H, W); zeros for an invalid image.
        statuses: Status of each image.
        statistics: Statistics of the scored images.
        summary: Counts, and scores that use no thresholds.
    """

    labels: NDArray[np.unsignedinteger]
    planes: EvidencePlanes
    statuses: Sequence[ImageStatus]
    statistics: ClassStatistics
    summary: ImageSummary

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Mask (n,) of the images with scores."""
        return self.summary.valid_pixels > 0

    @property
    def scored_labels(self) -> NDArray[np.unsignedinteger]:
        """Class planes (n, H, W) in which every pixel of an image without scores is ignored."""
        return ignoring_images(self.labels, ~self.scored)

    def __len__(self) -> int:
        return len(self.statuses)


def ignoring_images(labels: NDArray[np.unsignedinteger], images: NDArray[np.bool_]) -> NDArray[np.unsignedinteger]:
    """Return class planes (n, H, W) in which every pixel of the masked images is ignored: a copy if there are any."""
    if not images.any():
        return labels
    changed = labels.copy()
    changed[images] = np.iinfo(labels.dtype).max
    return changed


def condense_images(
    labels: NDArray[np.integer],
    predictions: Sequence[Any],
    config: CondenseConfig,
    ignore: tuple[int, ...] = (),
    members: Members = (),
    methods: Sequence[Method] = (),
) -> CondensedImages:
    """Condense images of one size in memory.

    Args:
        labels: Labels (n, H, W).
        predictions: Predictions (n, K, H, W), or n of (K, H, W): one such sequence, or one per member. Arrays of any
            library; single ones on an accelerator are condensed there.
        config: Settings of the prediction, or of the members' mean.
        ignore: Label values that mark ignored pixels.
        members: Members of an ensemble.
        methods: Scores; those that use no thresholds are computed.

    Returns:
        The condensed images.
    """
    given, bad = class_plane(labels, config.classes, ignore)
    planes, failed = EvidencePlanes.empty(given.shape, config), dict[int, ImageStatus]()
    for i in [] if bad is None else np.flatnonzero(bad.any(axis=(1, 2))).tolist():
        validator = LabelValidator(config.classes, ignore)
        validator.to_class_indices(labels[i])
        assert validator.status is not None
        failed[i] = validator.status
    condenser = ImagesCondenser(given, planes, config, members)
    if not members and isinstance(predictions[0], np.ndarray):
        condenser.add_images(0, predictions[0], failed)
    else:
        for i in range(len(given)):
            if i not in failed:
                alone = [image_at(member, i) for member in predictions]
                _condense_alone(condenser.image(i), given[i], alone, config, members)
    summaries, parts = list[ImageSummary](), list[ClassStatistics]()

    def consume(_: slice, images: ImageEvidence, statistics: ClassStatistics) -> None:
        sizes = np.full((len(images.labels), 2), images.labels.shape[1:])
        summaries.append(summarize(images, methods, sizes))
        parts.append(statistics)

    statuses = condenser.finish(failed, consume)
    total = reduce(ClassStatistics.merge, parts)
    return CondensedImages(given, planes, statuses, total, ImageSummary.concatenate(summaries))


def _condense_alone(
    condenser: ImageCondenser,
    labels: NDArray[np.unsignedinteger],
    predictions: Sequence[Any],
    config: CondenseConfig,
    members: Members,
) -> None:
    """Condense an image, with one prediction (K, H, W) per member, in one window."""
    if members:
        mean = np.empty((config.classes, *labels.shape), np.float32)
        for number, member in enumerate(predictions):
            condenser.add_member_window(number, to_numpy(member), mean)
    elif (
        is_on_device(predictions[0])
        and (condensed := condense_on_device(detach(predictions[0]), labels, config)) is not None
    ):
        condenser.add_condensed(condensed)
    else:
        condenser.add_window(to_numpy(predictions[0]))


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
    found = condense_images(labels[np.newaxis], [[prediction] for prediction in predictions], config, ignore, members)
    status = found.statuses[0]
    return CondensedImage(
        found.labels[0], found.planes[0], status, found.statistics if status.status == SCORED else None
    )


def count_confident_pixels(labels: NDArray[Any], planes: EvidencePlanes, limits: NDArray[np.int64]) -> int:
    """Count the valid pixels predicted as another class with at least that class's code in ``limits`` (K,)."""
    flat = (labels.reshape(-1), planes.predicted_class.reshape(-1), planes.predicted_confidence.reshape(-1))
    return int(count_at_least(*flat, limits))


def count_low_bits(labels: NDArray[Any], self_confidence: NDArray[Any], classes: int, key: int) -> NDArray[np.int64]:
    """Count the lower halves of the float32 codes of self-confidence whose upper half is ``key``: (65536,) int64."""
    counts = np.zeros(1 << 16, np.int64)
    add_low_bit_counts(labels.reshape(-1), self_confidence.reshape(-1), classes, key, counts)
    return counts
