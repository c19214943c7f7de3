"""Regions of two masks, matched by IoU."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import label
from sklearn.metrics import average_precision_score

from masksift.evaluation.evaluate.metrics import average_precision
from masksift.evaluation.evaluate.region_matching import (
    IOU_THRESHOLDS,
    MatchedRegions,
    group_by_size,
    match_regions,
    region_steps,
)
from support.datasets import Array

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))
EIGHT = np.ones((3, 3))


def drawn(picture: str) -> Array:
    return np.array([[sign == "#" for sign in line.strip()] for line in picture.strip().splitlines()])


def matched_counts(regions: MatchedRegions) -> tuple[int, ...]:
    """How many are matched at each IoU."""
    return tuple(regions.matched.sum(axis=1).tolist())


def test_a_region_is_found_where_it_lies_and_not_elsewhere() -> None:
    flagged = drawn("""
        ##...#
        ##....
        ......
        ....##
    """)
    wrong = drawn("""
        ##....
        #.....
        ......
        .....#
    """)
    answer = match_regions(flagged, wrong)
    assert (len(answer.areas), answer.wrong) == (3, 2)
    assert matched_counts(answer) == (
        2,
        2,
    )  # IoU 3/4, and 1/2 at the bottom; the one above on the right touches nothing


def test_one_wrong_region_is_found_once() -> None:
    flagged = drawn("##.##")
    wrong = drawn("#####")
    answer = match_regions(flagged, wrong)
    assert matched_counts(answer) == (0, 1)  # two of IoU 2/5 each: roughly there, and one of them is the match
    assert (len(answer.areas), answer.wrong) == (2, 1)


def test_the_better_pair_is_matched_first() -> None:
    flagged = drawn("#.####.")
    wrong = drawn("###.###")
    answer = match_regions(flagged, wrong)
    assert matched_counts(answer) == (
        0,
        2,
    )  # 4 px and `###` on the right share 2 of 5; what is left on the left shares 1 of 3
    assert answer.areas.tolist() == [1, 4]


def test_diagonal_pixels_are_one_region() -> None:
    assert match_regions(drawn("#.\n.#"), drawn("..\n..")).areas.tolist() == [2]


@given(MASKS, st.integers(0, 2**32 - 1))
def test_regions_are_those_of_scipy_and_each_is_matched_once(flagged: Array, seed: int) -> None:
    wrong = np.random.default_rng(seed).random(flagged.shape) < 0.4
    answer = match_regions(flagged, wrong)
    numbers, count = label(flagged, EIGHT)
    own, true_count = label(wrong, EIGHT)
    assert (len(answer.areas), answer.wrong) == (count, true_count)
    for level, least in enumerate(IOU_THRESHOLDS):
        pairs = {
            (a, b)
            for a in range(1, count + 1)
            for b in range(1, true_count + 1)
            if ((numbers == a) & (own == b)).sum() / ((numbers == a) | (own == b)).sum() >= least
        }
        assert bool(matched_counts(answer)[level]) == bool(pairs)
        assert matched_counts(answer)[level] <= min(len({a for a, _ in pairs}), len({b for _, b in pairs}))
        if least > 0.5:
            assert matched_counts(answer)[level] == len(pairs)


@given(MASKS)
def test_the_truth_itself_finds_every_region(mask: Array) -> None:
    answer = match_regions(mask, mask.copy())
    assert matched_counts(answer) == (answer.wrong,) * len(IOU_THRESHOLDS)


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=30), st.integers(1, 4))
def test_the_largest_regions_come_first_however_they_are_put_together(
    regions: list[tuple[int, bool]], parts: int
) -> None:
    areas, matched = np.array([area for area, _ in regions]), np.array([hit for _, hit in regions])
    cut = [
        group_by_size([MatchedRegions(0, some, np.stack([hits, ~hits]))])
        for some, hits in zip(np.array_split(areas, parts), np.array_split(matched, parts), strict=True)
    ]
    for level, hits in enumerate((matched, ~matched)):
        if hits.any():
            area = average_precision(region_steps(cut, level))
            assert area == pytest.approx(average_precision_score(hits, areas))


def test_no_region_is_no_step() -> None:
    review = region_steps([group_by_size([])], 0)
    assert (review.images, review.errors) == (0, 0)
