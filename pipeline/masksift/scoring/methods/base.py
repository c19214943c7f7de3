"""Interface of the scores: one image's labels and evidence, with the counts that several scores share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.ignored_pixels import confidence_by_class
from masksift.scoring.kernels.score_counts import ScoreCounts, count_scores
from masksift.scoring.statistics.thresholds import ThresholdCodes

FlaggingRule = Literal["rank", "confident"]


@dataclass(frozen=True)
class ScoringInput:
    """One image (H, W) of K classes with at least one valid pixel.

    Attributes:
        labels: Class plane (H, W), unsigned; ignored pixels hold the dtype's maximum.
        predicted_class: Predicted classes (H, W), same dtype.
        self_confidence_codes: Probability codes (H, W) of the given labels.
        predicted_confidence_codes: Probability codes (H, W) of the predicted classes.
        classes: K.
        threshold_codes: Thresholds of the data set as codes.
        rule: Rule by which clc flags pixels.
        mask: Output array (H, W) uint8, C-contiguous, of the issue mask; None to allocate it.
    """

    labels: NDArray[np.unsignedinteger]
    predicted_class: NDArray[np.unsignedinteger]
    self_confidence_codes: NDArray[np.unsignedinteger]
    predicted_confidence_codes: NDArray[np.unsignedinteger]
    classes: int
    threshold_codes: ThresholdCodes
    rule: FlaggingRule = "rank"
    mask: NDArray[np.uint8] | None = None

    @property
    def encoding(self) -> Encoding:
        """Encoding of the codes."""
        return self.threshold_codes.encoding

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """Mask (H, W) of the pixels that are not ignored."""
        return self.labels < self.classes

    @cached_property
    def counts(self) -> ScoreCounts:
        """Counts over the valid pixels; ``above`` counts s >= tau_l."""
        limits = self.threshold_codes
        confidence = (self.predicted_confidence_codes, limits.confident) if self.rule == "confident" else None
        return count_scores(
            self.labels,
            self.predicted_class,
            self.self_confidence_codes,
            self.encoding,
            self.classes,
            limits.decision,
            limits.cut,
            confidence,
            self.mask,
        )

    @cached_property
    def ignored(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Confidence sums (K,) int64 over ignored and over all pixels (`confidence_by_class`)."""
        return confidence_by_class(
            self.labels, self.predicted_class, self.predicted_confidence_codes, self.encoding, self.classes
        )

    @property
    def issue_mask(self) -> NDArray[np.uint8]:
        """Mask (H, W) uint8, 1 where confident learning flags the label."""
        return self.counts.mask

    @property
    def flagged_pairs(self) -> NDArray[np.int64]:
        """Flagged pixels by given and predicted class, (K, K) int64."""
        return self.counts.flagged


class Method(Protocol):
    """A score: a float in [0, 1] per image; lower = more likely mislabeled."""

    @property
    def name(self) -> str:
        """Name of the column in the results."""
        ...

    def score(self, image: ScoringInput) -> float:
        """Return the score of an image."""
        ...
