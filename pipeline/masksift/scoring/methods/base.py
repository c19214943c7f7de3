"""Interface of the scores: the evidence of images, what is kept of it, and the thresholds of the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.flags import FlaggedPixels, count_reached, flag_pixels
from masksift.scoring.kernels.ignored_pixels import confidence_by_class
from masksift.scoring.kernels.label_grids import sample_grids
from masksift.scoring.kernels.pixel_statistics import ClassCounts, CodeCounts, PixelStatistics, count_pixels
from masksift.scoring.statistics.agreement import agreement_log_odds
from masksift.scoring.statistics.thresholds import ThresholdCodes

FlaggingRule = Literal["rank", "confident"]

EVIDENCE_UNIT = Fraction(1, 1 << 16)
"""Step of evidence that is summed over images: integers are the same in any order, and for any precision."""

IgnoredSums = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Confidence sums (n, K) over ignored and over all pixels (`confidence_by_class`)."""


@dataclass(frozen=True)
class ImageEvidence:
    """Labels and evidence of n images (H, W) of K classes.

    Attributes:
        labels: Class planes (n, H, W), unsigned; ignored pixels, and all pixels of an image that is not scored, hold
            the dtype's maximum.
        predicted_class: Predicted classes (n, H, W), same dtype.
        self_confidence_codes: Probability codes (n, H, W) of the given labels.
        predicted_confidence_codes: Probability codes (n, H, W) of the predicted classes.
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
        """Mask (n, H, W) of the pixels that are not ignored."""
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
    def distribution(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Self-confidences that occur in each image, ascending, how often, and the end of each image in both.

        Not for float32 evidence, whose values are too many.
        """
        found = self.statistics.self_codes
        return self.encoding.values(found.codes), found.pixels.astype(np.float64), found.ends

    @property
    def valid_pixels(self) -> NDArray[np.int64]:
        """Number of valid pixels, (n,) int64."""
        return self.statistics.valid

    def share(self, counts: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return the quotients (n,) of counts or sums (n,) and the valid pixels of each image."""
        return np.asarray(counts / np.maximum(self.valid_pixels, 1))

    @cached_property
    def ignored(self) -> IgnoredSums:
        """Confidence sums over ignored and over all pixels."""
        if self.counted is not None:
            return self.counted[1]
        return confidence_by_class(
            self.labels, self.predicted_class, self.predicted_confidence_codes, self.encoding, self.classes
        )


@dataclass(frozen=True)
class ImageSummary:
    """Counts and scores of n images that scoring needs besides the pixels whose label and prediction differ.

    Attributes:
        class_counts: Counts by class.
        scores: Scores that use no thresholds, (n,) float64 by method.
        given_codes: Given class times 256 plus self-confidence; None for evidence of more than 8 bits.
        ignored: Confidence sums over ignored and over all pixels.
        grids: Labels and predicted classes at the centers of the cells of a grid (`sample_grids`).
    """

    class_counts: ClassCounts
    scores: Mapping[str, NDArray[np.float64]]
    given_codes: CodeCounts | None
    ignored: IgnoredSums
    grids: NDArray[np.unsignedinteger]

    @cached_property
    def valid_pixels(self) -> NDArray[np.int64]:
        """Number of valid pixels, (n,) int64."""
        valid: NDArray[np.int64] = self.class_counts.labeled.sum(axis=1)
        return valid

    @classmethod
    def concatenate(cls, groups: Sequence[ImageSummary]) -> ImageSummary:
        """Concatenate the images of several groups."""
        codes = [group.given_codes for group in groups if group.given_codes is not None]
        return cls(
            ClassCounts.concatenate([group.class_counts for group in groups]),
            {name: np.concatenate([group.scores[name] for group in groups]) for name in groups[0].scores},
            CodeCounts.concatenate(codes) if codes else None,
            (
                np.concatenate([group.ignored[0] for group in groups]),
                np.concatenate([group.ignored[1] for group in groups]),
            ),
            np.concatenate([group.grids for group in groups]),
        )


@dataclass(frozen=True)
class ScoringInput(ImageEvidence):
    """Evidence of n images together with the thresholds of the data set.

    With a ``summary``, planes may be zeros wherever the label is the predicted class.

    Attributes:
        threshold_codes: Thresholds of the data set as codes.
        rule: Rule by which clc flags pixels.
        mask: Output array (n, H, W) uint8, C-contiguous, of the issue masks; None to allocate it.
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
    def valid_pixels(self) -> NDArray[np.int64]:
        """Number of valid pixels, (n,) int64."""
        return self.statistics.valid if self.summary is None else self.summary.valid_pixels

    @cached_property
    def ignored(self) -> IgnoredSums:
        """Confidence sums over ignored and over all pixels."""
        return super().ignored if self.summary is None else self.summary.ignored

    @cached_property
    def class_counts(self) -> ClassCounts:
        """Counts by class."""
        return self.statistics.class_counts if self.summary is None else self.summary.class_counts

    @cached_property
    def z_scores(self) -> NDArray[np.float64]:
        """Distance below the usual agreement by image, side and class (`AgreementScale.z_scores`), (n, 2, K)."""
        return self.threshold_codes.agreement.z_scores(agreement_log_odds(self.class_counts))

    @cached_property
    def pixels_above(self) -> NDArray[np.int64]:
        """Number of valid pixels whose self-confidence reaches the decision threshold of their label, (n,) int64."""
        limits = self.threshold_codes.decision
        if self.encoding.dtype == "uint8":
            found = self.statistics.given_codes if self.summary is None else self.summary.given_codes
            assert found is not None
            reached = found.pixels * ((found.codes & 255) >= limits[found.codes >> 8])
            return np.diff(np.append(0, np.cumsum(reached, dtype=np.int64))[found.ends], prepend=0)
        return count_reached(self.labels, self.self_confidence_codes, limits)

    @cached_property
    def flagged(self) -> FlaggedPixels:
        """Pixels that confident learning flags."""
        limits = self.threshold_codes
        return flag_pixels(
            self.labels,
            self.predicted_class,
            self.self_confidence_codes,
            self.predicted_confidence_codes,
            self.encoding,
            self.classes,
            limits.cut,
            limits.confident if self.rule == "confident" else None,
            self.mask,
        )

    @cached_property
    def flagged_evidence(self) -> NDArray[np.int64]:
        """Sums of m - s over the flagged pixels by given and predicted class, in steps of 2^-16: (n, K, K) int64."""
        steps = self.flagged.evidence * float(self.encoding.unit / EVIDENCE_UNIT)
        return np.asarray(np.rint(steps).astype(np.int64))


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

    def scores(self, images: ScoringInput) -> NDArray[np.float64]:
        """Return the scores (n,) of images; the one of an image without valid pixels is not used.

        With thresholds it uses only valid and flagged pixels, `ScoringInput.pixels_above`, `ScoringInput.z_scores` and
        `ScoringInput.ignored`.
        """
        ...


class EvidenceMethod(Method, Protocol):
    """A score that uses no thresholds."""

    def scores(self, images: ImageEvidence) -> NDArray[np.float64]:
        """Return the scores (n,) of images; the one of an image without valid pixels is not used."""
        ...


def evidence_methods(methods: Sequence[Method]) -> list[EvidenceMethod]:
    """Return the scores that use no thresholds."""
    return [cast(EvidenceMethod, method) for method in methods if not method.uses_thresholds]


def summarize(images: ImageEvidence, methods: Sequence[Method], sizes: NDArray[np.int64]) -> ImageSummary:
    """Compute everything that the results need of whole planes, before the thresholds are known.

    Args:
        images: The images.
        methods: Scores to compute.
        sizes: Rows and columns of the images without padding, (n, 2).

    Returns:
        The summary.
    """
    return ImageSummary(
        images.statistics.class_counts,
        {method.name: method.scores(images) for method in evidence_methods(methods)},
        images.statistics.given_codes if images.encoding.dtype == "uint8" else None,
        images.ignored,
        sample_grids(images.labels, images.predicted_class, sizes),
    )
