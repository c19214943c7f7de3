"""Folds: a group is in one fold, every image is in one fold, and folds are of one size as far as groups let them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.core.errors import DataError, UsageError
from masksift.prepare.predict.folds import assign, by_pattern
from support.errors import raises

NAMES = st.lists(st.integers(0, 30).map("video {}".format), min_size=2, max_size=120)


@st.composite
def grouped(draw: st.DrawFn) -> tuple[list[str], int, int]:
    groups = draw(NAMES.filter(lambda names: len(set(names)) > 1))
    return groups, draw(st.integers(2, min(8, len(set(groups))))), draw(st.integers(0, 5))


@given(grouped())
def test_a_group_is_never_split_and_every_image_has_a_fold(case: tuple[list[str], int, int]) -> None:
    groups, folds, seed = case
    found = assign(groups, folds, seed)
    assert found.shape == (len(groups),)
    assert found.dtype == np.int16
    assert set(found.tolist()) == set(range(folds)), "no fold is empty"
    homes = {group: {int(fold) for name, fold in zip(groups, found, strict=True) if name == group} for group in groups}
    assert all(len(home) == 1 for home in homes.values())


@given(grouped())
def test_sizes_differ_by_no_more_than_the_largest_group(case: tuple[list[str], int, int]) -> None:
    groups, folds, seed = case
    sizes = np.bincount(assign(groups, folds, seed), minlength=folds)
    assert sizes.max() - sizes.min() <= max(Counter(groups).values())


@given(grouped(), st.randoms(use_true_random=False))
def test_the_order_of_images_has_no_say(case: tuple[list[str], int, int], random: object) -> None:
    groups, folds, seed = case
    order = list(range(len(groups)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = assign([groups[i] for i in order], folds, seed)
    assert shuffled.tolist() == assign(groups, folds, seed)[order].tolist()


def test_single_images_make_folds_of_equal_size_drawn_by_the_seed() -> None:
    names = [f"image {i}" for i in range(103)]
    found = assign(names, 5, seed=0)
    assert sorted(np.bincount(found).tolist()) == [20, 20, 21, 21, 21]
    assert found.tolist() == assign(names, 5, seed=0).tolist()
    assert found.tolist() != assign(names, 5, seed=1).tolist()


def test_fewer_groups_than_folds_are_refused() -> None:
    with raises(DataError, "there are 2 groups of images for 3 folds; .*Give --folds 2, or smaller groups"):
        assign(["a", "b", "a"], 3, seed=0)
    with raises(DataError, r"there are 1 groups of images for 2 folds; .*Give smaller groups\."):
        assign(["a", "a"], 2, seed=0)


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [("^([^_]+)_", ["a", "bc"]), ("^[a-z]+", ["a", "bc"]), (r"_(\d)(\d)", ["0", "1"])],
    ids=["parentheses", "no parentheses", "the first of two"],
)
def test_a_pattern_finds_the_group_in_the_id(pattern: str, groups: list[str]) -> None:
    assert by_pattern(["a_01", "bc_12"], pattern) == groups


def test_what_is_no_pattern_and_what_it_does_not_match_is_refused() -> None:
    with raises(UsageError, r"group_pattern is '\(', which is no regular expression"):
        by_pattern(["a"], "(")
    with raises(UsageError, r"does not match the image 'two'; its group is not known"):
        by_pattern(["a_1", "two"], "^(.*)_")
    with raises(UsageError, r"does not match the image 'two'"):
        by_pattern(["one_two", "two"], "^(?:(.*)_)?two")
