"""Cut many sorted runs of rows into ranges of ranks, so that each range can be merged by itself.

Rows are ordered by a sort key, and rows of one key by the number of their run. A splitter is a key and the number of a
run: the rows before it have a lower key, or the same key and a lower run. Splitters come from samples of the keys, so
their ranks are only near the wanted ones, but they are counted exactly before they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLED_KEYS = 256
"""Keys sampled of each run: 2 KiB. Of 1,526 runs of 65,536 rows, brackets have 24,000 rows (computed)."""


@dataclass(frozen=True)
class KeySample:
    """Every ``step``-th sort key of a run of ``rows`` rows, float64 in ascending order."""

    rows: int
    step: int
    keys: NDArray[np.float64]

    @classmethod
    def of(cls, keys: NDArray[np.float64]) -> KeySample:
        """Sample ascending keys (n,)."""
        step = max(1, -(-len(keys) // SAMPLED_KEYS))
        return cls(len(keys), step, keys[step // 2 :: step].copy())


@dataclass(frozen=True)
class Splitters:
    """Ascending splitters: keys (S,) float64 and run numbers (S,) int64; ``last`` if no row after them is needed."""

    keys: NDArray[np.float64]
    runs: NDArray[np.int64]
    last: bool

    @classmethod
    def near(cls, samples: Sequence[KeySample], ranks: Sequence[int], limit: int) -> Splitters:
        """Choose splitters close to the wanted ranks, on both sides of each.

        Args:
            samples: Samples of all runs, in the order of the runs.
            ranks: Numbers of rows that should precede a splitter, ascending.
            limit: Number of rows that are needed. Unless there are fewer, the last splitter has at least as many rows
                before it.

        Returns:
            The splitters, at most two for each rank and one more.
        """
        keys = np.concatenate([sample.keys for sample in samples])
        runs = np.repeat(np.arange(len(samples)), [len(sample.keys) for sample in samples])
        steps = np.repeat([sample.step for sample in samples], [len(sample.keys) for sample in samples])
        order = np.lexsort((runs, keys))
        before = np.cumsum(steps[order]) - steps[order] / 2  # a sampled key stands in the middle of its rows
        is_first = np.append(True, (np.diff(keys[order]) != 0) | (np.diff(runs[order]) != 0))[: len(order)]
        order, before = order[is_first], before[is_first]  # equal keys of a run are on one side of a splitter
        each = np.array([sample.step for sample in samples if len(sample.keys)], float)
        # A run's share of a rank is off by up to half a step, independently of the other runs; four standard deviations
        # are 4 / sqrt(12) of the norm. A wrong bracket costs memory, never a row.
        margin = 1.2 * np.sqrt((each**2).sum())
        below = np.searchsorted(before, np.asarray(ranks) - margin, side="right") - 1
        above = np.searchsorted(before, np.asarray(ranks) + margin)
        enough = np.searchsorted(before, limit + each.sum())
        chosen = np.unique(np.concatenate([below, above, [enough]]))
        chosen = order[chosen[(chosen >= 0) & (chosen < len(order))].astype(np.int64)]
        return cls(keys[chosen], runs[chosen], bool(enough < len(order)))

    def offsets(self, run: int, keys: NDArray[np.float64]) -> NDArray[np.int64]:
        """Cut a run of ascending keys (n,): return 0, the rows before each splitter and the needed rows, (S + 2,)."""
        left, right = np.searchsorted(keys, self.keys), np.searchsorted(keys, self.keys, side="right")
        before = np.where(run < self.runs, right, left)
        return np.concatenate([[0], before, before[-1:] if self.last else [len(keys)]]).astype(np.int64)
