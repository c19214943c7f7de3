"""Folds: groups are not split, every image has a fold, and sizes are as equal as groups allow."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.core.errors import DataError, UsageError
from masksift.prepare.predict.folds import assign_folds, groups_from_ids
from support.errors import raises

GROUPS = st.lists(st.integers(0, 30).map("video {}".format), min_size=2, max_size=120)

Case = tuple[list[str], int, int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw groups of images, a number of folds and a random seed."""
    groups = draw(GROUPS.filter(lambda names: len(set(names)) > 1))
    return groups, draw(st.integers(2, min(8, len(set(groups))))), draw(st.integers(0, 5))


@given(cases())
def test_groups_are_not_split_and_sizes_differ_by_at_most_the_largest_group(case: Case) -> None:
    groups, folds, seed = case
    assigned = assign_folds(groups, folds, seed)
    assert (assigned.shape, assigned.dtype) == ((len(groups),), np.int16)
    assert set(assigned.tolist()) == set(range(folds)), "no fold is empty"
    assert len(set(zip(groups, assigned.tolist(), strict=True))) == len(set(groups)), "one fold per group"
    sizes = np.bincount(assigned, minlength=folds)
    assert sizes.max() - sizes.min() <= max(Counter(groups).values())


@given(cases(), st.randoms(use_true_random=False))
def test_order_of_images_does_not_matter(case: Case, random: Random) -> None:
    groups, folds, seed = case
    order = list(range(len(groups)))
    random.shuffle(order)
    shuffled = assign_folds([groups[i] for i in order], folds, seed)
    assert shuffled.tolist() == assign_folds(groups, folds, seed)[order].tolist()


def test_single_images_are_split_evenly_by_seed() -> None:
    names = [f"image {i}" for i in range(103)]
    assigned = assign_folds(names, 5, seed=0)
    assert sorted(np.bincount(assigned).tolist()) == [20, 20, 21, 21, 21]
    assert assigned.tolist() == assign_folds(names, 5, seed=0).tolist()
    assert assigned.tolist() != assign_folds(names, 5, seed=1).tolist()


def test_fewer_groups_than_folds_are_refused() -> None:
    with raises(DataError, r"There are 3 folds, but only 2 group\(s\).* Pass --folds 2, or use smaller groups"):
        assign_folds(["a", "b", "a"], 3, seed=0)
    with raises(DataError, r"There are 2 folds, but only 1 group\(s\) of images.* Use smaller groups\."):
        assign_folds(["a", "a"], 2, seed=0)


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [("^([^_]+)_", ["a", "bc"]), ("^[a-z]+", ["a", "bc"]), (r"_(\d)(\d)", ["0", "1"])],
    ids=["one group", "no group", "first of two groups"],
)
def test_pattern_extracts_the_group_from_the_id(pattern: str, groups: list[str]) -> None:
    assert groups_from_ids(["a_01", "bc_12"], pattern) == groups


@pytest.mark.parametrize(
    ("ids", "pattern", "message"),
    [
        (["a"], "(", r"group_pattern is '\(', which is not a valid regular expression"),
        (["a_1", "two"], "^(.*)_", "does not match the image 'two'"),
        (["one_two", "two"], "^(?:(.*)_)?two", "does not match the image 'two'"),
    ],
)
def test_invalid_pattern_or_id_without_a_group_is_refused(ids: list[str], pattern: str, message: str) -> None:
    with raises(UsageError, message):
        groups_from_ids(ids, pattern)
