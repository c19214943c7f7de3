"""Formulas in plain NumPy: hand-computed cases, and agreement with the reference of the tests in plain loops."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.review.verify.inputs import class_numbers, exp_in_float32, softmax
from masksift.review.verify.reference import (
    IGNORED,
    Image,
    PairTotals,
    Precision,
    Region,
    Thresholds,
    class_pixels,
    combined,
    decode_run_lengths,
    flagged_pixels,
    pair_evidence,
    places_of,
    priority,
    usual_evidence,
)
from reference import agreement as loops


def make_image() -> Image:
    """Return 2 x 3 pixels of 2 classes; the last one is ignored, one of the others differs from its label."""
    p = np.array([[[0.75, 0.25, 0.5], [0.125, 1.0, 0.5]], [[0.25, 0.75, 0.5], [0.875, 0.0, 0.5]]])
    labels = np.array([[0, 1, 0], [0, 0, IGNORED]])
    return Image.from_predictions(p.astype(np.float32), labels, Precision("float16", 1.0))


def region(given: int | None = 0, s: float | None = 0.125) -> Region:
    values = {"evidence": 0.75, "mean_self_confidence": s, "mean_predicted_confidence": 0.875}
    return Region("label" if given == 0 else "omission", given, 1, (1, 0, 2, 1), np.array([1]), values)


def test_evidence_of_an_image_is_stored_at_its_precision() -> None:
    image = make_image()
    assert image.own.dtype == np.float16
    assert image.predicted.tolist() == [[0, 1, 0], [1, 0, 0]], "equal probabilities predict the lowest class"
    assert image.s.tolist() == [[0.75, 0.75, 0.5], [0.125, 1.0, 0.0]]
    assert image.differs.sum() == 1


def test_integers_above_probability_1_are_stored_as_the_largest_integer_below_it() -> None:
    precision = Precision("uint8", 1 / 200)
    stored = precision.store(np.array([100, 200, 201], np.uint8))
    assert stored.tolist() == [100, 200, 200]
    assert precision.value(stored).tolist() == [0.5, 1.0, 1.0]


def test_priority_compares_a_region_with_the_other_images() -> None:
    image = make_image()
    nothing = np.full((2, 2), np.nan)
    thresholds = Thresholds(np.ones(2), np.ones(2), 0.2, np.zeros(2), nothing, nothing)
    own = pair_evidence(image, flagged_pixels(image, thresholds, "rank"))
    assert own.tolist() == [[0.0, 0.75], [0.0, 0.0]]
    pixels = class_pixels(image)
    assert [of.tolist() for of in pixels] == [[3, 2], [4, 1]]
    # the other images have evidence 6, 17 pixels predicted as class 1 and 95 labeled 0
    totals = PairTotals(own + np.array([[0, 6], [0, 0]]), np.array([99, 9]), np.array([9, 19]))
    usual = usual_evidence(region(), pixels, own, totals)
    assert usual == max(2 * 6 / 18, 4 * 6 / 96)
    expected = math.sqrt(0.75 / (1 + usual)) * 0.875 * math.log(0.885 / 0.135) ** 2
    assert priority(region(), usual) == pytest.approx(expected, rel=1e-15)
    assert math.isnan(priority(region(), -1.0)), "totals of other data"


def test_priority_of_an_omission_has_no_usual_evidence() -> None:
    omission, totals = region(None, None), PairTotals(np.ones((2, 2)), np.ones(2, np.int64), np.ones(2, np.int64))
    assert usual_evidence(omission, class_pixels(make_image()), np.zeros((2, 2)), totals) == 0
    expected = math.sqrt(0.75) * 0.875 * math.log(0.885 / 0.21) ** 2
    assert priority(omission, 0.0) == pytest.approx(expected, rel=1e-15)


@given(st.lists(st.tuples(*[st.sampled_from([0.1, 0.2, 0.9])] * 3), min_size=1, max_size=9))
def test_combined_equals_the_reference_in_plain_loops(rows: list[tuple[float, float, float]]) -> None:
    scores = [list(column) for column in zip(*rows, strict=True)]
    found = combined(*(places_of(np.array(column)) for column in scores))
    assert found.tolist() == pytest.approx(loops.combined(*scores), abs=1e-15)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.booleans())
def test_run_lengths_alternate_between_outside_and_inside(lengths: list[int], begins_inside: bool) -> None:
    counts = [0, *lengths] if begins_inside else lengths
    ends = np.cumsum([0, *counts]).tolist()
    inside = [i for number, (a, b) in enumerate(pairwise(ends)) if number % 2 for i in range(a, b)]
    assert decode_run_lengths(counts).tolist() == inside


def test_exponential_in_float32_has_a_relative_error_of_a_few_bits() -> None:
    x = np.linspace(-87, 0, 100_001).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    assert np.max(np.abs(exp_in_float32(x) - exact) / exact) < 2e-7


def test_softmax_of_several_strips_equals_that_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(0).normal(size=(3, 9, 7)).astype(np.float32)
    whole, error = softmax(logits)
    monkeypatch.setattr("masksift.review.verify.inputs._STRIP_VALUES", 50)
    parts, same_error = softmax(logits)
    np.testing.assert_array_equal(whole, parts)
    assert error == same_error < 1e-6


def test_remapped_labels_have_only_the_listed_values() -> None:
    labels = np.array([7, 3, 9, 255, 4])
    numbers, bad = class_numbers(labels, 2, (255,), ((7, 0), (3, 1), (9, 255)), 0)
    assert numbers.tolist() == [0, 1, IGNORED, IGNORED, IGNORED]
    assert bad.tolist() == [False, False, False, False, True]
    numbers, bad = class_numbers(labels, 5, (255, 4), (), 3)
    assert numbers.tolist() == [4, 0, IGNORED, IGNORED, IGNORED]
    assert bad.tolist() == [False, False, True, False, False]
