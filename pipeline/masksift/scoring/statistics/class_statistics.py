"""Class statistics: one mergeable state, and the thresholds that come of it.

Everything in the state is a sum of integers. `merge` is associative and commutative and `zero` is its
neutral element, so that the result is the same to the bit whatever the workers, the blocks, the order of
arrival or the faults on the way. Definitions: methods page of the README.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.condense import CondenseConfig
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.pixel_statistics import PixelStatistics

SLACK = 1e-6
"""How far below its threshold a predicted confidence still counts as confident (as in cleanlab)."""
_WORD = 1 << 62


@dataclass(frozen=True)
class ClassStatistics:
    """The state of the global reduction over all good images whose evidence has one precision; K classes.

    ``joint`` (K, K) int64: valid pixels by given and predicted class. ``sums`` (K,) int: self-confidence by given
    class in units of ``encoding.unit``. ``self_counts`` (bins,) int64: histogram of self-confidence.
    ``confident_counts`` (K, 256) int64: predicted confidence of the pixels predicted as another class than the given
    one, by predicted class; 8-bit evidence only, else (0, 256). ``grid_labeled``, ``grid_all`` (K, 256) int64:
    p_k of the lattice pixels labelled k, and of all. ``hidden``, ``seen`` (K,) int: predicted confidence by predicted
    class, over ignored pixels and over all (`confidence_by_class`), in units of ``encoding.unit``.
    """

    encoding: Encoding
    joint: NDArray[np.int64]
    sums: tuple[int, ...]
    self_counts: NDArray[np.int64]
    confident_counts: NDArray[np.int64]
    grid_labeled: NDArray[np.int64]
    grid_all: NDArray[np.int64]
    ignored_confidence: tuple[int, ...]
    total_confidence: tuple[int, ...]

    @classmethod
    def empty(cls, recipe: CondenseConfig) -> ClassStatistics:
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
    def from_image(
        cls,
        encoding: Encoding,
        tally: PixelStatistics,
        grid_labeled: NDArray[np.int64],
        grid_all: NDArray[np.int64],
        hidden: NDArray[np.int64],
        seen: NDArray[np.int64],
    ) -> ClassStatistics:
        """The state of one image."""
        return cls(
            encoding,
            tally.joint,
            tuple(tally.sums),
            tally.self_counts,
            tally.confident_counts,
            grid_labeled,
            grid_all,
            tuple(hidden.tolist()),
            tuple(seen.tolist()),
        )

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
            self.grid_labeled + other.grid_labeled,
            self.grid_all + other.grid_all,
            _sums(self.ignored_confidence, other.ignored_confidence),
            _sums(self.total_confidence, other.total_confidence),
        )

    def subtract(self, other: ClassStatistics) -> ClassStatistics:
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
    def states(self) -> tuple[ClassStatistics, ...]:
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

    states: tuple[ClassStatistics, ...]

    def merge(self, other: Statistics) -> Statistics:
        """The state of both."""
        found = {part.encoding: part for part in self.states}
        for part in other.states:
            found[part.encoding] = found[part.encoding].merge(part) if part.encoding in found else part
        return Statistics(tuple(sorted(found.values(), key=lambda part: (part.encoding.dtype, part.encoding.scale))))

    @cached_property
    def pixels(self) -> NDArray[np.int64]:
        """n_k: valid pixels labelled k, (K,) int64."""
        return _added([part.pixels for part in self.states])

    @property
    def totals(self) -> list[Fraction]:
        """S_k: self-confidence summed over the pixels labelled k, exactly; one a class."""
        return [sum(each, Fraction()) for each in zip(*(part.totals for part in self.states), strict=True)]

    @property
    def grid_labeled(self) -> NDArray[np.int64]:
        """(K, 256) int64: p_k of the lattice pixels labelled k."""
        return _added([part.grid_labeled for part in self.states])

    @property
    def grid_all(self) -> NDArray[np.int64]:
        """(K, 256) int64: p_k of all lattice pixels."""
        return _added([part.grid_all for part in self.states])


def _sums(some: Sequence[int], others: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(some, others, strict=True))


def _added(counts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return reduce(np.add, counts)


_SUMS = ("sums", "ignored_confidence", "total_confidence")
_COUNTS = ("joint", "self_counts", "confident_counts", "grid_labeled", "grid_all")


def _small(counts: NDArray[np.int64]) -> NDArray[np.integer]:
    least, most = int(counts.min(initial=0)), int(counts.max(initial=0))
    return counts.astype(np.min_scalar_type(most if least == 0 else min(least, -1 - most)))
