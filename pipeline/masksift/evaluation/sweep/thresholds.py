"""The thresholds of every setting, of statistics that were counted once: those of the labels as they are, and what the
errors of each bucket of images add to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from masksift.evaluation.sweep.condense_task import load_statistics
from masksift.evaluation.sweep.score_task import count_block
from masksift.evaluation.sweep.work_items import CLEAN, Bucket, SweepContext, SweepTask
from masksift.runtime.executors import Executor
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.statistics.class_statistics import Statistics
from masksift.scoring.statistics.thresholds import (
    ThresholdCodes,
    Thresholds,
    compute_thresholds,
    confident_codes,
    confident_thresholds,
)

Place = tuple[int, int]
"""A setting: the numbers of its kind and of its share."""


def find_thresholds(
    context: SweepContext, tasks: Sequence[SweepTask], executor: Executor, tau: str | float
) -> dict[Place, Thresholds]:
    """The thresholds that a run over the labels of each setting would find: one reduction, and a second one over the
    evidence where that has more than 8 bits."""
    sums = executor.reduce(partial(load_statistics, context), tasks, merged, "statistics")
    statistics = of_settings(sums, context.kinds, context.shares)
    wide = {
        place: {
            part.encoding: confident_codes(part.encoding, confident_thresholds(state))
            for part in state.states
            if part.encoding.dtype != "uint8"
        }
        for place, state in statistics.items()
    }
    wide_tasks = [task for task in tasks if task.task.encoding in wide[0, 0]]
    zero = np.zeros((len(context.kinds), context.shares), np.int64)
    counts = executor.reduce(partial(count_block, context, wide), wide_tasks, np.add, "count") if wide_tasks else zero
    return {place: compute_thresholds(state, tau, _Counted(int(counts[place]))) for place, state in statistics.items()}


def merged(one: Mapping[Bucket, Statistics], other: Mapping[Bucket, Statistics]) -> dict[Bucket, Statistics]:
    """The statistics of both, bucket by bucket."""
    found = dict(one)
    for bucket, state in other.items():
        found[bucket] = found[bucket].merge(state) if bucket in found else state
    return found


def of_settings(sums: Mapping[Bucket, Statistics], kinds: Sequence[str], shares: int) -> dict[Place, Statistics]:
    """The statistics of every setting: with a larger share the errors of one bucket more are among the labels."""
    found: dict[Place, Statistics] = {}
    for kind, name in enumerate(kinds):
        state = sums[CLEAN, 0]
        for share in range(shares):
            state = state.merge(sums.get((name, share), Statistics(())))
            found[kind, share] = state
    return found


def limits_of(
    thresholds: Mapping[Place, Thresholds], encodings: Sequence[Encoding]
) -> dict[Encoding, dict[Place, ThresholdCodes]]:
    """The thresholds in the codes of each precision."""
    return {e: {place: found.encode(e) for place, found in thresholds.items()} for e in dict.fromkeys(encodings)}


@dataclass(frozen=True)
class _Counted:
    """What a second look would find, where all settings have been counted in one."""

    issues: int

    def count_confident(self, limits: Mapping[Encoding, NDArray[np.int64]]) -> int:
        return self.issues

    def count_low_bits(self, key: int) -> NDArray[np.int64]:
        raise ValueError(f"the bin {key} of float32 was asked for, and a sweep keeps 16 bits at most")
