"""coco: the mean over connected components of their mean self-confidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.scoring.methods.coco import CoCo
from support import datasets as drawn
from support.condensed import BY_HAND, a_few, one_row, same_as_the_reference, scores


@pytest.mark.parametrize(
    ("options", "score"),
    [
        ({}, (0.4375 + 0.5 + 0.125 + 0.75 + 0.25) / 5),  # 3 components of labels, 2 of predictions
        ({"sources": "labels"}, (0.4375 + 0.5 + 0.125) / 3),
        ({"sources": "predictions"}, (0.75 + 0.25) / 2),
        ({"aggregate": "min"}, 0.125),
        ({"aggregate": "min", "sources": "predictions"}, 0.25),
        ({"min_area": 0.25}, (0.4375 + 0.5 + 0.125 + 0.75 + 0.25) / 5),  # a quarter of four pixels is one
        ({"min_area": 0.26}, (0.4375 + 0.25) / 2),  # rounded up to two
        ({"min_area": 0.75}, 0.25),
        ({"min_area": 1.0}, (0.4375 + 0.5 + 0.125 + 0.75 + 0.25) / 5),  # none would remain: all do
    ],
)
def test_score_equals_hand_calculation(options: dict[str, Any], score: float) -> None:
    assert scores(CoCo(**options), BY_HAND) == pytest.approx([score], abs=1e-15)


def test_small_component_weighs_as_much_as_a_large_one() -> None:
    labels = np.zeros((1, 9, 9), np.uint8)
    labels[0, 4, 4] = 1
    p = np.full((1, 2, 9, 9), 0.0, np.float32)
    p[:, 0] = 1.0
    assert scores(CoCo(sources="labels"), drawn.Data(p, labels, ())) == [(1.0 + 0.0) / 2]


def test_ignored_pixels_split_components_and_hold_none() -> None:
    data = one_row([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]], [0, 255, 0])
    assert scores(CoCo(sources="labels"), data) == [(1.0 + 0.5) / 2]
    touching = one_row([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]], [0, 0, 0])
    assert scores(CoCo(sources="labels"), touching) == pytest.approx([2.5 / 3])


def test_minimum_area_is_the_exact_decimal_share() -> None:
    """7 % of 100 pixels are 7, though 0.07 * 100 is more than 7 in binary."""
    data = one_row([[1.0, 0.0]] * 7 + [[1.0, 0.0]] * 93, [0] * 7 + [1] * 93)
    assert scores(CoCo("labels", min_area=0.07), data) == [0.5]
    assert scores(CoCo("labels", min_area=0.0701), data) == [0.0]


@a_few
@given(
    data=drawn.any_data(),
    sources=st.sampled_from(["both", "labels", "predictions"]),
    aggregate=st.sampled_from(["mean", "min"]),
    min_area=st.sampled_from([0.0, 1e-4, 0.07, 0.2, 1.0]),
    evidence=st.sampled_from(["auto", "float32"]),
)
def test_any_data_equal_the_reference(
    data: drawn.Data, sources: Any, aggregate: Any, min_area: float, evidence: str
) -> None:
    same_as_the_reference(
        CoCo(sources, aggregate, min_area),
        data,
        evidence=evidence,
        coco_sources=sources,
        coco_aggregate=aggregate,
        coco_min_area=min_area,
    )
