"""The statistics of a setting are those that a run over its labels counts, whatever the blocks: clean ones, and the
difference that the errors make."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.evaluation.sweep.config import THRESHOLD_METHODS
from masksift.evaluation.sweep.thresholds import merge_buckets, setting_statistics
from masksift.evaluation.sweep.work_items import CLEAN
from masksift.scoring.methods import METHODS, FlaggingRule
from masksift.scoring.statistics.class_statistics import ClassStatistics, Statistics
from masksift.scoring.statistics.thresholds import ThresholdCodes
from support.condensed import a_few, condense, images_of, make_config
from support.datasets import make_dataset

DTYPES = ("uint8", "float16")
RULES: tuple[FlaggingRule, ...] = ("rank", "confident")


def states(dtype: str, count: int, seed: int = 1) -> list[ClassStatistics]:
    """Of so many images."""
    data = make_dataset(seed, images=count, classes=3, height=6, width=7, dtype=dtype)
    found = [one.statistics for one in condense(data, make_config(3, dtype))]
    return [state for state in found if state is not None]


def same(one: Any, other: Any) -> None:
    for mine, theirs in zip(one.states, other.states, strict=True):
        assert mine.sums == theirs.sums
        for name in ("joint", "self_counts", "confident_counts", "grid_labeled", "grid_all"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_difference_is_what_is_to_be_added(dtype: str) -> None:
    one, other = states(dtype, 2)
    same(other.merge(one.subtract(other)), one)
    kept = ClassStatistics.from_bytes(one.subtract(other).to_bytes())
    same(kept, one.subtract(other))
    same(other.merge(kept), one)


def test_a_difference_of_many_counts_is_kept_as_it_is() -> None:
    zero = ClassStatistics.empty(make_config(2, "uint8"))
    for number in (1, 127, 128, 2**31, 2**40):
        joint = np.array([[number, 0], [-number, 5]])
        state = ClassStatistics(
            zero.encoding,
            joint,
            (-(2**70), 3),
            *(getattr(zero, name) for name in ("self_counts", "confident_counts", "grid_labeled", "grid_all")),
            (-(2**65), 1),
            (2**70, 0),
        )
        same(ClassStatistics.from_bytes(state.to_bytes()), state)


@a_few
@given(st.lists(st.integers(0, 2), min_size=6, max_size=6), st.permutations(range(6)), st.sampled_from(DTYPES))
def test_a_setting_has_the_errors_that_have_joined(joined: list[int], order: list[int], dtype: str) -> None:
    clean, wrong = states(dtype, 6), states(dtype, 6, seed=2)
    blocks = [
        {(CLEAN, 0): Statistics((clean[i],))}
        | ({("drop", joined[i]): Statistics((wrong[i].subtract(clean[i]),))} if joined[i] < 2 else {})
        for i in order
    ]
    found = setting_statistics(reduce(merge_buckets, blocks), ["drop"], 2)
    for share in range(2):
        seen = [wrong[i] if joined[i] <= share else clean[i] for i in range(6)]
        same(found[0, share], reduce(ClassStatistics.merge, seen))


@pytest.mark.parametrize("name", METHODS)
def test_only_the_scores_that_are_said_to_depend_on_thresholds_do(name: str) -> None:
    """A new score that asks for them must be scored once a setting: it is to be listed in `THRESHOLD_METHODS`."""
    data = make_dataset(4, images=1, classes=3, height=16, width=16, dtype="uint8")
    found = set()
    data.labels[0, :3, :5] = 255
    (image,) = images_of(data)
    assert image is not None
    for code in (40, 120, 200):
        limits = ThresholdCodes(
            image.encoding, *np.full((2, 3), code), code, np.full(3, code / 255), np.full(3, code / 2e5)
        )
        found |= {METHODS[name]().score(replace(image, threshold_codes=limits, rule=rule)) for rule in RULES}
    assert (len(found) > 1) == (name in THRESHOLD_METHODS)
