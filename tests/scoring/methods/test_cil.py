"""cil: the mean confidence in the label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.scoring.methods.cil import CIL
from support import datasets as drawn
from support.condensed import BY_HAND, a_few, one_row, same_as_the_reference, scores


@pytest.mark.parametrize("evidence", ["auto", "float32"])
def test_score_equals_hand_calculation(evidence: str) -> None:
    assert scores(CIL(), BY_HAND, evidence=evidence) == [1.5 / 4]


@pytest.mark.parametrize("dtype", drawn.DTYPES)
def test_score_ranges_from_no_confidence_to_full_confidence(dtype: str) -> None:
    one = 1.0 if dtype.startswith("float") else np.iinfo(dtype).max
    for pixels in range(1, 50):
        data = one_row([[one, 0.0]] * pixels, [0] * pixels, dtype)
        assert scores(CIL(), data) == [1.0], "and not a bit more"
    assert scores(CIL(), one_row([[one, 0.0]], [1], dtype)) == [0.0]


def test_values_just_above_1_count_as_1() -> None:
    data = one_row([[10_005, 0]], [0], "uint16")
    assert scores(CIL(), data, scale=1e-4) == [1.0]


@a_few
@given(data=drawn.any_data(), evidence=st.sampled_from(["auto", "float32"]))
def test_any_data_equal_the_reference(data: drawn.Data, evidence: str) -> None:
    same_as_the_reference(CIL(), data, evidence=evidence)
