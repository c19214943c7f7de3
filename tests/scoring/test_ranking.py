"""Ranking: lowest score first, ties by source and index, no rank without a score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.scoring.ranking import percentiles, rank_order
from support.condensed import a_few

rows = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan]), st.integers(0, 2), st.integers(0, 5)), max_size=12
)


def order_rows(table: list[tuple[float, int, int]]) -> list[int]:
    scores, sources, indices = (np.array([row[i] for row in table], t) for i, t in enumerate((float, int, int)))
    order: list[int] = rank_order(scores, sources, indices).tolist()
    return order


def test_lowest_score_ranks_first() -> None:
    assert order_rows([(0.5, 0, 0), (0.25, 0, 1), (1.0, 0, 2)]) == [1, 0, 2]


def test_ties_are_ranked_by_source_and_index() -> None:
    assert order_rows([(0.5, 1, 0), (0.5, 0, 7), (0.5, 0, 3), (0.25, 2, 9)]) == [3, 2, 1, 0]


def test_rows_without_score_have_no_rank() -> None:
    assert order_rows([(math.nan, 0, 0), (0.5, 0, 1), (math.nan, 0, 2), (0.0, 0, 3)]) == [3, 1]
    assert order_rows([(math.nan, 0, 0)]) == order_rows([]) == []


@a_few
@given(table=rows)
def test_rank_order_equals_a_sort_of_the_rows(table: list[tuple[float, int, int]]) -> None:
    expected = sorted((row, i) for i, row in enumerate(table) if not math.isnan(row[0]))
    assert order_rows(table) == [i for _, i in expected]


@a_few
@given(table=rows, data=st.data())
def test_order_is_independent_of_the_order_of_rows(table: list[tuple[float, int, int]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(table))
    assert [shuffled[i] for i in order_rows(shuffled)] == [table[i] for i in order_rows(table)]


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
