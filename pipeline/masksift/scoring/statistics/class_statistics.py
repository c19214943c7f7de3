"""Class statistics: one mergeable state, and the thresholds that come of it.

Everything in the state is a sum of integers. `merge` is associative and commutative and `zero` is its
neutral element, so that the result is the same to the bit whatever the workers, the blocks, the order of
arrival or the faults on the way. Definitions: methods page of the README.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.condense import Recipe
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.pixel_statistics import Tally

__all__ = [
    "ClassStatistics",
    "Limits",
    "Statistics",
    "Thresholds",
    "codes_at_least",
    "confident_codes",
    "confident_thresholds",
    "count_confident",
    "decision_thresholds",
    "find_cut",
    "ignored_shares",
]

SLACK = 1e-6
"""How far below its threshold a predicted confidence still counts as confident (as in cleanlab)."""
_LEAST_THRESHOLD = 2e-6
_WORD = 1 << 62


@dataclass(frozen=True)
class ClassStatistics:
    """The state of the global reduction over all good images whose evidence has one precision; K classes.

    ``joint`` (K, K) int64: valid pixels by given and predicted class. ``sums`` (K,) int: self-confidence by given
    class in units of ``encoding.unit``. ``self_counts`` (bins,) int64: histogram of self-confidence.
    ``confident_counts`` (K, 256) int64: predicted confidence of the pixels predicted as another class than the given
    one, by predicted class; 8-bit evidence only, else (0, 256). ``lattice_own``, ``lattice_every`` (K, 256) int64:
    p_k of the lattice pixels labelled k, and of all. ``hidden``, ``seen`` (K,) int: predicted confidence by predicted
    class, over ignored pixels and over all (`confidence_by_class`), in units of ``encoding.unit``.
    """

    encoding: Encoding
    joint: NDArray[np.int64]
    sums: tuple[int, ...]
    self_counts: NDArray[np.int64]
    confident_counts: NDArray[np.int64]
    lattice_own: NDArray[np.int64]
    lattice_every: NDArray[np.int64]
    hidden: tuple[int, ...]
    seen: tuple[int, ...]

    @classmethod
    def zero(cls, recipe: Recipe) -> ClassStatistics:
        """The state of no image."""
        k, encoding = recipe.classes, recipe.evidence
        rows = k if encoding.dtype == "uint8" else 0
        return cls(
            encoding,
            np.zeros((k, k), np.int64),
            (0,) * k,
            np.zeros(encoding.bins, np.int64),
            np.zeros((rows, 256), np.int64),
            np.zeros((k, 256), np.int64),
            np.zeros((k, 256), np.int64),
            (0,) * k,
            (0,) * k,
        )

    @classmethod
    def of_image(
        cls,
        encoding: Encoding,
        tally: Tally,
        lattice_own: NDArray[np.int64],
        lattice_every: NDArray[np.int64],
        hidden: NDArray[np.int64],
        seen: NDArray[np.int64],
    ) -> ClassStatistics:
        """The state of one image."""
        return cls(
            encoding, tally.joint, tuple(tally.sums), tally.self_counts, tally.confident_counts, lattice_own,
            lattice_every, tuple(hidden.tolist()), tuple(seen.tolist()),
        )  # fmt: skip

    def merge(self, other: ClassStatistics) -> ClassStatistics:
        """The state of both. Raises ValueError where they count different things."""
        if self.encoding != other.encoding or self.joint.shape != other.joint.shape:
            raise ValueError(
                f"statistics of {len(self.sums)} classes in {self.encoding} cannot be added to those of "
                f"{len(other.sums)} classes in {other.encoding}: their bins differ; keep them apart (Statistics)"
            )
        return ClassStatistics(
            self.encoding,
            self.joint + other.joint,
            _sums(self.sums, other.sums),
            self.self_counts + other.self_counts,
            self.confident_counts + other.confident_counts,
            self.lattice_own + other.lattice_own,
            self.lattice_every + other.lattice_every,
            _sums(self.hidden, other.hidden),
            _sums(self.seen, other.seen),
        )

    def minus(self, other: ClassStatistics) -> ClassStatistics:
        """What is to be merged with ``other`` to give this state: a difference, whose counts may be negative."""
        sums: dict[str, Any] = {name: tuple(-total for total in getattr(other, name)) for name in _SUMS}
        counts: dict[str, Any] = {name: -getattr(other, name) for name in _COUNTS}
        return self.merge(replace(other, **sums, **counts))

    @property
    def pixels(self) -> NDArray[np.int64]:
        """n_k: valid pixels labelled k, (K,) int64."""
        totals: NDArray[np.int64] = self.joint.sum(axis=1)
        return totals

    @property
    def totals(self) -> list[Fraction]:
        """S_k: self-confidence summed over the pixels labelled k, exactly; one a class."""
        return [total * self.encoding.unit for total in self.sums]

    @property
    def parts(self) -> tuple[ClassStatistics, ...]:
        """As those of `Statistics`."""
        return (self,)

    def to_bytes(self) -> bytes:
        """The state as the bytes of an npz archive, counts in the smallest dtype that holds them."""
        words = {name: np.array([divmod(total, _WORD) for total in getattr(self, name)], np.int64) for name in _SUMS}
        counts = {name: _small(getattr(self, name)) for name in _COUNTS}
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, allow_pickle=False, dtype=self.encoding.dtype, scale=self.encoding.scale, **words, **counts
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> ClassStatistics:
        """The state that `to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            encoding = Encoding(str(archive["dtype"]), float(archive["scale"]))
            sums: dict[str, Any] = {
                name: tuple(int(high) * _WORD + int(low) for high, low in archive[name]) for name in _SUMS
            }
            counts = {name: archive[name].astype(np.int64) for name in _COUNTS}
        return cls(encoding=encoding, **sums, **counts)


@dataclass(frozen=True)
class Statistics:
    """The state of a whole data set, whose sources may differ in the precision of their evidence: one state a
    precision, in ``parts``, ordered by it. A monoid as they are, with `Statistics(())` as its neutral element."""

    parts: tuple[ClassStatistics, ...]

    def merge(self, other: Statistics) -> Statistics:
        """The state of both."""
        found = {part.encoding: part for part in self.parts}
        for part in other.parts:
            found[part.encoding] = found[part.encoding].merge(part) if part.encoding in found else part
        return Statistics(tuple(sorted(found.values(), key=lambda part: (part.encoding.dtype, part.encoding.scale))))

    @cached_property
    def pixels(self) -> NDArray[np.int64]:
        """n_k: valid pixels labelled k, (K,) int64."""
        return _added([part.pixels for part in self.parts])

    @property
    def totals(self) -> list[Fraction]:
        """S_k: self-confidence summed over the pixels labelled k, exactly; one a class."""
        return [sum(each, Fraction()) for each in zip(*(part.totals for part in self.parts), strict=True)]

    @property
    def lattice_own(self) -> NDArray[np.int64]:
        """(K, 256) int64: p_k of the lattice pixels labelled k."""
        return _added([part.lattice_own for part in self.parts])

    @property
    def lattice_every(self) -> NDArray[np.int64]:
        """(K, 256) int64: p_k of all lattice pixels."""
        return _added([part.lattice_every for part in self.parts])


def _sums(some: Sequence[int], others: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(some, others, strict=True))


def _added(counts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return reduce(np.add, counts)


_SUMS = ("sums", "hidden", "seen")
_COUNTS = ("joint", "self_counts", "confident_counts", "lattice_own", "lattice_every")


def _small(counts: NDArray[np.int64]) -> NDArray[np.integer]:
    least, most = int(counts.min(initial=0)), int(counts.max(initial=0))
    return counts.astype(np.min_scalar_type(most if least == 0 else min(least, -1 - most)))


@dataclass(frozen=True)
class Limits:
    """Thresholds as codes of one precision. ``confident``, ``decision`` (K,) int64: the least codes that reach them
    (t_k with its slack); ``cut``: the largest code of self-confidence that clc flags, -1 where it flags nothing.
    ``mean``, ``ignored_share`` (K,) float64: t_k and r_k as they are."""

    encoding: Encoding
    confident: NDArray[np.int64]
    decision: NDArray[np.int64]
    cut: int
    mean: NDArray[np.float64]
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

    def limits(self, encoding: Encoding) -> Limits:
        """The thresholds as codes of a precision."""
        above = None if self.cut is None else math.nextafter(self.cut, math.inf)
        return Limits(
            encoding, confident_codes(encoding, self.confident), codes_at_least(encoding, self.decision),
            -1 if above is None else encoding.code_at_least(above) - 1, self.confident, self.ignored_share,
        )  # fmt: skip


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
    for k, (own, every) in enumerate(zip(statistics.lattice_own, statistics.lattice_every, strict=True)):
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
        [sum((total * part.encoding.unit for total, part in zip(each, statistics.parts, strict=True)), Fraction())
         for each in zip(*(getattr(part, name) for part in statistics.parts), strict=True)]
        for name in ("hidden", "seen")
    ]  # fmt: skip
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


def find_cut(states: Sequence[ClassStatistics], rank: int, look: Callable[[int], NDArray[np.int64]]) -> float | None:
    """The rank-th smallest self-confidence (1 = the smallest) of all states; None of rank 0.

    Of float32 the bins tell the upper 16 bits alone: ``look(key)`` counts the values of the bin that holds the cut by
    their lower ones, (65536,) int64.
    """
    if not rank:
        return None
    exact = [_Values.of(s.encoding.values(np.arange(s.encoding.bins)), s.self_counts)
             for s in states if not s.encoding.key_shift]  # fmt: skip
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
