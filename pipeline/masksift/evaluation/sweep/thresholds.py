"""Compute the class thresholds of every setting from one reduction over the blocks.

The statistics of a setting are those of the clean labels plus the differences that the errors of its images make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from masksift.evaluation.sweep.condense_task import load_statistics
from masksift.evaluation.sweep.score_task import count_block
from masksift.evaluation.sweep.work_items import CLEAN, Bucket, Setting, SweepContext, SweepTask
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


def reduce_statistics(
    context: SweepContext, tasks: Sequence[SweepTask], executor: Executor
) -> dict[Setting, Statistics]:
    """Sum the statistics of every setting over the blocks."""
    sums = executor.reduce(partial(load_statistics, context), tasks, merge_buckets, "statistics")
    return setting_statistics(sums, context.error_types, context.shares)


def find_thresholds(
    context: SweepContext,
    tasks: Sequence[SweepTask],
    statistics: Mapping[Setting, Statistics],
    executor: Executor,
    tau: str | float,
) -> dict[Setting, Thresholds]:
    """Compute the thresholds that a run over the labels of each setting would compute.

    Args:
        context: Settings of the sweep.
        tasks: All blocks.
        statistics: Statistics of the settings.
        executor: Executor of the tasks.
        tau: Decision threshold of tccp, as in `compute_thresholds`.

    Returns:
        Thresholds by setting.
    """
    codes = {
        setting: {
            state.encoding: confident_codes(state.encoding, confident_thresholds(total))
            for state in total.states
            if state.encoding.dtype != "uint8"
        }
        for setting, total in statistics.items()
    }
    # evidence of more than 8 bits needs a second reduction, for all settings at once
    counted = [task for task in tasks if task.block_task.encoding in codes[0, 0]]
    counts = np.zeros((len(context.error_types), context.shares), np.int64)
    if counted:
        counts = executor.reduce(partial(count_block, context, codes), counted, np.add, "count")
    return {
        setting: compute_thresholds(total, tau, _CountedPixels(int(counts[setting])))
        for setting, total in statistics.items()
    }


def merge_buckets(one: Mapping[Bucket, Statistics], other: Mapping[Bucket, Statistics]) -> dict[Bucket, Statistics]:
    """Merge the statistics of two blocks, bucket by bucket."""
    merged = dict(one)
    for bucket, statistics in other.items():
        merged[bucket] = merged[bucket].merge(statistics) if bucket in merged else statistics
    return merged


def setting_statistics(
    sums: Mapping[Bucket, Statistics], error_types: Sequence[str], shares: int
) -> dict[Setting, Statistics]:
    """Sum the statistics of every setting; each further share adds the errors of one more bucket."""
    by_setting: dict[Setting, Statistics] = {}
    for row, error_type in enumerate(error_types):
        statistics = sums[CLEAN, 0]
        for share in range(shares):
            statistics = statistics.merge(sums.get((error_type, share), Statistics(())))
            by_setting[row, share] = statistics
    return by_setting


def encode_thresholds(
    thresholds: Mapping[Setting, Thresholds], encodings: Sequence[Encoding]
) -> dict[Encoding, dict[Setting, ThresholdCodes]]:
    """Express the thresholds of every setting in the codes of each encoding."""
    return {
        encoding: {setting: one.encode(encoding) for setting, one in thresholds.items()}
        for encoding in dict.fromkeys(encodings)
    }


@dataclass(frozen=True)
class _CountedPixels:
    """Pixel counts of one setting, which `count_block` has computed for all settings at once."""

    confident_pixels: int

    def count_confident(self, limits: Mapping[Encoding, NDArray[np.int64]]) -> int:
        return self.confident_pixels

    def count_low_bits(self, key: int) -> NDArray[np.int64]:
        raise ValueError(f"Bin {key} of float32 was requested, but a sweep stores 16 bits at most")
