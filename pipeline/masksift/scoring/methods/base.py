"""Interface of the scores: the evidence of one image, what is kept of it, and the thresholds of the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.flags import count_reached, distribution, flag_pixels
from masksift.scoring.kernels.ignored_pixels import confidence_by_class
from masksift.scoring.kernels.pixel_statistics import PixelStatistics, count_pixels
from masksift.scoring.statistics.thresholds import ThresholdCodes

FlaggingRule = Literal["rank", "confident"]

IgnoredSums = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Confidence sums (K,) over ignored and over all pixels (`confidence_by_class`)."""


@dataclass(frozen=True)
class ImageEvidence:
    """Labels and evidence of one image (H, W) of K classes with at least one valid pixel.

    Attributes:
        labels: Class plane (H, W), unsigned; ignored pixels hold the dtype's maximum.
        predicted_class: Predicted classes (H, W), same dtype.
        self_confidence_codes: Probability codes (H, W) of the given labels.
        predicted_confidence_codes: Probability codes (H, W) of the predicted classes.
        classes: K.
        encoding: Encoding of the codes.
        counted: Counts of the pixels and sums over ignored ones, if they are known.
    """

    labels: NDArray[np.unsignedinteger]
    predicted_class: NDArray[np.unsignedinteger]
    self_confidence_codes: NDArray[np.unsignedinteger]
    predicted_confidence_codes: NDArray[np.unsignedinteger]
    classes: int
    encoding: Encoding
    counted: tuple[PixelStatistics, IgnoredSums] | None = field(default=None, kw_only=True)

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """Mask (H, W) of the pixels that are not ignored."""
        return self.labels < self.classes

    @cached_property
    def statistics(self) -> PixelStatistics:
        """Counts over the valid pixels."""
        if self.counted is not None:
            return self.counted[0]
        return count_pixels(
            self.labels,
            self.predicted_class,
            self.self_confidence_codes,
            self.predicted_confidence_codes,
            self.encoding,
            self.classes,
        )

    @cached_property
    def distribution(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Self-confidences that occur, ascending, and how often, (n,) float64 each; not for float32 evidence."""
        return distribution(self.statistics.self_counts, self.encoding)

    @property
    def valid_pixels(self) -> int:
        """Number of valid pixels."""
        return self.statistics.valid

    @cached_property
    def ignored(self) -> IgnoredSums:
        """Confidence sums over ignored and over all pixels."""
        if self.counted is not None:
            return self.counted[1]
        return confidence_by_class(
            self.labels, self.predicted_class, self.predicted_confidence_codes, self.encoding, self.classes
        )


@dataclass(frozen=True)
class CodeCounts:
    """Pixels by given class and 8-bit code of self-confidence, without zeros.

    Attributes:
        places: 256 * class + code, (n,) uint32.
        pixels: Their pixels, (n,) uint32.
    """

    places: NDArray[np.uint32]
    pixels: NDArray[np.uint32]

    @classmethod
    def from_table(cls, table: NDArray[np.int64]) -> CodeCounts:
        """Leave out the zeros of a table (K, 256)."""
        places = np.flatnonzero(table)
        return cls(places.astype(np.uint32), table.reshape(-1)[places].astype(np.uint32))

    def count_reached(self, limits: NDArray[np.int64]) -> int:
        """Count the pixels whose code reaches the limit of their class (K,)."""
        return int(self.pixels[(self.places & 255) >= limits[self.places >> 8]].sum(dtype=np.int64))


@dataclass(frozen=True)
class ImageSummary:
    """Counts and scores of an image that scoring needs besides the pixels whose label and prediction differ.

    Attributes:
        valid_pixels: Number of valid pixels.
        scores: Scores that use no thresholds, by method.
        given_counts: Self-confidence by given class; None for evidence of more than 8 bits.
        ignored: Confidence sums over ignored and over all pixels.
    """

    valid_pixels: int
    scores: Mapping[str, float]
    given_counts: CodeCounts | None
    ignored: IgnoredSums


@dataclass(frozen=True)
class ScoringInput(ImageEvidence):
    """Evidence of one image together with the thresholds of the data set.

    With a ``summary``, planes may be zeros wherever the label is the predicted class.

    Attributes:
        threshold_codes: Thresholds of the data set as codes.
        rule: Rule by which clc flags pixels.
        mask: Output array (H, W) uint8, C-contiguous, of the issue mask; None to allocate it.
        summary: Scores without thresholds, and counts; None to compute them from the planes.
    """

    threshold_codes: ThresholdCodes
    rule: FlaggingRule = "rank"
    mask: NDArray[np.uint8] | None = None
    summary: ImageSummary | None = None

    @cached_property
    def statistics(self) -> PixelStatistics:
        """Counts over the valid pixels, which need whole planes."""
        assert self.summary is None, "a score that uses no thresholds is part of the summary"
        return super().statistics

    @property
    def valid_pixels(self) -> int:
        """Number of valid pixels."""
        return self.statistics.valid if self.summary is None else self.summary.valid_pixels

    @cached_property
    def ignored(self) -> IgnoredSums:
        """Confidence sums over ignored and over all pixels."""
        return super().ignored if self.summary is None else self.summary.ignored

    @cached_property
    def pixels_above(self) -> int:
        """Number of valid pixels whose self-confidence reaches the decision threshold of their label."""
        limits = self.threshold_codes.decision
        if self.summary is not None and self.summary.given_counts is not None:
            return self.summary.given_counts.count_reached(limits)
        if self.summary is None and self.encoding.dtype == "uint8":
            return CodeCounts.from_table(self.statistics.given_counts).count_reached(limits)
        return count_reached(self.labels, self.self_confidence_codes, limits)

    @cached_property
    def _flags(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        limits = self.threshold_codes
        confidence = (self.predicted_confidence_codes, limits.confident) if self.rule == "confident" else None
        return flag_pixels(
            self.labels,
            self.predicted_class,
            self.self_confidence_codes,
            self.classes,
            limits.cut,
            confidence,
            self.mask,
        )

    @property
    def issue_mask(self) -> NDArray[np.uint8]:
        """Mask (H, W) uint8, 1 where confident learning flags the label."""
        return self._flags[0]

    @property
    def flagged_pairs(self) -> NDArray[np.int64]:
        """Flagged pixels by given and predicted class, (K, K) int64."""
        return self._flags[1]


class Method(Protocol):
    """A score: a float in [0, 1] per image; lower = more likely mislabeled."""

    @property
    def name(self) -> str:
        """Name of the column in the results."""
        ...

    @property
    def uses_thresholds(self) -> bool:
        """False if the score follows from the evidence of the image alone: `EvidenceMethod`."""
        ...

    def score(self, image: ScoringInput) -> float:
        """Return the score of an image.

        With thresholds it uses only valid and flagged pixels, `ScoringInput.pixels_above` and `ScoringInput.ignored`.
        """
        ...


class EvidenceMethod(Method, Protocol):
    """A score that uses no thresholds."""

    def score(self, image: ImageEvidence) -> float:
        """Return the score of an image."""
        ...


def evidence_methods(methods: Sequence[Method]) -> list[EvidenceMethod]:
    """Return the scores that use no thresholds."""
    return [cast(EvidenceMethod, method) for method in methods if not method.uses_thresholds]


def summarize(image: ImageEvidence, methods: Sequence[Method]) -> ImageSummary:
    """Compute everything that the scores need of an image before the thresholds are known."""
    return ImageSummary(
        image.valid_pixels,
        {method.name: method.score(image) for method in evidence_methods(methods)},
        CodeCounts.from_table(image.statistics.given_counts) if image.encoding.dtype == "uint8" else None,
        image.ignored,
    )
