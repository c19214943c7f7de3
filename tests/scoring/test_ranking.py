"""Percentiles of ranks, and places in the ranking of another run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from masksift.scoring.ranking import PlaceKnots, percentiles
from support.condensed import a_few


@pytest.mark.parametrize("count", [*range(1, 120), 12_345])
def test_percentiles_go_up_to_exactly_100(count: int) -> None:
    found = percentiles(np.arange(1, count + 1), count)
    assert (found.shape, found.dtype) == ((count,), np.float64)
    assert found[-1] == 100.0
    assert (np.diff(found, prepend=0.0) > 0).all()
    assert found.tolist() == pytest.approx([100 * rank / count for rank in range(1, count + 1)])


def test_percentiles_of_a_slice_equal_those_of_the_whole() -> None:
    assert percentiles(np.array([7, 8]), 10).tolist() == [70.0, 80.0]
    assert percentiles(np.arange(1, 1), 0).tolist() == []


def all_knots(scores: np.ndarray) -> PlaceKnots:
    return PlaceKnots.from_range(*np.unique(scores, return_counts=True), 0, len(scores))


@a_few
@given(
    scores=st.lists(st.one_of(st.sampled_from([0.0, 0.25, 1.0]), st.floats(0, 1)), min_size=1, max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
)
def test_knots_of_ranges_are_those_of_the_whole_ranking(scores: list[float], cuts: list[int]) -> None:
    values, images = np.unique(scores, return_counts=True)
    bounds = sorted({0, len(values), *(min(cut, len(values)) for cut in cuts)})
    ranges = [
        PlaceKnots.from_range(values[first:last], images[first:last], int(images[:first].sum()), len(scores))
        for first, last in itertools.pairwise(bounds)
    ]
    joined, whole = PlaceKnots.concatenate(ranges), all_knots(np.array(scores))
    assert (joined.scores.tolist(), joined.places.tolist()) == (whole.scores.tolist(), whole.places.tolist())


@a_few
@given(scores=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=200))
def test_places_of_up_to_256_ranked_images_are_exact(scores: list[float]) -> None:
    found = all_knots(np.array(scores)).find(np.array(scores))
    assert found.tolist() == (rankdata(scores) / (len(scores) + 1)).tolist()


def test_places_of_many_images_are_exact_at_the_top_and_within_two_percent_elsewhere() -> None:
    scores = np.random.default_rng(5).beta(8, 2, 100_000)
    knots = all_knots(scores)
    assert len(knots.scores) < 600
    expected = rankdata(scores) / (len(scores) + 1)
    found = knots.find(scores)
    first = np.argsort(scores)[:256]
    assert found[first].tolist() == expected[first].tolist()
    assert (np.abs(found / expected - 1) < 0.02).all()
    others = np.random.default_rng(6).beta(8, 2, 100)
    assert knots.find(others) == pytest.approx([(scores < one).mean() for one in others], rel=0.05)


def test_scores_beyond_the_knots_are_in_order() -> None:
    knots = PlaceKnots(np.array([0.4, 0.6]), np.array([0.3, 0.7]))
    assert knots.find(np.array([0.0, 0.2, 0.4, 0.5, 0.8, 1.0])).tolist() == [
        0.0,
        pytest.approx(0.15),
        0.3,
        pytest.approx(0.5),
        pytest.approx(0.85),
        1.0,
    ]
    assert PlaceKnots(np.empty(0), np.empty(0)).find(np.array([0.0, 0.5, 1.0])).tolist() == [0.0, 0.5, 1.0]
    assert PlaceKnots(np.array([0.0]), np.array([0.5])).find(np.array([0.0])).tolist() == [0.5]
