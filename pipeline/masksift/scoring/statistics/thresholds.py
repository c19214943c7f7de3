"""Thresholds from the global class statistics."""

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
from masksift.scoring.statistics.class_statistics import SLACK, ClassStatistics, Statistics

_LEAST_THRESHOLD = 2e-6


@dataclass(frozen=True)
class ThresholdCodes:
    """Thresholds as codes of one precision. ``confident``, ``decision`` (K,) int64: the least codes that reach them
    (t_k with its slack); ``cut``: the largest code of self-confidence that clc flags, -1 where it flags nothing.
    ``mean``, ``ignored_share`` (K,) float64: t_k and r_k as they are."""

    encoding: Encoding
    confident: NDArray[np.int64]
    decision: NDArray[np.int64]
    cut: int
    confident_threshold: NDArray[np.float64]
    ignored_share: NDArray[np.float64]


@dataclass(frozen=True)
class Thresholds:
    """What the second pass needs of the first: two small vectors and a number.

    ``confident`` (K,) float64: t_k, +inf for a class without a pixel. ``decision`` (K,) float64: tau_k of tccp.
    ``estimated_issues``: M of clc. ``cut``: the self-confidence up to which clc flags; None flags nothing.
    ``ignored_share`` (K,) float64: r_k of omission.
    """

    confident: NDArray[np.float64]
    decision: NDArray[np.float64]
    estimated_issues: int
    cut: float | None
    ignored_share: NDArray[np.float64]

    def encode(self, encoding: Encoding) -> ThresholdCodes:
        """The thresholds as codes of a precision."""
        above = None if self.cut is None else math.nextafter(self.cut, math.inf)
        return ThresholdCodes(
            encoding,
            confident_codes(encoding, self.confident),
            codes_at_least(encoding, self.decision),
            -1 if above is None else encoding.code_at_least(above) - 1,
            self.confident,
            self.ignored_share,
        )


def confident_thresholds(statistics: ClassStatistics | Statistics) -> NDArray[np.float64]:
    """t_k = S_k / n_k (confident learning, Northcutt et al. 2021), (K,) float64; at least 2e-6; +inf where
    n_k = 0. The quotient is formed exactly and rounded once."""
    values = []
    for total, pixels in zip(statistics.totals, statistics.pixels, strict=True):
        mean = float(total / int(pixels)) if pixels else math.inf
        values.append(max(mean, _LEAST_THRESHOLD))
    return np.array(values)


def decision_thresholds(
    statistics: ClassStatistics | Statistics, confident: NDArray[np.float64], tau: str | float
) -> NDArray[np.float64]:
    """tau_k of tccp, (K,) float64: for ``balanced`` the b / 256, b = 1..255, that maximises TPR - FPR of
    `p_k >= tau` on the lattice, the smallest on ties; t_k for ``confident`` and for a class that has no lattice
    pixel, or no other; or one number for all."""
    if isinstance(tau, float):
        return np.full(len(confident), tau)
    decision = confident.copy()
    if tau == "confident":
        return decision
    for k, (own, every) in enumerate(zip(statistics.grid_labeled, statistics.grid_all, strict=True)):
        positives, others = int(own.sum()), int(every.sum() - own.sum())
        if positives and others:
            # TPR - FPR = hits / positives - alarms / others, compared as integers: exact on ties
            hits = np.cumsum(own[::-1])[::-1][1:]
            alarms = np.cumsum((every - own)[::-1])[::-1][1:]
            gains = [int(h) * others - int(a) * positives for h, a in zip(hits, alarms, strict=True)]
            decision[k] = (gains.index(max(gains)) + 1) / 256
    return decision


def ignored_shares(statistics: ClassStatistics | Statistics) -> NDArray[np.float64]:
    """r_k: of the confidence in predictions of class k, the share that lies on ignored pixels, (K,) float64 in [0, 1];
    0 of a class that is never predicted. The quotient is formed exactly and rounded once."""
    sums = [
        [
            sum((total * part.encoding.unit for total, part in zip(each, statistics.states, strict=True)), Fraction())
            for each in zip(*(getattr(part, name) for part in statistics.states), strict=True)
        ]
        for name in ("ignored_confidence", "total_confidence")
    ]
    return np.array([float(hidden / seen) if seen else 0.0 for hidden, seen in zip(*sums, strict=True)])


def confident_codes(encoding: Encoding, confident: NDArray[np.float64]) -> NDArray[np.int64]:
    """The least code of predicted confidence that is confident, by class: m >= t_k - 1e-6, (K,) int64."""
    return codes_at_least(encoding, confident - SLACK)


def codes_at_least(encoding: Encoding, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The least codes that reach each of the values, (K,) int64; one above the largest code where none does."""
    return np.array([encoding.code_at_least(float(value)) for value in values], np.int64)


def count_confident(statistics: ClassStatistics, limits: NDArray[np.int64]) -> int:
    """M of clc from the counts of 8-bit evidence: pixels predicted as another class, at or above its limit."""
    return sum(int(counts[limit:].sum()) for counts, limit in zip(statistics.confident_counts, limits, strict=True))


def find_rank_threshold(
    states: Sequence[ClassStatistics], rank: int, look: Callable[[int], NDArray[np.int64]]
) -> float | None:
    """The rank-th smallest self-confidence (1 = the smallest) of all states; None of rank 0.

    Of float32 the bins tell the upper 16 bits alone: ``look(key)`` counts the values of the bin that holds the cut by
    their lower ones, (65536,) int64.
    """
    if not rank:
        return None
    exact = [
        _Values.of(s.encoding.values(np.arange(s.encoding.bins)), s.self_counts)
        for s in states
        if not s.encoding.key_shift
    ]
    known = reduce(_Values.merge, exact, _Values(np.empty(0), np.empty(0, np.int64)))
    coarse = next((s for s in states if s.encoding.key_shift), None)
    if coarse is None:
        return known.at(rank)
    encoding, shift = coarse.encoding, coarse.encoding.key_shift
    edges = encoding.values(((np.arange(encoding.bins) + 1) << shift) - 1)  # the largest value of each bin
    below = np.cumsum(coarse.self_counts) + known.up_to(edges)
    key = int(np.searchsorted(below, rank))
    inside = known.between(edges[key - 1] if key else -1.0, edges[key])
    counts = look(key) if coarse.self_counts[key] else np.zeros(1 << shift, np.int64)
    fine = _Values.of(encoding.values((key << shift) + np.arange(1 << shift)), counts)
    return inside.merge(fine).at(rank - (int(below[key - 1]) if key else 0))


@dataclass(frozen=True)
class _Values:
    """Values, ascending, and how often each occurs."""

    values: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[np.float64], counts: NDArray[np.int64]) -> _Values:
        """Those that occur, of values that do not fall."""
        there = counts > 0
        return cls(values[there], counts[there])

    def merge(self, other: _Values) -> _Values:
        values = np.concatenate([self.values, other.values])
        order = np.argsort(values, kind="stable")
        return _Values(values[order], np.concatenate([self.counts, other.counts])[order])

    def up_to(self, most: NDArray[np.float64]) -> NDArray[np.int64]:
        """How many are at most each of these."""
        below = np.concatenate([[0], np.cumsum(self.counts)])
        return np.asarray(below[np.searchsorted(self.values, most, side="right")])

    def between(self, low: float, high: float) -> _Values:
        """Those above `low` and at most `high`."""
        there = (self.values > low) & (self.values <= high)
        return _Values(self.values[there], self.counts[there])

    def at(self, rank: int) -> float:
        """The rank-th smallest."""
        return float(self.values[np.searchsorted(np.cumsum(self.counts), rank)])


class EvidenceCounter(Protocol):
    """What the statistics alone do not hold, from the evidence itself."""

    def count_confident(self, limits: Mapping[Encoding, NDArray[np.int64]]) -> int:
        """The share of M of all images whose evidence has one of these precisions (more than 8 bits)."""

    def count_low_bits(self, key: int) -> NDArray[np.int64]:
        """(65536,) int64: the float32 self-confidences with that upper half, by their lower half."""


def compute_thresholds(statistics: ClassStatistics | Statistics, tau: str | float, look: EvidenceCounter) -> Thresholds:
    """The thresholds of a whole data set."""
    confident = confident_thresholds(statistics)
    issues, wide = 0, {}
    for part in statistics.states:
        limits = confident_codes(part.encoding, confident)
        if part.encoding.dtype == "uint8":
            issues += count_confident(part, limits)
        else:
            wide[part.encoding] = limits
    issues += look.count_confident(wide) if wide else 0
    cut = find_rank_threshold(statistics.states, issues, look.count_low_bits)
    decision = decision_thresholds(statistics, confident, tau)
    return Thresholds(confident, decision, issues, cut, ignored_shares(statistics))
