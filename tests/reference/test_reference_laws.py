"""Bad images, and properties of the reference for any data."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference import audit as reference
from support import datasets as drawn

a_few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def a_set(dtype: str = "float32") -> drawn.Data:
    return drawn.make_dataset(5, images=3, classes=4, height=8, width=9, dtype=dtype)


# ------------------------------------------------------------------------------------------------ bad images


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize(
    "pixel",
    [
        [math.nan, 0.0, 0.0, 1.0],
        [math.inf, 0.0, 0.0, 1.0],
        [-math.inf, 0.0, 0.0, 1.0],
        [-0.0011, 0.0011, 0.0, 1.0],
        [1.0011, 0.0, 0.0, 0.0],
        [0.2, 0.2, 0.2, 0.3799],
        [0.2, 0.2, 0.2, 0.4201],
    ],
)
def test_image_with_one_bad_pixel_is_bad(pixel: list[float], ignored: bool) -> None:
    predictions, labels, ignore = a_set()
    predictions[1, :, 7, 8] = pixel
    if ignored:  # evidence of ignored pixels is stored, so it is checked
        labels[1, 7, 8] = 255
    answer = reference.audit(predictions, labels, ignore=ignore)
    assert answer.status == ["ok", "bad_probabilities", "ok"]
    same_without_image(answer, reference.audit(predictions[[0, 2]], labels[[0, 2]], ignore=ignore), 1)


def same_without_image(answer: reference.Reference, without: reference.Reference, bad: int) -> None:
    """Check that the bad image has a row without scores and affects no other result."""
    assert answer.scores[bad] == dict.fromkeys(reference.SCORES)
    assert answer.scores[:bad] + answer.scores[bad + 1 :] == without.scores
    assert not answer.issue_mask[bad].any()
    assert not answer.self_confidence[bad].any()
    for field in ("n", "S", "decision_threshold", "joint", "estimated_issues", "cut", "class_pairs"):
        assert getattr(answer, field) == getattr(without, field), field


def test_values_within_the_range_tolerance_are_clipped() -> None:
    predictions = np.array([[1.0009, -0.0009], [-0.0009, 1.0009]], np.float32).T[None, :, None, :]
    answer = reference.audit(predictions, np.array([[[0, 0]]]), lattice=1)
    assert answer.status == ["ok"]
    assert answer.self_confidence.tolist() == [[[1.0, 0.0]]]
    assert answer.predicted_confidence.tolist() == [[[1.0, 1.0]]]
    assert answer.S == [2**24, 0]


def test_sum_of_integers_has_a_default_tolerance_and_that_of_floats_is_smaller() -> None:
    whole = np.array([62, 62, 62, 60], np.uint8).reshape(1, 4, 1, 1)  # 246 / 255 = 1 - .0353, allowed: .0278
    assert reference.audit(whole, np.zeros((1, 1, 1), int)).status == ["bad_probabilities"]
    assert reference.audit(whole, np.zeros((1, 1, 1), int), sum_tolerance=0.036).status == ["ok"]
    within = np.array([64, 64, 64, 57], np.uint8).reshape(1, 4, 1, 1)  # 249 / 255 = 1 - .0235
    assert reference.audit(within, np.zeros((1, 1, 1), int)).status == ["ok"]
    assert reference.audit(within / np.float32(255), np.zeros((1, 1, 1), int)).status == ["bad_probabilities"]


@pytest.mark.parametrize("value", [4, 254, -1])
def test_image_with_a_bad_label_is_bad_and_changes_no_other(value: int) -> None:
    predictions, labels, ignore = a_set("uint8")
    labels = labels.astype(np.int32)
    labels[0, 3, 3] = value
    answer = reference.audit(predictions, labels, ignore=ignore)
    assert answer.status == ["bad_labels", "ok", "ok"]
    same_without_image(answer, reference.audit(predictions[1:], labels[1:], ignore=ignore), 0)
    assert reference.audit(predictions, labels, ignore=(255, value)).status == ["ok"] * 3


def test_labels_are_validated_before_probabilities() -> None:
    predictions, labels, ignore = a_set()
    predictions[:2, 0, 0, 0] = math.nan
    labels[0, 1, 1] = 77
    labels[1] = 255
    answer = reference.audit(predictions, labels, ignore=ignore)
    assert answer.status == ["bad_labels", "bad_probabilities", "ok"]


def test_logits_need_only_be_finite() -> None:
    logits = np.array([[[[1e4]], [[-1e4]]], [[[math.inf]], [[0.0]]], [[[1e39]], [[0.0]]]])
    answer = reference.audit(logits, np.zeros((3, 1, 1), int), kind="logits")
    assert answer.status == ["ok", "bad_probabilities", "bad_probabilities"], "1e39 is beyond float32"


# ------------------------------------------------------------------------------------------------------ properties


@a_few
@given(data=drawn.any_data())
def test_generated_data_are_valid_with_scores_in_0_1(data: drawn.Data) -> None:
    answer = reference.audit(data.predictions, data.labels, ignore=data.ignore)
    for labels, status, scores in zip(data.labels, answer.status, answer.scores, strict=True):
        empty = np.isin(labels, data.ignore).all()
        assert status == ("all_ignored" if empty else "ok")
        numbers = {name: score for name, score in scores.items() if score is not None}
        assert set(numbers) == (set() if empty else set(reference.SCORES))
        assert all(0 <= score <= 1 for score in numbers.values())
        assert empty or numbers["softmin"] <= numbers["cil"] + 1e-12
    valid = ~np.isin(data.labels, data.ignore)
    assert sum(answer.n) == sum(map(sum, answer.joint)) == valid.sum()
    assert not answer.self_confidence[~valid].any()
    assert not (answer.issue_mask & ~valid).any()
    assert sum(pixels for pixels, _ in answer.class_pairs.values()) == answer.issue_mask.sum()


@a_few
@given(data=drawn.any_data(), random=st.randoms(use_true_random=False))
def test_order_of_images_does_not_change_the_scores(data: drawn.Data, random: Random) -> None:
    order = list(range(len(data.labels)))
    random.shuffle(order)
    one = reference.audit(data.predictions, data.labels, ignore=data.ignore)
    other = reference.audit(data.predictions[order], data.labels[order], ignore=data.ignore)
    assert other.scores == [one.scores[i] for i in order]
    assert (other.S, other.confident_threshold, other.cut) == (one.S, one.confident_threshold, one.cut)
    np.testing.assert_array_equal(other.issue_mask, one.issue_mask[order])


@a_few
@given(data=drawn.tie_rich())
def test_equal_pixels_are_flagged_equally(data: drawn.Data) -> None:
    answer = reference.audit(data.predictions, data.labels, ignore=data.ignore)
    seen: dict[tuple[float, ...], bool] = {}
    for i, y, x in np.ndindex(data.labels.shape):
        key = (data.labels[i, y, x].item(), *data.predictions[i, :, y, x].tolist())
        flagged = bool(answer.issue_mask[i, y, x])
        assert seen.setdefault(key, flagged) == flagged
