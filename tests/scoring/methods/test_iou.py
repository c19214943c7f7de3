"""iou: the mean intersection over union of label and prediction."""

from __future__ import annotations

import pytest
from hypothesis import given

from masksift.scoring.methods.iou import IoU
from support import datasets as drawn
from support.condensed import BY_HAND, a_few, one_row, same_as_the_reference, scores


def test_score_equals_hand_calculation() -> None:
    assert scores(IoU(), BY_HAND) == pytest.approx([(1 / 2 + 1 / 3 + 0 / 1) / 3], abs=1e-15)


def test_class_absent_from_both_planes_does_not_count() -> None:
    assert scores(IoU(), one_row([[0.75, 0.25, 0.0, 0.0]] * 2, [0, 0])) == [1.0]


def test_class_only_predicted_or_only_labeled_counts_as_0() -> None:
    rows = [[0.75, 0.25], [0.25, 0.75]]
    assert scores(IoU(), one_row(rows, [0, 0])) == [(1 / 2 + 0) / 2]
    assert scores(IoU(), one_row(rows[:1] * 2, [0, 1])) == [(1 / 2 + 0) / 2]


def test_class_only_predicted_on_ignored_pixels_does_not_count() -> None:
    assert scores(IoU(), one_row([[0.75, 0.25], [0.25, 0.75]], [0, 255])) == [1.0]


@a_few
@given(data=drawn.any_data())
def test_any_data_equal_the_reference(data: drawn.Data) -> None:
    same_as_the_reference(IoU(), data)
