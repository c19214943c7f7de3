"""softmin: a mean that weighs the lowest self-confidences most."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.scoring.methods.cil import CIL
from masksift.scoring.methods.softmin import Softmin
from support import datasets as drawn
from support.condensed import BY_HAND, a_few, one_row, same_as_the_reference, scores

EVIDENCE = pytest.mark.parametrize("evidence", ["auto", "float32"])


@EVIDENCE
def test_score_equals_hand_calculation(evidence: str) -> None:
    half_life = 0.125 / math.log(2)  # a weight halves with every eighth of s: 1/32, 1, 1/8, 1
    expected = (0.75 / 32 + 0.125 + 0.5 / 8 + 0.125) / (1 / 32 + 1 + 1 / 8 + 1)
    assert scores(Softmin(half_life), BY_HAND, evidence=evidence) == pytest.approx([expected], abs=1e-15)


@EVIDENCE
@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-9])
def test_score_at_a_tiny_temperature_is_the_minimum(evidence: str, temperature: float) -> None:
    assert scores(Softmin(temperature), BY_HAND, evidence=evidence) == [0.125]


@EVIDENCE
def test_score_at_a_large_temperature_is_the_mean(evidence: str) -> None:
    assert scores(Softmin(math.inf), BY_HAND, evidence=evidence) == scores(CIL(), BY_HAND) == [0.375]
    assert scores(Softmin(1e9), BY_HAND, evidence=evidence) == pytest.approx([0.375], abs=1e-9)


@EVIDENCE
def test_equal_values_are_their_own_softmin(evidence: str) -> None:
    for value in (0.0, 0.375, 1.0):
        data = one_row([[value, 1 - value]] * 7, [0] * 7)
        assert scores(Softmin(), data, evidence=evidence) == pytest.approx([value], abs=1e-15)


@pytest.mark.parametrize("temperature", [0.0, -0.1, math.nan, -math.inf])
def test_temperature_not_above_zero_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match=f"softmin.temperature is {temperature}"):
        Softmin(temperature)


@a_few
@given(
    data=drawn.any_data(),
    temperature=st.sampled_from([1e-3, 0.02, 0.1, 1.5, math.inf]),
    evidence=st.sampled_from(["auto", "float32"]),
)
def test_any_data_equal_the_reference(data: drawn.Data, temperature: float, evidence: str) -> None:
    same_as_the_reference(Softmin(temperature), data, evidence=evidence, temperature=temperature)
