"""Metrics of a review order: equal to scikit-learn and scipy, and their general properties."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import kendalltau
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from masksift.core.errors import UsageError
from masksift.evaluation.evaluate.bootstrap import resample
from masksift.evaluation.evaluate.config import parse_review_amount
from masksift.evaluation.evaluate.kendall import resampled_tau, score_ties
from masksift.evaluation.evaluate.metrics import (
    CumulativeCounts,
    area_under_roc,
    average_precision,
    cumulate,
    effort,
    found_at,
    lift_at,
    precision_at,
    recall_at,
    sort_by_score,
)
from masksift.evaluation.evaluate.result_rows import Totals, score_rows
from masksift.evaluation.evaluate.score_evaluation import evaluate_score, make_curve
from support.errors import raises

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@st.composite
def rankings(draw: st.DrawFn) -> tuple[Floats, Bools]:
    """Scores with many ties, with at least one wrong and one right image."""
    count = draw(st.integers(2, 40))
    scores = draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    wrong = draw(st.lists(st.booleans(), min_size=count, max_size=count).filter(lambda x: 0 < sum(x) < len(x)))
    return np.array(scores) / 12, np.array(wrong)


def steps(scores: Floats, wrong: Bools) -> CumulativeCounts:
    return cumulate(sort_by_score(scores, wrong))


# ------------------------------------------------------------------------------------------- as the libraries


@given(rankings())
def test_areas_equal_sklearn(ranking: tuple[Floats, Bools]) -> None:
    scores, wrong = ranking
    assert area_under_roc(steps(scores, wrong)) == pytest.approx(roc_auc_score(wrong, 1 - scores), abs=1e-12)
    assert average_precision(steps(scores, wrong)) == pytest.approx(
        average_precision_score(wrong, 1 - scores), abs=1e-12
    )


@given(rankings(), st.integers(0, 2**32 - 1))
def test_areas_of_resample_equal_weighted_sklearn(ranking: tuple[Floats, Bools], seed: int) -> None:
    scores, wrong = ranking
    weights = np.random.default_rng(seed).integers(0, 4, len(scores))
    drawn = cumulate(sort_by_score(scores, wrong), weights)
    if 0 < weights[wrong].sum() < weights.sum():
        auroc = roc_auc_score(wrong, 1 - scores, sample_weight=weights)
        assert area_under_roc(drawn) == pytest.approx(auroc, abs=1e-12)
        area = average_precision_score(wrong, 1 - scores, sample_weight=weights)
        assert average_precision(drawn) == pytest.approx(area, abs=1e-12)


@given(rankings())
def test_precision_and_recall_after_ties_equal_sklearn(
    ranking: tuple[Floats, Bools],
) -> None:
    scores, wrong = ranking
    # -scores instead of 1 - scores, whose rounding could tie different scores
    precision, recall, thresholds = precision_recall_curve(wrong, -scores)
    for threshold, p, r in zip(thresholds, precision, recall, strict=False):
        reviewed = float((-scores >= threshold).sum())
        assert precision_at(steps(scores, wrong), reviewed) == pytest.approx(p, abs=1e-12)
        assert recall_at(steps(scores, wrong), reviewed) == pytest.approx(r, abs=1e-12)


@given(rankings(), st.integers(0, 2**32 - 1))
def test_tau_of_resample_equals_scipy(ranking: tuple[Floats, Bools], seed: int) -> None:
    scores, wrong = ranking
    rng = np.random.default_rng(seed)
    shares = np.where(wrong, rng.integers(1, 5, len(wrong)) / 4, 0.0)
    drawn = rng.integers(0, len(scores), (3, len(scores)))
    weights = np.stack([np.bincount(row, minlength=len(scores)) for row in drawn])
    order, rows = sort_by_score(scores, wrong), np.flatnonzero(wrong)
    taus = resampled_tau(
        len(scores),
        np.array([area_under_roc(cumulate(order, row)) for row in weights]),
        np.array([score_ties(order, row) for row in weights]),
        scores[rows],
        shares[rows],
        weights[:, rows].astype(np.float64),
    )
    expected = [kendalltau(-scores[row], shares[row]).statistic for row in drawn]
    np.testing.assert_allclose(taus, expected, atol=1e-12)


# ------------------------------------------------------------------------------------------------------- laws


@given(rankings(), st.integers(1, 40))
def test_found_errors_inside_a_tie_are_the_mean_over_all_orders(ranking: tuple[Floats, Bools], images: int) -> None:
    scores, wrong = ranking[0][:6], ranking[1][:6]
    images = min(images, len(scores))
    found = [
        sum(bool(wrong[i]) for i in sorted(row, key=lambda i: float(scores[i]))[:images])
        for row in permutations(range(len(scores)))
    ]
    assert found_at(steps(scores, wrong), images) == pytest.approx(np.mean(found))


@given(rankings())
def test_monotone_transformation_of_scores_changes_no_metric(ranking: tuple[Floats, Bools]) -> None:
    scores, wrong = ranking
    shares = wrong * 0.5
    before = evaluate_score(scores, wrong, shares, ("errors", "50%"))
    after = evaluate_score(np.exp(3 * scores) - 7, wrong, shares, ("errors", "50%"))
    assert before.values == pytest.approx(after.values, nan_ok=True)


@given(rankings())
def test_perfect_score_has_perfect_metrics(ranking: tuple[Floats, Bools]) -> None:
    _, wrong = ranking
    errors = int(wrong.sum())
    values = evaluate_score(1.0 - wrong, wrong, wrong.astype(np.float64), ("errors", 1)).values
    for key in (
        ("auroc", ""),
        ("average_precision", ""),
        ("precision", "errors"),
        ("recall", "errors"),
        ("precision", "1"),
        ("kendall_tau", ""),
    ):
        assert values[key] == pytest.approx(1)
    assert values["lift", "errors"] == pytest.approx(len(wrong) / errors)
    assert values["effort", "80%"] == np.ceil(0.8 * errors)


@given(rankings(), st.floats(0.01, 1))
def test_effort_is_the_least_number_of_images(ranking: tuple[Floats, Bools], recall: float) -> None:
    review = steps(*ranking)
    images = effort(review, recall)
    assert recall_at(review, images) >= recall - 1e-9
    assert recall_at(review, images - 1) < recall


def test_lift_of_all_images_is_one() -> None:
    review = steps(np.array([0.1, 0.4, 0.2, 0.9]), np.array([True, False, False, True]))
    assert lift_at(review, 4) == 1
    assert lift_at(review, 1) == 2


def test_curve_has_at_most_two_hundred_points_and_ends_at_full_recall() -> None:
    rng = np.random.default_rng(5)
    for images in (3, 200, 5000):
        wrong = np.arange(images) % 3 == 0
        curve = make_curve(steps(rng.random(images), wrong))
        assert len(curve.effort) <= 200
        assert curve.effort[-1] == curve.recall[-1] == 1
        assert curve.precision[-1] == pytest.approx(wrong.mean())
        assert (np.diff(curve.recall) >= 0).all()


# ------------------------------------------------------------------------------------------- nothing to measure


@pytest.mark.parametrize(
    ("scores", "wrong", "reason"),
    [
        ([], [], "no image is ranked"),
        ([0.1, 0.2], [False, False], "no ranked image is wrong"),
        ([0.1, 0.2], [True, True], "every ranked image is wrong"),
        ([0.3, 0.3], [True, False], "all scores are equal"),
    ],
)
def test_undefined_metrics_have_a_reason(scores: list[float], wrong: list[bool], reason: str) -> None:
    evaluation = evaluate_score(np.array(scores, np.float64), np.array(wrong, bool), None, ("errors", 100, "5%"))
    assert all(np.isnan(value) for value in evaluation.values.values())
    assert set(evaluation.reasons) == set(evaluation.values)
    assert all(text.startswith(reason) for text in evaluation.reasons.values())
    assert evaluation.curve is None


def test_precision_beyond_the_images_is_undefined() -> None:
    evaluation = evaluate_score(np.array([0.1, 0.2]), np.array([True, False]), None, (2, 3))
    assert np.isnan(evaluation.values["precision", "3"])
    assert evaluation.reasons["precision", "3"] == "only 2 images are ranked"
    assert evaluation.values["precision", "2"] == 0.5


def test_tau_of_many_errors_has_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("bootstrap", "result_rows"):
        monkeypatch.setattr(f"masksift.evaluation.evaluate.{module}.MAX_RESAMPLED_ERRORS", 3)
    scores, wrong = np.arange(12) / 12, np.arange(12) < 4
    evaluation = evaluate_score(scores, wrong, wrong * 0.5, (2,))
    assert evaluation.review is not None
    samples = resample(
        {"s": evaluation.review}, (2,), {"s": scores}, wrong, wrong * 0.5, np.zeros((12, 0), np.int64), {}, 9, 0
    )
    rows = {row["measure"]: row for row in score_rows("s", evaluation, samples, Totals(12, 4, 9))}
    assert rows["kendall_tau"]["value"] == pytest.approx(evaluation.values["kendall_tau", ""])
    assert (rows["kendall_tau"]["low"], rows["auroc"]["low"]) == (None, 1)
    assert rows["kendall_tau"]["note"] == "no interval: more than 3 images are wrong"


def test_interval_note_counts_resamples_without_errors() -> None:
    scores, wrong = np.arange(9) / 9, np.arange(9) == 2
    evaluation = evaluate_score(scores, wrong, None, (2,))
    assert evaluation.review is not None
    samples = resample(
        {"s": evaluation.review}, (2,), {"s": scores}, wrong, None, np.zeros((9, 0), np.int64), {}, 60, 0
    )
    rows = {row["measure"]: row for row in score_rows("s", evaluation, samples, Totals(9, 1, 60))}
    used = int(np.isfinite(samples.scores["s"]["auroc", ""]).sum())
    assert 0 < used < 60
    assert rows["auroc"]["note"] == f"interval from the {used} of 60 resamples with a value"
    assert rows["precision"]["note"] is None  # it is 0 in such a resample


# ----------------------------------------------------------------------------------------------------- amounts


@pytest.mark.parametrize(
    ("amount", "images", "errors", "count"),
    [
        (100, 7, 2, 100),
        ("errors", 7, 2, 2),
        ("5%", 101, 2, 6),
        ("0.1%", 1000, 2, 1),
        ("1%", 7, 2, 1),
        ("7%", 100, 1, 7),
    ],
)
def test_parse_review_amount_returns_number_of_images(amount: str | int, images: int, errors: int, count: int) -> None:
    assert parse_review_amount(amount, images, errors) == count


@pytest.mark.parametrize("amount", ["0", "-1", "0%", "101%", "2.5", "all", "5 %%", ""])
def test_invalid_review_amount_is_refused(amount: str) -> None:
    with raises(UsageError, match="which is neither a number of images nor a percentage"):
        parse_review_amount(amount, 10, 1)
