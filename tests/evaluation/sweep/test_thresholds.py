"""Statistics of settings: clean statistics plus the differences of the errors, for any blocks."""

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
from masksift.scoring.methods import METHODS, method_class
from masksift.scoring.methods.base import FlaggingRule
from masksift.scoring.statistics.agreement import AgreementScale
from masksift.scoring.statistics.class_statistics import ClassStatistics, Statistics
from masksift.scoring.statistics.thresholds import ThresholdCodes
from support.condensed import a_few, condense, images_of, make_config
from support.datasets import make_dataset

DTYPES = ("uint8", "float16")
RULES: tuple[FlaggingRule, ...] = ("rank", "confident")


def make_statistics(dtype: str, count: int, seed: int = 1) -> list[ClassStatistics]:
    """Statistics of ``count`` images."""
    data = make_dataset(seed, images=count, classes=3, height=6, width=7, dtype=dtype)
    found = [one.statistics for one in condense(data, make_config(3, dtype))]
    return [state for state in found if state is not None]


def assert_equal(one: Any, other: Any) -> None:
    for left, right in zip(one.states, other.states, strict=True):
        assert left.sums == right.sums
        for name in ("joint", "self_counts", "confident_counts", "grid_labeled", "grid_all"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


@pytest.mark.parametrize("dtype", DTYPES)
def test_difference_of_statistics_can_be_merged(dtype: str) -> None:
    one, other = make_statistics(dtype, 2)
    assert_equal(other.merge(one.subtract(other)), one)
    restored = ClassStatistics.from_bytes(one.subtract(other).to_bytes())
    assert_equal(restored, one.subtract(other))
    assert_equal(other.merge(restored), one)


def test_difference_of_large_counts_survives_serialization() -> None:
    zero = ClassStatistics.empty(make_config(2, "uint8"))
    for number in (1, 127, 128, 2**31, 2**40):
        joint = np.array([[number, 0], [-number, 5]])
        state = ClassStatistics(
            zero.encoding,
            joint,
            (-(2**70), 3),
            *(
                getattr(zero, name)
                for name in ("self_counts", "confident_counts", "grid_labeled", "grid_all", "agreement")
            ),
            (-(2**65), 1),
            (2**70, 0),
        )
        assert_equal(ClassStatistics.from_bytes(state.to_bytes()), state)


@a_few
@given(st.lists(st.integers(0, 2), min_size=6, max_size=6), st.permutations(range(6)), st.sampled_from(DTYPES))
def test_setting_statistics_include_the_errors_of_its_share(
    first_share: list[int], order: list[int], dtype: str
) -> None:
    clean, wrong = make_statistics(dtype, 6), make_statistics(dtype, 6, seed=2)
    blocks = [
        {(CLEAN, 0): Statistics((clean[i],))}
        | ({("drop", first_share[i]): Statistics((wrong[i].subtract(clean[i]),))} if first_share[i] < 2 else {})
        for i in order
    ]
    found = setting_statistics(reduce(merge_buckets, blocks), ["drop"], 2)
    for share in range(2):
        expected = [wrong[i] if first_share[i] <= share else clean[i] for i in range(6)]
        assert_equal(found[0, share], reduce(ClassStatistics.merge, expected))


@pytest.mark.parametrize("name", METHODS)
def test_threshold_methods_are_those_whose_scores_depend_on_thresholds(name: str) -> None:
    """A method that uses thresholds must be listed in `THRESHOLD_METHODS` to be scored once per setting."""
    data = make_dataset(4, images=1, classes=3, height=16, width=16, dtype="uint8")
    found = set()
    data.labels[0, :3, :5] = 255
    (image,) = images_of(data)
    assert image is not None
    for code in (40, 120, 200):
        limits = ThresholdCodes(
            image.encoding,
            *np.full((2, 3), code),
            code,
            np.full(3, code / 255),
            np.full(3, code / 2e5),
            AgreementScale(np.full((2, 3), code / 10), np.ones((2, 3))),
        )
        found |= {
            float(method_class(name)().scores(replace(image, threshold_codes=limits, rule=rule))[0]) for rule in RULES
        }
    assert (len(found) > 1) == (name in THRESHOLD_METHODS)
