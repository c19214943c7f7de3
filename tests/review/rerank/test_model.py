"""Model of decisions: weights, cross-validation by image, background, and expected errors with their interval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from threadpoolctl import threadpool_limits

from masksift.review.rerank.model import (
    BACKGROUND_WEIGHT,
    Background,
    ReviewedRegions,
    cross_validate,
    expect_errors,
    fit_model,
    make_background,
)

FEATURES = 3


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads of a linear algebra library take ten times as long for such small arrays."""
    with threadpool_limits(1):
        yield


NO_BACKGROUND = Background(np.zeros((1, FEATURES)), 1e-9)


def reviewed_regions(seed: int, count: int = 60, images: int = 12) -> ReviewedRegions:
    """Regions whose log-odds of a wrong label are twice the first feature."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((count, FEATURES))
    wrong = rng.random(count) < expit(2 * features[:, 0])
    return ReviewedRegions(features, wrong, np.ones(count), np.arange(count) % images)


def test_fit_finds_the_informative_feature() -> None:
    model = fit_model(reviewed_regions(0, 400), NO_BACKGROUND)
    assert 1 < model.coefficients[0] < 2.5
    assert np.abs(model.coefficients[1:]).max() < 0.4


@given(st.integers(0, 1000))
def test_weight_equals_repetition(seed: int) -> None:
    regions = reviewed_regions(seed)
    doubled = replace(regions, weights=np.where(np.arange(60) < 20, 2.0, 1.0))
    rows = [*range(60), *range(20)]
    repeated = ReviewedRegions(regions.features[rows], regions.wrong[rows], regions.weights[rows], regions.images[rows])
    one, other = fit_model(doubled, NO_BACKGROUND), fit_model(repeated, NO_BACKGROUND)
    np.testing.assert_allclose(one.coefficients, other.coefficients, atol=1e-3)
    np.testing.assert_allclose(one.intercept, other.intercept, atol=1e-3)


def test_background_is_spread_over_the_rest_in_proportion_to_it() -> None:
    remaining = np.arange(5000.0)[:, None]
    background = make_background(remaining, 20_000)
    assert len(background.features) == 1000
    assert background.features[[0, -1], 0].tolist() == [0, 4999]
    assert np.ptp(np.diff(background.features[:, 0])) <= 1
    assert background.weight == BACKGROUND_WEIGHT / 4
    assert make_background(remaining[:3], 3).features[:, 0].tolist() == [0, 1, 2]


def test_background_lowers_the_log_odds_of_the_rest() -> None:
    regions, rest = reviewed_regions(0), np.tile([-2.0, 1.0, 0.0], (50, 1))
    before, after = (
        fit_model(regions, background).log_odds(rest).mean()
        for background in (NO_BACKGROUND, make_background(rest, 50))
    )
    assert after < before - 0.2


def test_prediction_in_cross_validation_does_not_depend_on_the_decisions_on_that_image() -> None:
    regions = reviewed_regions(1)
    image = regions.images == 4
    assert 0 < regions.wrong[image].sum() < image.sum()
    changed = replace(regions, wrong=np.where(image, np.roll(regions.wrong, 12), regions.wrong))
    assert (changed.wrong != regions.wrong).any()
    before, after = cross_validate(regions, NO_BACKGROUND), cross_validate(changed, NO_BACKGROUND)
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(before[image], after[image])
    assert (before != after).any()


def test_cross_validation_needs_accepted_regions_in_two_images() -> None:
    regions = reviewed_regions(0)
    assert cross_validate(replace(regions, wrong=regions.images == 3), NO_BACKGROUND) is None
    assert cross_validate(replace(regions, wrong=np.isin(regions.images, [3, 7])), NO_BACKGROUND) is not None


def test_expected_errors_are_the_sum_of_probabilities_within_the_interval() -> None:
    regions, rest = reviewed_regions(0), np.random.default_rng(5).standard_normal((20_000, FEATURES))
    background = make_background(rest, 20_060)
    model = fit_model(regions, background)
    expected = expect_errors(model, regions, background, rest, 0)
    np.testing.assert_allclose(expected.count, expit(model.log_odds(rest)).sum(), rtol=1e-12)
    assert 0 < expected.low < expected.count < expected.high < 20_000
    assert expect_errors(model, regions, background, rest, 0) == expected
    assert expect_errors(model, regions, background, rest, 1) != expected


def test_more_decisions_give_a_narrower_interval() -> None:
    rest = np.random.default_rng(5).standard_normal((500, FEATURES))
    background = make_background(rest, 560)

    def width(count: int) -> float:
        regions = reviewed_regions(0, count, count // 5)
        expected = expect_errors(fit_model(regions, background), regions, background, rest, 0)
        return expected.high - expected.low

    assert width(600) < width(60) / 1.5


def test_decisions_on_few_images_give_a_wider_interval_if_those_of_an_image_agree() -> None:
    rest = np.random.default_rng(5).standard_normal((500, FEATURES))
    background = make_background(rest, 560)

    def width(images: int) -> float:
        regions = reviewed_regions(0, images=images)
        regions = replace(regions, wrong=regions.images % 2 == 0)
        expected = expect_errors(fit_model(regions, background), regions, background, rest, 0)
        return expected.high - expected.low

    assert width(6) > width(60)
