"""Agreement of label and prediction by class, and what is usual in a data set."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from masksift.scoring.kernels.pixel_statistics import ClassCounts
from masksift.scoring.statistics.agreement import (
    BINS,
    MIN_IMAGES,
    AgreementScale,
    agreement_log_odds,
    count_agreement,
)
from support.condensed import a_few

CENTERS = -18 + (np.arange(BINS) + 0.5) / 16


def class_counts(labeled: list[int], predicted: list[int], agreeing: list[int], code: int = 255) -> ClassCounts:
    """Make the counts of one image whose pixels have one confidence."""
    counts = np.array([labeled, predicted, agreeing, *np.multiply([predicted, agreeing], code * code)])
    return ClassCounts.from_array(counts[:, np.newaxis])


def test_log_odds_equal_hand_calculation() -> None:
    ((predicted, labeled),) = agreement_log_odds(class_counts([60, 40], [50, 50], [45, 35]))
    assert predicted == pytest.approx([math.log(47.5 / 7.5), math.log(37.5 / 17.5)])
    assert labeled == pytest.approx([math.log(47.5 / 17.5), math.log(37.5 / 7.5)])


def test_log_odds_weigh_predictions_by_squared_confidence_and_labels_by_nothing() -> None:
    ((predicted, labeled),) = agreement_log_odds(class_counts([50, 50], [50, 50], [45, 45], code=51))
    assert predicted == pytest.approx([math.log((45 / 25 + 2.5) / (5 / 25 + 2.5))] * 2)
    assert labeled == pytest.approx([math.log(47.5 / 7.5)] * 2)


@pytest.mark.parametrize(("pixels", "eligible"), [(0, False), (1, False), (2, True), (3, True)])
def test_class_is_eligible_from_a_share_of_two_thousandths_on(pixels: int, eligible: bool) -> None:
    ((predicted, labeled),) = agreement_log_odds(class_counts([1000 - pixels, pixels], [1000 - pixels, pixels], [0, 0]))
    assert np.isfinite(predicted).tolist() == np.isfinite(labeled).tolist() == [True, eligible]


def test_image_without_valid_pixels_has_no_log_odds() -> None:
    assert np.isnan(agreement_log_odds(class_counts([0, 0], [0, 0], [0, 0]))).all()


def test_counts_beyond_the_bins_are_in_the_outer_ones() -> None:
    values = np.array([-40.0, -18.0, -18 + 1 / 16, 0.0, 17.99, 18.0, 40.0, math.nan])
    counts = count_agreement(values[:, np.newaxis, np.newaxis])
    assert counts.shape == (1, 1, BINS)
    assert {int(place): int(counts[0, 0, place]) for place in np.flatnonzero(counts)} == {0: 2, 1: 1, 288: 1, 575: 3}


@pytest.mark.parametrize("images", [MIN_IMAGES - 1, MIN_IMAGES])
def test_class_with_few_images_has_no_usual_agreement(images: int) -> None:
    scale = AgreementScale.from_counts(count_agreement(np.ones((images, 2, 1))))
    assert np.isfinite(scale.center).all() == np.isfinite(scale.spread).all() == (images == MIN_IMAGES)


@a_few
@given(log_odds=hnp.arrays(float, st.integers(5, 40), elements=st.floats(-20, 20)))
def test_scale_is_the_median_and_its_deviation_of_the_bin_centers(log_odds: np.ndarray) -> None:
    scale = AgreementScale.from_counts(count_agreement(log_odds[:, np.newaxis, np.newaxis]))
    binned = [CENTERS[min(max(math.floor((x + 18) * 16), 0), 575)] for x in log_odds.tolist()]
    center = statistics.median(binned)
    assert scale.center.tolist() == [[center]]
    assert scale.spread.tolist() == [[1.4826 * statistics.median(abs(x - center) for x in binned) + 0.3]]


def test_z_scores_are_zero_above_the_usual_agreement_and_without_one() -> None:
    scale = AgreementScale(np.array([[1.0, 1.0, math.nan]]), np.array([[0.5, 0.5, math.nan]]))
    log_odds = np.array([[[0.0, 2.0, 0.0]], [[math.nan, 1.0, math.nan]]])
    assert scale.z_scores(log_odds).tolist() == [[[2.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]]]
