"""ccp: the share of correctly classified pixels."""

from __future__ import annotations

from hypothesis import given

from masksift.scoring.methods.ccp import CCP
from support import datasets as drawn
from support.condensed import BY_HAND, a_few, one_row, same_as_the_reference, scores


def test_score_equals_hand_calculation() -> None:
    assert scores(CCP(), BY_HAND) == [2 / 4], "the ignored pixel does not count"


def test_score_ranges_from_all_wrong_to_all_right() -> None:
    rows = [[0.25, 0.75], [0.75, 0.25]]
    assert scores(CCP(), one_row(rows, [0, 1])) == [0.0]
    assert scores(CCP(), one_row(rows, [1, 0])) == [1.0]


def test_tie_is_right_for_the_lowest_class_only() -> None:
    assert scores(CCP(), one_row([[0.5, 0.5]] * 3, [0, 1, 1])) == [1 / 3]


@a_few
@given(data=drawn.any_data())
def test_any_data_equal_the_reference(data: drawn.Data) -> None:
    same_as_the_reference(CCP(), data)
