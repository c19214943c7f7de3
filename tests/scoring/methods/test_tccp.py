"""tccp: the share of pixels whose self-confidence reaches their class's decision threshold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.scoring.methods.tccp import TCCP
from support import datasets as drawn
from support.condensed import BY_HAND, a_few, one_row, same_as_the_reference, scores


@pytest.mark.parametrize(
    ("tau", "score"),
    [
        ("balanced", 3 / 4),  # 97/256, 33/256 and 1/256: the second pixel is below
        ("confident", 3 / 4),  # .4375, .5 and .125
        (0.0, 1.0),
        (0.125, 4 / 4),  # equal is enough
        (0.5, 2 / 4),
        (1.0, 0.0),
    ],
)
def test_score_equals_hand_calculation(tau: str | float, score: float) -> None:
    assert scores(TCCP(), BY_HAND, tau=tau, lattice=1) == [score]


def test_class_without_lattice_pixels_uses_the_confident_threshold() -> None:
    data = one_row([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]], [0, 0, 0])  # no lattice pixel is labeled otherwise
    assert scores(TCCP(), data) == scores(TCCP(), data, tau="confident") == [2 / 3]


@pytest.mark.parametrize("value", [1, 77, 128, 254, 255])
def test_equal_values_reach_their_mean(value: int) -> None:
    data = one_row([[value, 255 - value]] * 3, [0] * 3, "uint8")
    assert scores(TCCP(), data, tau="confident") == [1.0]


@a_few
@given(
    data=drawn.any_data(),
    tau=st.sampled_from(["balanced", "confident", 0.0, 0.25, 1 / 3, 1.0]),
    lattice=st.integers(1, 5),
    evidence=st.sampled_from(["auto", "float32"]),
)
def test_any_data_equal_the_reference(data: drawn.Data, tau: str | float, lattice: int, evidence: str) -> None:
    same_as_the_reference(TCCP(), data, tau=tau, lattice=lattice, evidence=evidence)
