"""What a score sees: one image's labels and evidence, and counts over them that several scores share."""

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
    """One image with at least one valid pixel, as a score sees it. H, W: its size; K: the classes.

    ``labels`` (H, W) unsigned: class numbers; ignored pixels hold the dtype's maximum. ``predicted_class``
    (H, W), same dtype. ``self_codes``, ``confident_codes`` (H, W): codes of ``encoding`` (`Encoding.values` makes
    probabilities of them). ``limits``: the thresholds of the data set in these codes. ``rule``: how clc flags.
    ``mask``: where its flags go, (H, W) uint8, C-contiguous; None for memory of their own.
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
        return self.threshold_codes.encoding

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """(H, W) bool: the pixels that count (V_i)."""
        return self.labels < self.classes

    @cached_property
    def counts(self) -> ScoreCounts:
        """Counts over the valid pixels; ``above`` counts s >= tau_l."""
        confidence = (
            (self.predicted_confidence_codes, self.threshold_codes.confident) if self.rule == "confident" else None
        )
        return count_scores(
            self.labels,
            self.predicted_class,
            self.self_confidence_codes,
            self.encoding,
            self.classes,
            self.threshold_codes.decision,
            self.threshold_codes.cut,
            confidence,
            self.mask,
        )

    @cached_property
    def ignored(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(hidden, seen), (K,) int64 each: see `confidence_by_class`."""
        return confidence_by_class(
            self.labels, self.predicted_class, self.predicted_confidence_codes, self.encoding, self.classes
        )

    @property
    def issue_mask(self) -> NDArray[np.uint8]:
        """(H, W) uint8, 1 where confident learning flags the label (methods: clc)."""
        return self.counts.mask

    @property
    def flagged_pairs(self) -> NDArray[np.int64]:
        """(K, K) int64: flagged pixels by given and predicted class."""
        return self.counts.flagged


class Method(Protocol):
    """A score: its name (the column of the results) and a pure function of an `ScoringInput`.

    The score is a float in [0, 1]; lower = more likely mislabeled.
    """

    @property
    def name(self) -> str: ...

    def score(self, image: ScoringInput) -> float: ...
