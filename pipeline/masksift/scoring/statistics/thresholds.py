"""Thresholds of a data set from its class statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.statistics.agreement import AgreementScale
from masksift.scoring.statistics.class_statistics import CONFIDENCE_SLACK, ClassStatistics, Statistics

_MIN_CONFIDENT_THRESHOLD = 2e-6


@dataclass(frozen=True)
class ThresholdCodes:
    """Thresholds as codes of one precision.

    Attributes:
        encoding: The precision.
        confident: Smallest confident code of predicted confidence, t_k less its slack: (K,) int64.
        decision: Smallest code that reaches tau_k of tccp: (K,) int64.
        cut: Largest code of self-confidence that clc flags; -1 flags nothing.
        confident_threshold: t_k as a probability, (K,) float64.
        ignored_share: r_k of omission, (K,) float64.
        agreement: Usual agreement of each class.
    """

    encoding: Encoding
    confident: NDArray[np.int64]
    decision: NDArray[np.int64]
    cut: int
    confident_threshold: NDArray[np.float64]
    ignored_share: NDArray[np.float64]
    agreement: AgreementScale


@dataclass(frozen=True)
class Thresholds:
    """Result of the first pass over the data set that the second pass needs.

    Attributes:
        confident: t_k, (K,) float64; +inf for a class without pixels.
        decision: tau_k of tccp, (K,) float64.
        estimated_issues: M of clc.
        cut: Largest self-confidence that clc flags; None flags nothing.
        ignored_share: r_k of omission, (K,) float64.
        agreement: Usual agreement of each class.
    """

    confident: NDArray[np.float64]
    decision: NDArray[np.float64]
    estimated_issues: int
    cut: float | None
    ignored_share: NDArray[np.float64]
    agreement: AgreementScale

    def encode(self, encoding: Encoding) -> ThresholdCodes:
        """Return the thresholds as codes of a precision."""
        above = None if self.cut is None else math.nextafter(self.cut, math.inf)
        return ThresholdCodes(
            encoding,
            confident_codes(encoding, self.confident),
            codes_at_least(encoding, self.decision),
            -1 if above is None else encoding.code_at_least(above) - 1,
            self.confident,
            self.ignored_share,
            self.agreement,
        )


def confident_thresholds(statistics: ClassStatistics | Statistics) -> NDArray[np.float64]:
    """Return t_k = S_k / n_k (confident learning, Northcutt et al. 2021).

    The exact quotient is rounded once.

    Args:
        statistics: Statistics of the data set.

    Returns:
        (K,) float64, at least 2e-6; +inf where n_k = 0.
    """
    values = []
    for total, pixels in zip(statistics.totals, statistics.pixels, strict=True):
        mean = float(total / int(pixels)) if pixels else math.inf
        values.append(max(mean, _MIN_CONFIDENT_THRESHOLD))
    return np.array(values)


def decision_thresholds(
    statistics: ClassStatistics | Statistics, confident: NDArray[np.float64], tau: str | float
) -> NDArray[np.float64]:
    """Return tau_k of tccp.

    Args:
        statistics: Statistics of the data set.
        confident: t_k, (K,).
        tau: "balanced": the b / 256, b = 1..255, that maximizes TPR - FPR of `p_k >= tau` on the lattice, the smallest
            on ties. "confident": t_k. A number: that number for all classes.

    Returns:
        (K,) float64; t_k for a class with no lattice pixel, or with no other.
    """
    if isinstance(tau, float):
        return np.full(len(confident), tau)
    decision = confident.copy()
    if tau == "confident":
        return decision
    for k, (labeled, every) in enumerate(zip(statistics.grid_labeled, statistics.grid_all, strict=True)):
        positives, negatives = int(labeled.sum()), int(every.sum() - labeled.sum())
        if positives and negatives:
            # TPR - FPR = hits / positives - alarms / negatives, compared as integers: exact on ties
            hits = np.cumsum(labeled[::-1])[::-1][1:]
            alarms = np.cumsum((every - labeled)[::-1])[::-1][1:]
            gains = [int(h) * negatives - int(a) * positives for h, a in zip(hits, alarms, strict=True)]
            decision[k] = (gains.index(max(gains)) + 1) / 256
    return decision


def ignored_shares(statistics: ClassStatistics | Statistics) -> NDArray[np.float64]:
    """Return r_k, the share of the confidence in predictions of class k on ignored pixels.

    The exact quotient is rounded once.

    Args:
        statistics: Statistics of the data set.

    Returns:
        (K,) float64 in [0, 1]; 0 for a class that is never predicted.
    """
    sums = [
        [
            sum(
                (total * state.encoding.unit for total, state in zip(totals, statistics.states, strict=True)),
                Fraction(),
            )
            for totals in zip(*(getattr(state, name) for state in statistics.states), strict=True)
        ]
        for name in ("ignored_confidence", "total_confidence")
    ]
    return np.array([float(ignored / total) if total else 0.0 for ignored, total in zip(*sums, strict=True)])


def confident_codes(encoding: Encoding, confident: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the smallest confident code of predicted confidence by class, m >= t_k - 1e-6: (K,) int64."""
    return codes_at_least(encoding, confident - CONFIDENCE_SLACK)


def codes_at_least(encoding: Encoding, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the smallest codes that reach the values, (K,) int64; one above the largest code if none does."""
    return np.array([encoding.code_at_least(float(value)) for value in values], np.int64)


def count_confident(statistics: ClassStatistics, limits: NDArray[np.int64]) -> int:
    """Return M of clc from 8-bit evidence: pixels predicted as another class with at least its code in ``limits``."""
    return sum(int(counts[limit:].sum()) for counts, limit in zip(statistics.confident_counts, limits, strict=True))


def find_rank_threshold(
    states: Sequence[ClassStatistics], rank: int, count_low_bits: Callable[[int], NDArray[np.int64]]
) -> float | None:
    """Find the rank-th smallest self-confidence of all states.

    Args:
        states: One state per precision.
        rank: Rank, 1 = smallest; 0 for none.
        count_low_bits: Counts the float32 values of a bin by their lower 16 bits, (65536,) int64: the histogram has the
            upper 16 bits only.

    Returns:
        The value; None for rank 0.
    """
    if not rank:
        return None
    exact = [
        _ValueCounts.from_histogram(s.encoding.values(np.arange(s.encoding.bins)), s.self_counts)
        for s in states
        if not s.encoding.key_shift
    ]
    known = reduce(_ValueCounts.merge, exact, _ValueCounts(np.empty(0), np.empty(0, np.int64)))
    coarse = next((s for s in states if s.encoding.key_shift), None)
    if coarse is None:
        return known.at_rank(rank)
    encoding, shift = coarse.encoding, coarse.encoding.key_shift
    edges = encoding.values(((np.arange(encoding.bins) + 1) << shift) - 1)  # the largest value of each bin
    below = np.cumsum(coarse.self_counts) + known.count_up_to(edges)
    key = int(np.searchsorted(below, rank))
    inside = known.between(edges[key - 1] if key else -1.0, edges[key])
    counts = count_low_bits(key) if coarse.self_counts[key] else np.zeros(1 << shift, np.int64)
    fine = _ValueCounts.from_histogram(encoding.values((key << shift) + np.arange(1 << shift)), counts)
    return inside.merge(fine).at_rank(rank - (int(below[key - 1]) if key else 0))


@dataclass(frozen=True)
class _ValueCounts:
    """Ascending values and how often each occurs."""

    values: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def from_histogram(cls, values: NDArray[np.float64], counts: NDArray[np.int64]) -> _ValueCounts:
        occurring = counts > 0
        return cls(values[occurring], counts[occurring])

    def merge(self, other: _ValueCounts) -> _ValueCounts:
        values = np.concatenate([self.values, other.values])
        order = np.argsort(values, kind="stable")
        return _ValueCounts(values[order], np.concatenate([self.counts, other.counts])[order])

    def count_up_to(self, limits: NDArray[np.float64]) -> NDArray[np.int64]:
        below = np.concatenate([[0], np.cumsum(self.counts)])
        return np.asarray(below[np.searchsorted(self.values, limits, side="right")])

    def between(self, low: float, high: float) -> _ValueCounts:
        inside = (self.values > low) & (self.values <= high)
        return _ValueCounts(self.values[inside], self.counts[inside])

    def at_rank(self, rank: int) -> float:
        return float(self.values[np.searchsorted(np.cumsum(self.counts), rank)])


class EvidenceCounter(Protocol):
    """Counts over the evidence that the statistics do not hold."""

    def count_confident(self, limits: Mapping[Encoding, NDArray[np.int64]]) -> int:
        """Return the share of M of all images whose evidence has one of these precisions (more than 8 bits)."""
        ...

    def count_low_bits(self, key: int) -> NDArray[np.int64]:
        """Count the float32 self-confidences with this upper half by their lower half: (65536,) int64."""
        ...


def compute_thresholds(
    statistics: ClassStatistics | Statistics, tau: str | float, counter: EvidenceCounter
) -> Thresholds:
    """Compute the thresholds of a data set.

    Args:
        statistics: Statistics of the data set.
        tau: As for `decision_thresholds`.
        counter: Counts over evidence of more than 8 bits.

    Returns:
        The thresholds.
    """
    confident = confident_thresholds(statistics)
    issues, wide = 0, {}
    for state in statistics.states:
        limits = confident_codes(state.encoding, confident)
        if state.encoding.dtype == "uint8":
            issues += count_confident(state, limits)
        else:
            wide[state.encoding] = limits
    issues += counter.count_confident(wide) if wide else 0
    cut = find_rank_threshold(statistics.states, issues, counter.count_low_bits)
    decision = decision_thresholds(statistics, confident, tau)
    agreement = AgreementScale.from_counts(statistics.agreement)
    return Thresholds(confident, decision, issues, cut, ignored_shares(statistics), agreement)
