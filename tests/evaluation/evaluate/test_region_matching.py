"""Matching of flagged and wrong regions by IoU."""

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


def parse_mask(text: str) -> Array:
    return np.array([[sign == "#" for sign in line.strip()] for line in text.strip().splitlines()])


def matched_counts(regions: MatchedRegions) -> tuple[int, ...]:
    """Number of matched regions at each IoU threshold."""
    return tuple(regions.matched.sum(axis=1).tolist())


def test_overlapping_regions_match() -> None:
    flagged = parse_mask("""
        ##...#
        ##....
        ......
        ....##
    """)
    wrong = parse_mask("""
        ##....
        #.....
        ......
        .....#
    """)
    result = match_regions(flagged, wrong)
    assert (len(result.areas), result.wrong) == (3, 2)
    assert matched_counts(result) == (
        2,
        2,
    )  # IoU 3/4, and 1/2 at the bottom; the one above on the right touches nothing


def test_wrong_region_matches_once() -> None:
    flagged = parse_mask("##.##")
    wrong = parse_mask("#####")
    result = match_regions(flagged, wrong)
    assert matched_counts(result) == (0, 1)  # two pairs of IoU 2/5, one of them matches
    assert (len(result.areas), result.wrong) == (2, 1)


def test_pair_with_higher_iou_matches_first() -> None:
    flagged = parse_mask("#.####.")
    wrong = parse_mask("###.###")
    result = match_regions(flagged, wrong)
    assert matched_counts(result) == (
        0,
        2,
    )  # 4 px and `###` on the right share 2 of 5; what is left on the left shares 1 of 3
    assert result.areas.tolist() == [1, 4]


def test_diagonal_pixels_form_one_region() -> None:
    assert match_regions(parse_mask("#.\n.#"), parse_mask("..\n..")).areas.tolist() == [2]


@given(MASKS, st.integers(0, 2**32 - 1))
def test_regions_are_8_connected_and_match_at_most_once(flagged: Array, seed: int) -> None:
    wrong = np.random.default_rng(seed).random(flagged.shape) < 0.4
    result = match_regions(flagged, wrong)
    numbers, count = label(flagged, EIGHT)
    own, true_count = label(wrong, EIGHT)
    assert (len(result.areas), result.wrong) == (count, true_count)
    for level, threshold in enumerate(IOU_THRESHOLDS):
        pairs = {
            (a, b)
            for a in range(1, count + 1)
            for b in range(1, true_count + 1)
            if ((numbers == a) & (own == b)).sum() / ((numbers == a) | (own == b)).sum() >= threshold
        }
        assert bool(matched_counts(result)[level]) == bool(pairs)
        assert matched_counts(result)[level] <= min(len({a for a, _ in pairs}), len({b for _, b in pairs}))
        if threshold > 0.5:
            assert matched_counts(result)[level] == len(pairs)


@given(MASKS)
def test_equal_masks_match_every_region(mask: Array) -> None:
    result = match_regions(mask, mask.copy())
    assert matched_counts(result) == (result.wrong,) * len(IOU_THRESHOLDS)


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=30), st.integers(1, 4))
def test_region_steps_review_largest_regions_first(regions: list[tuple[int, bool]], parts: int) -> None:
    areas, matched = np.array([area for area, _ in regions]), np.array([hit for _, hit in regions])
    blocks = [
        group_by_size([MatchedRegions(0, some, np.stack([hits, ~hits]))])
        for some, hits in zip(np.array_split(areas, parts), np.array_split(matched, parts), strict=True)
    ]
    for level, hits in enumerate((matched, ~matched)):
        if hits.any():
            area = average_precision(region_steps(blocks, level))
            assert area == pytest.approx(average_precision_score(hits, areas))


def test_region_steps_without_regions_are_empty() -> None:
    review = region_steps([group_by_size([])], 0)
    assert (review.images, review.errors) == (0, 0)
