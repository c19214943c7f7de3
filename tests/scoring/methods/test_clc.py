"""clc: the share of pixels that confident learning does not flag."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.scoring.methods.base import FlaggingRule
from masksift.scoring.methods.clc import CLC
from reference import audit as reference
from support import datasets as drawn
from support.condensed import BY_HAND, a_few, images_of, one_row, same_as_the_reference, scores

RULES: tuple[FlaggingRule, ...] = ("rank", "confident")


@pytest.mark.parametrize("rule", RULES)
def test_score_equals_hand_calculation(rule: FlaggingRule) -> None:
    """t = .4375, .5, .125: the second and the fourth pixel are confidently of class 1; M = 2, cut = .125."""
    assert scores(CLC(), BY_HAND, rule=rule) == [2 / 4]
    (image,) = images_of(BY_HAND, rule=rule)
    assert image is not None
    assert image.flagged.mask[0].tolist() == [[0, 1, 0, 1, 0]]
    assert image.flagged.pixels[0].tolist() == [[0, 1, 0], [0, 0, 0], [0, 1, 0]]
    assert image.encoding.value(image.threshold_codes.cut) == 0.125


def test_nothing_is_flagged_without_confident_predictions() -> None:
    data = one_row([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]], [0, 1, 1])
    assert scores(CLC(), data) == [1.0]


def test_equal_pixels_are_flagged_equally() -> None:
    """M = 1, and three pixels share the smallest s: the two that disagree are flagged; cleanlab flags one."""
    rows = [[0.25, 0.75, 0.0], [0.25, 0.375, 0.375], [0.25, 0.25, 0.5], [1.0, 0.0, 0.0], [0.25, 0.75, 0.0]]
    data = one_row(rows, [0, 0, 2, 0, 1])
    assert scores(CLC(), data) == [1 - 2 / 5]
    assert scores(CLC(), data, rule="confident") == [1 - 1 / 5]


def test_prediction_within_a_millionth_of_its_threshold_is_confident() -> None:
    rows = [[0.25, 0.75], [0.25 - 2**-21, 0.75 + 2**-21], [0.25, 0.75]]  # t_1 is above .75 by less than 1e-6
    assert scores(CLC(), one_row(rows, [1, 1, 0]), evidence="float32", rule="confident") == [1 - 1 / 3]


def test_everything_may_be_flagged() -> None:
    data = one_row([[0.0, 1.0], [1.0, 0.0]], [0, 1])
    assert scores(CLC(), data) == [0.0], "thresholds of 2e-6, and both pixels reach them"


@pytest.mark.parametrize("rule", RULES)
@a_few
@given(data=drawn.any_data(), evidence=st.sampled_from(["auto", "float32"]))
def test_any_data_equal_the_reference(rule: FlaggingRule, data: drawn.Data, evidence: str) -> None:
    same_as_the_reference(CLC(), data, rule=rule, evidence=evidence)
    expected = reference.audit(*data[:2], ignore=data.ignore, clc_rule=rule, evidence_dtype=evidence).issue_mask
    for image, mask in zip(images_of(data, rule=rule, evidence=evidence), expected, strict=True):
        np.testing.assert_array_equal(np.zeros(mask.shape) if image is None else image.flagged.mask[0], mask)
