"""One image: condensed slab by slab, judged, and scored. Pure functions of arrays, shared by the tasks of a cluster
and by `masksift.audit` in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.status import ALL_IGNORED, BAD_LABELS, BAD_PROBABILITIES, SCORED, ImageStatus
from masksift.scoring.kernels.condense import BadPixel, CondenseConfig, Remap, class_dtype, class_plane, condense_window
from masksift.scoring.kernels.ensemble import accumulate_member
from masksift.scoring.kernels.ignored_pixels import confidence_by_class
from masksift.scoring.kernels.pixel_statistics import add_low_bit_counts, count_at_least, count_pixels
from masksift.scoring.statistics.class_statistics import ClassStatistics

_SHOWN = 8


class LabelValidator:
    """Labels as class planes, window by window, with the first bad label of the image and how many there are."""

    def __init__(self, classes: int, ignore: tuple[int, ...], remap: Remap = ()) -> None:
        self._classes, self._ignore, self._remap = classes, ignore, remap
        self._first: tuple[int, int, int] | None = None
        self._count = 0

    def to_class_indices(
        self, labels: NDArray[np.integer], y0: int = 0, x0: int = 0, out: NDArray[np.unsignedinteger] | None = None
    ) -> NDArray[np.unsignedinteger]:
        """Class numbers (h, w) of one window of labels (h, w) that lies at (y0, x0) in the image. ``out``: memory for
        them, which may be used."""
        plane, bad = class_plane(labels, self._classes, self._ignore, self._remap, out)
        if bad is not None:
            y, x = (int(i) for i in np.argwhere(bad)[0])
            here = (y0 + y, x0 + x, int(labels[y, x]))
            self._first = min(self._first, here) if self._first else here
            self._count += int(bad.sum())
        return plane

    @property
    def status(self) -> ImageStatus | None:
        """`bad_labels`, or None where every label is a class or an ignore value."""
        if self._first is None:
            return None
        y, x, value = self._first
        known = f"one of the {len(self._remap)} of remap" if self._remap else f"a class 0..{self._classes - 1}"
        ignored = f" nor an ignore value {list(self._ignore)}" if self._ignore else ", and no ignore value is given"
        return ImageStatus(
            BAD_LABELS,
            f"label {value} at (y={y}, x={x}) is neither {known}{ignored}; "
            f"{self._count:,} such {'pixel' if self._count == 1 else 'pixels'}",
        )


@dataclass(frozen=True)
class EvidencePlanes:
    """The evidence of one image, (H, W) each: codes of self-confidence, predicted class, codes of its confidence."""

    self_confidence: NDArray[np.unsignedinteger]
    predicted_class: NDArray[np.unsignedinteger]
    predicted_confidence: NDArray[np.unsignedinteger]

    @classmethod
    def empty(cls, height: int, width: int, recipe: CondenseConfig) -> EvidencePlanes:
        """Planes of zeros: what is kept of an image that is quarantined."""
        codes = recipe.evidence.codes_dtype
        shape = (height, width)
        return cls(
            np.zeros(shape, codes),
            np.zeros(shape, class_dtype(recipe.classes)),
            np.zeros(shape, codes),
        )


class ImageCondenser:
    """Condenses one image: give it the slabs, in any order, then ask for the outcome.

    ``labels`` (H, W): its class plane. ``planes``: where the evidence goes. ``members``: of an ensemble, the name and
    the recipe of each; ``recipe`` is then that of their mean.
    """

    def __init__(
        self,
        labels: NDArray[np.unsignedinteger],
        planes: EvidencePlanes,
        recipe: CondenseConfig,
        members: Sequence[tuple[str, CondenseConfig]] = (),
    ) -> None:
        self._labels, self._planes, self._recipe, self._members = labels, planes, recipe, members
        self._own = np.zeros((recipe.classes, 256), np.int64)
        self._every = np.zeros((recipe.classes, 256), np.int64)
        self._bad: tuple[int, int, int, BadPixel] | None = None

    def add_member_window(
        self, number: int, predictions: NDArray[Any], total: NDArray[np.float32], y0: int = 0, x0: int = 0
    ) -> None:
        """Take in one slab of one member (K, h, w) at (y0, x0), the members in order; ``total`` (K, h, w) is the same
        memory for all of them. With the last one their mean is condensed."""
        window = (slice(y0, y0 + predictions.shape[1]), slice(x0, x0 + predictions.shape[2]))
        bad = accumulate_member(predictions, self._labels[window], self._members[number][1], total, first=number == 0)
        if bad is not None:
            self._reject(number, y0, x0, bad)
        if number + 1 == len(self._members) and self._bad is None:
            total /= np.float32(len(self._members))
            self.add_window(total, y0, x0)

    def _reject(self, member: int, y0: int, x0: int, bad: BadPixel) -> None:
        """Note a bad pixel: the first one of the first member that has any stays."""
        place = (member, y0 + bad.y, x0 + bad.x, bad)
        if self._bad is None or place[:3] < self._bad[:3]:
            self._bad = place

    def add_window(self, predictions: NDArray[Any], y0: int = 0, x0: int = 0) -> None:
        """Take in one slab: predictions (K, h, w) at (y0, x0)."""
        height, width = predictions.shape[1:]
        window = (slice(y0, y0 + height), slice(x0, x0 + width))
        labels = np.ascontiguousarray(self._labels[window])
        planes = (self._planes.self_confidence, self._planes.predicted_class, self._planes.predicted_confidence)
        whole = labels.shape == self._labels.shape and all(plane.flags.c_contiguous for plane in planes)
        slab = condense_window(predictions, labels, self._recipe, y0, x0, planes if whole else None)
        if isinstance(slab, BadPixel):
            self._reject(0, y0, x0, slab)
            return
        for plane, part in zip(
            planes, (slab.self_confidence, slab.predicted_class, slab.predicted_confidence), strict=True
        ):
            if not np.may_share_memory(plane, part):
                plane[window] = part
        self._own += slab.grid_labeled
        self._every += slab.grid_all

    def finish(self) -> tuple[ImageStatus, ClassStatistics | None]:
        """The verdict and, where it is `scored`, the image's statistics. Planes of a bad image are set to 0."""
        planes, recipe = self._planes, self._recipe
        if self._bad is not None:
            for plane in (planes.self_confidence, planes.predicted_class, planes.predicted_confidence):
                plane[:] = 0
            member, y, x, bad = self._bad
            whose = f" of {self._members[member][0]}" if self._members else ""
            shown = ", ".join(f"{value:.6g}" for value in bad.values[:_SHOWN])
            more = f", ... ({len(bad.values)} values)" if len(bad.values) > _SHOWN else ""
            return ImageStatus(BAD_PROBABILITIES, f"pixel (y={y}, x={x}){whose}: {bad.message}: [{shown}{more}]"), None
        counted = count_pixels(
            self._labels,
            planes.predicted_class,
            planes.self_confidence,
            planes.predicted_confidence,
            recipe.evidence,
            recipe.classes,
        )
        if counted.valid == 0:
            return ImageStatus(ALL_IGNORED, "every pixel is ignored"), None
        ignored = confidence_by_class(
            self._labels, planes.predicted_class, planes.predicted_confidence, recipe.evidence, recipe.classes
        )
        return ImageStatus(SCORED), ClassStatistics.from_image(
            recipe.evidence, counted, self._own, self._every, *ignored
        )


def count_confident_pixels(labels: NDArray[Any], planes: EvidencePlanes, limits: NDArray[np.int64]) -> int:
    """The image's share of M: valid pixels predicted as another class at or above that class's limit."""
    flat = (labels.reshape(-1), planes.predicted_class.reshape(-1), planes.predicted_confidence.reshape(-1))
    return int(count_at_least(*flat, limits))


def count_low_bits(labels: NDArray[Any], self_confidence: NDArray[Any], classes: int, key: int) -> NDArray[np.int64]:
    """(65536,) int64: the lower halves of the float32 codes of self-confidence whose upper half is `key`."""
    counts = np.zeros(1 << 16, np.int64)
    add_low_bit_counts(labels.reshape(-1), self_confidence.reshape(-1), classes, key, counts)
    return counts
