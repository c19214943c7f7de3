"""Class statistics: a mergeable state of integer sums, from which the thresholds follow.

`merge` is associative and commutative, and `empty` is its neutral element. The result is the same to the bit for any
number of workers, any blocks, any order of arrival and any retries. docs/reference/scores.md defines the thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.npz import pack_arrays, unpack_arrays
from masksift.scoring.kernels.condense import CondenseConfig
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.pixel_statistics import PixelStatistics
from masksift.scoring.statistics.agreement import BINS, agreement_log_odds, count_agreement

CONFIDENCE_SLACK = 1e-6
"""Distance below its threshold at which a predicted confidence still counts as confident (as in cleanlab)."""
_WORD = 1 << 62


@dataclass(frozen=True)
class ClassStatistics:
    """State of the global reduction over all scored images whose evidence has one precision; K classes.

    Attributes:
        encoding: Precision of the evidence.
        joint: Valid pixels by given and predicted class, (K, K) int64.
        sums: Self-confidence by given class in units of ``encoding.unit``, K integers.
        self_counts: Histogram of self-confidence, (bins,) int64.
        confident_counts: Predicted confidence of the pixels predicted as another class than the given one, by predicted
            class: (K, 256) int64 for 8-bit evidence, else (0, 256).
        grid_labeled: Histograms (K, 256) int64 of p_k over the lattice pixels labeled k.
        grid_all: Histograms (K, 256) int64 of p_k over all valid lattice pixels.
        agreement: Images by side, class and agreement of label and prediction, (2, K, 576) int64 (`count_agreement`).
        ignored_confidence: Predicted confidence over ignored pixels by predicted class (`confidence_by_class`), in
            units of ``encoding.unit``, K integers.
        total_confidence: The same over all pixels.
    """

    encoding: Encoding
    joint: NDArray[np.int64]
    sums: tuple[int, ...]
    self_counts: NDArray[np.int64]
    confident_counts: NDArray[np.int64]
    grid_labeled: NDArray[np.int64]
    grid_all: NDArray[np.int64]
    agreement: NDArray[np.int64]
    ignored_confidence: tuple[int, ...]
    total_confidence: tuple[int, ...]

    @classmethod
    def empty(cls, config: CondenseConfig) -> ClassStatistics:
        """Return the state of no image."""
        k, encoding = config.classes, config.evidence
        rows = k if encoding.dtype == "uint8" else 0
        return cls(
            encoding,
            np.zeros((k, k), np.int64),
            (0,) * k,
            np.zeros(encoding.bins, np.int64),
            np.zeros((rows, 256), np.int64),
            np.zeros((k, 256), np.int64),
            np.zeros((k, 256), np.int64),
            np.zeros((2, k, BINS), np.int64),
            (0,) * k,
            (0,) * k,
        )

    @classmethod
    def from_counts(
        cls,
        encoding: Encoding,
        counts: PixelStatistics,
        grid_labeled: NDArray[np.int64],
        grid_all: NDArray[np.int64],
        ignored_confidence: NDArray[np.int64],
        total_confidence: NDArray[np.int64],
    ) -> ClassStatistics:
        """Return the state of counted images; the other arguments are those of the class."""
        return cls(
            encoding,
            counts.joint.sum(axis=0),
            tuple(counts.sums.sum(axis=0).tolist()),
            counts.self_counts,
            counts.confident_counts,
            grid_labeled,
            grid_all,
            count_agreement(agreement_log_odds(counts.class_counts)),
            tuple(ignored_confidence.tolist()),
            tuple(total_confidence.tolist()),
        )

    def merge(self, other: ClassStatistics) -> ClassStatistics:
        """Return the state of both.

        Args:
            other: State of other images.

        Returns:
            The merged state.

        Raises:
            ValueError: If classes or encodings differ.
        """
        if self.encoding != other.encoding or self.joint.shape != other.joint.shape:
            raise ValueError(
                f"Statistics of {len(self.sums)} classes in {self.encoding} and of {len(other.sums)} classes in "
                f"{other.encoding} have different bins. Keep them apart in Statistics."
            )
        sums: dict[str, Any] = {name: _add(getattr(self, name), getattr(other, name)) for name in _SUMS}
        counts: dict[str, Any] = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        return ClassStatistics(encoding=self.encoding, **sums, **counts)

    def subtract(self, other: ClassStatistics) -> ClassStatistics:
        """Return the difference, which merged with ``other`` gives this state; its counts may be negative."""
        sums: dict[str, Any] = {name: tuple(-total for total in getattr(other, name)) for name in _SUMS}
        counts: dict[str, Any] = {name: -getattr(other, name) for name in _COUNTS}
        return self.merge(replace(other, **sums, **counts))

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Valid pixels labeled k, n_k: (K,) int64."""
        totals: NDArray[np.int64] = self.joint.sum(axis=1)
        return totals

    @property
    def predicted_pixels(self) -> NDArray[np.int64]:
        """Valid pixels predicted k: (K,) int64."""
        totals: NDArray[np.int64] = self.joint.sum(axis=0)
        return totals

    @property
    def totals(self) -> list[Fraction]:
        """Exact sum of self-confidence over the pixels labeled k, S_k, for each class."""
        return [total * self.encoding.unit for total in self.sums]

    @property
    def states(self) -> tuple[ClassStatistics, ...]:
        """This state alone, as `Statistics.states`."""
        return (self,)

    def to_bytes(self) -> bytes:
        """Return the state as an npz archive, counts in the smallest dtype that holds them."""
        words = {name: np.array([divmod(total, _WORD) for total in getattr(self, name)], np.int64) for name in _SUMS}
        counts = {name: _shrink(getattr(self, name)) for name in _COUNTS}
        return pack_arrays(dtype=self.encoding.dtype, scale=self.encoding.scale, **words, **counts)

    @classmethod
    def from_bytes(cls, data: bytes) -> ClassStatistics:
        """Return the state that `to_bytes` wrote."""
        arrays = unpack_arrays(data)
        encoding = Encoding(str(arrays["dtype"]), float(arrays["scale"]))
        sums: dict[str, Any] = {
            name: tuple(int(high) * _WORD + int(low) for high, low in arrays[name]) for name in _SUMS
        }
        counts: dict[str, Any] = {name: arrays[name].astype(np.int64) for name in _COUNTS}
        return cls(encoding=encoding, **sums, **counts)


@dataclass(frozen=True)
class Statistics:
    """State of a whole data set: one state per precision of the evidence, ordered by it.

    `merge` is associative and commutative; `Statistics(())` is the neutral element.
    """

    states: tuple[ClassStatistics, ...]

    def merge(self, other: Statistics) -> Statistics:
        """Return the state of both."""
        merged = {state.encoding: state for state in self.states}
        for state in other.states:
            merged[state.encoding] = merged[state.encoding].merge(state) if state.encoding in merged else state
        return Statistics(tuple(sorted(merged.values(), key=lambda one: (one.encoding.dtype, one.encoding.scale))))

    @cached_property
    def pixels(self) -> NDArray[np.int64]:
        """Valid pixels labeled k, n_k: (K,) int64."""
        return _total([state.pixels for state in self.states])

    @property
    def predicted_pixels(self) -> NDArray[np.int64]:
        """Valid pixels predicted k: (K,) int64."""
        return _total([state.predicted_pixels for state in self.states])

    @property
    def totals(self) -> list[Fraction]:
        """Exact sum of self-confidence over the pixels labeled k, S_k, for each class."""
        return [sum(values, Fraction()) for values in zip(*(state.totals for state in self.states), strict=True)]

    @property
    def grid_labeled(self) -> NDArray[np.int64]:
        """Histograms (K, 256) int64 of p_k over the lattice pixels labeled k."""
        return _total([state.grid_labeled for state in self.states])

    @property
    def grid_all(self) -> NDArray[np.int64]:
        """Histograms (K, 256) int64 of p_k over all valid lattice pixels."""
        return _total([state.grid_all for state in self.states])

    @property
    def agreement(self) -> NDArray[np.int64]:
        """Images by side, class and agreement of label and prediction, (2, K, 576) int64."""
        return _total([state.agreement for state in self.states])


def _add(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(first, second, strict=True))


def _total(counts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return reduce(np.add, counts)


_SUMS = ("sums", "ignored_confidence", "total_confidence")
_COUNTS = ("joint", "self_counts", "confident_counts", "grid_labeled", "grid_all", "agreement")


def _shrink(counts: NDArray[np.int64]) -> NDArray[np.integer]:
    least, most = int(counts.min(initial=0)), int(counts.max(initial=0))
    return counts.astype(np.min_scalar_type(most if least == 0 else min(least, -1 - most)))
