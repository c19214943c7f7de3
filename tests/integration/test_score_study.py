"""Studies of scores and of region orders: by hand calculation, and the pages of synthetic values."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import study_orders
from benchmarks.candidates import Evidence, aggregates, boxes, largest
from benchmarks.study_data import BLIND, KEYS, Half
from benchmarks.study_orders import OMISSIONS, ORDERS, RATE, Case, Mean, Measured, all_cases, mean_area, order_keys
from benchmarks.study_scores import SHARPER, SOFTMIN, SOFTMIN_SHARPER, Values, margin, mean_value, page
from masksift.scoring.methods import METHODS, score_names


def evidence(given: list[int], s_of_0: list[int]) -> Evidence:
    """Evidence of an image of one row and two classes, from the probability of class 0 in 1/255."""
    p = np.array([s_of_0, [255 - s for s in s_of_0]], np.uint8)[None, :, None, :]
    winner = p.argmax(axis=1).astype(np.uint8), p.max(axis=1)
    return Evidence(np.array([[given]], np.uint8), p, winner)


def test_evidence_equals_hand_calculation() -> None:
    one = evidence([0, 0, 1, 255], [255, 51, 204, 7])  # s = 1, .2, .2; a = 0, 1, 0; t = .6, .2
    values = {name: values[0].tolist() for name, values in one.suspicions(one)}
    assert values["1 - s"] == pytest.approx([0, 0.8, 0.8])
    assert values["m - s"] == pytest.approx([0, 0.6, 0.6])
    assert values["1 - s / t_l"] == pytest.approx([0, 2 / 3, 0], abs=1e-6)
    assert values["1 - percentile of s in its class"] == pytest.approx([1 / 4, 3 / 4, 1 / 2])
    assert values["m - s of the largest region"] == pytest.approx([0.6 / 4])
    rarity = -np.log([1.5 / 3, 1.5 / 2, 1.5 / 3]) / np.log(1e4)  # (0, 0), (0, 1), (1, 0) of 2, 1, 2 pixels
    assert values["(1 - s) x rarity of l given a"] == pytest.approx([0, *(0.8 * rarity[1:])])


def test_evidence_can_use_statistics_of_other_labels() -> None:
    given, right = evidence([1, 1, 1, 1], [255, 255, 0, 0]), evidence([0, 0, 1, 1], [255, 255, 0, 0])
    values = {name: values[0].tolist() for name, values in given.suspicions(right)}
    assert all(name.endswith("statistics of the right labels") for name in values)
    assert values["1 - s / t_l, statistics of the right labels"] == [1, 1, 0, 0]


def test_aggregates_equal_hand_calculation() -> None:
    values = aggregates(np.array([1.0] + [0.0] * 99))
    assert (values["worst 0.5%"], values["worst 1.0%"], values["worst 5.0%"]) == pytest.approx((1, 1, 1 / 5))
    assert values["mean"] == pytest.approx(1 / 100)
    assert values["softmin 0.1"] == pytest.approx(1 / (1 + 99 * np.exp(-10)))
    assert aggregates(np.array([0.25])) == {"": 0.25}


def test_boxes_average_the_valid_pixels() -> None:
    plane, valid = np.zeros((1, 5, 5)), np.ones((1, 5, 5), bool)
    plane[0, 2, 2], valid[0, 1] = 1, False
    assert boxes(plane, valid, 0.01)[0, 2, 2] == pytest.approx(1 / 6)


def test_largest_region_has_one_class_pair() -> None:
    pairs = np.array([[1, 1, 2, 0], [0, 0, 2, 2]], np.uint16)
    assert largest(pairs, np.full((2, 4), 0.5)).tolist() == [1.5 / 8]
    assert largest(np.zeros((2, 4), np.uint16), np.ones((2, 4))).tolist() == [0]


def test_errors_affect_a_quarter_of_a_half() -> None:
    labels = np.zeros((8, 20, 20), np.uint8)
    labels[:, 5:15, 5:15] = 1
    half = Half("here", np.zeros((8, 2, 20, 20), np.uint8), labels, 0)
    for key in KEYS:
        given, wrong = half.corrupt(key, 0)
        assert wrong.tolist() == (given != labels).any(axis=(1, 2)).tolist()
        assert wrong.sum() == 2, key


def make_values(scores: dict[str, float], blind: float = 0.5) -> Values:
    return {
        (name, source, key, 0): (blind if key == BLIND else value, value)
        for name, value in scores.items()
        for source in ("CamVid", "demo")
        for key in KEYS
    }


def test_mean_excludes_the_undetectable_error() -> None:
    values = make_values({"a": 0.75, "b": 0.5}, blind=0.0)
    assert mean_value(values, "a") == 0.75
    assert mean_value(values, "a", "demo", BLIND) == 0.0
    values["a", "demo", "swap", 0] = (0.25, 0.25)
    assert margin(values, "a", "b") == "+0.229 ± 0.021 (least -0.250)"


def test_standard_error_can_be_computed_over_seeds() -> None:
    values = make_values({"a": 0.75, "b": 0.5})
    assert margin(values, "a", "b", seeds=True) == "+0.250 ± nan (least +0.250)", "undefined for one seed"
    values |= {(name, source, key, 1): (0.5, 0.5) for name, source, key, _ in values}
    assert margin(values, "a", "b", seeds=True) == "+0.125 ± 0.125 (least +0.000)"
    assert margin(values, "a", "b") == "+0.125 ± 0.000 (least +0.125)"


def test_page_shows_the_best_aggregation_of_each_evidence() -> None:
    first = make_values({SOFTMIN: 0.8, SOFTMIN_SHARPER: 0.9, "x | mean": 0.6, "x | worst 1.0%": 0.7})
    text = page(first, first, make_values(dict.fromkeys([*METHODS, SHARPER], 0.8)), ("CamVid", "demo"))
    assert "| x: worst 1.0% | 0.700 | -0.100 ± 0.000 (least -0.100) |" in text
    assert "x: mean" not in text
    assert "| 1 - s: softmin 0.1 | 0.800 | +0.000 ± 0.000 (least +0.000) |" in text
    assert text.count("| mean AUROC | 0.800 |") == 2


# ------------------------------------------------------------------------------------------------- region orders


def measured(value: float, resampled: list[float]) -> Measured:
    names = [*ORDERS, *OMISSIONS, *score_names()]
    areas = {name: 2 * value if name in ("priority", "combined") else value for name in names}
    samples = {name: np.array(resampled) * areas[name] / value for name in names}
    return Measured(areas, samples, dict.fromkeys(names, 0.5), dict.fromkeys(names, 7.0))


def test_mean_of_a_resample_leaves_out_cases_without_errors() -> None:
    cases = [Case("demo", "given", True, "drop", RATE, seed) for seed in range(2)]
    found = {cases[0]: measured(0.5, [0.5, np.nan, np.nan]), cases[1]: measured(0.25, [0.75, 0.25, np.nan])}
    mean = mean_area(found, "evidence", cases)
    assert mean.value == 0.375
    assert mean.resampled.tolist() == pytest.approx([0.625, 0.25, np.nan], nan_ok=True)
    assert mean.over(mean).text() == "1.000 [1.000, 1.000]"
    assert Mean(0.5, np.array([np.nan])).text(1) == "0.5"


def test_other_priorities_change_omissions_only() -> None:
    columns = {"evidence": [4.0, 9.0], "priority": [1.0, 2.0], "class_priority": [1.0, 3.0]}
    columns["mean_predicted_confidence"] = [0.5, 0.99]
    keys = order_keys(pa.table({**columns, "kind": ["label", "omission"]}))
    assert keys["class"].tolist() == [1, 3]
    assert (keys["last"].tolist(), keys["by evidence"].tolist()) == ([1, -1], [1, 9])
    expected = 3 * 0.99 * np.log(1.0 / 0.21) ** 2
    assert keys["self-confidence 0.2"].tolist() == pytest.approx([1, expected])


def test_errors_of_two_keys_alternate() -> None:
    labels = np.zeros((8, 20, 20), np.uint8)
    labels[:, 5:15, 5:15] = 1
    half = Half("here", np.zeros((8, 2, 20, 20), np.uint8), labels, 0)
    given, wrong = half.corrupt(study_orders.MIXED, 0, 0.5)
    forgotten = (given == 255).any(axis=(1, 2))
    assert (wrong.sum(), forgotten.sum()) == (4, 2)
    assert half.corrupt("drop", 0, 0.01)[1].sum() == 1, "at least one image"


def test_page_compares_the_orders() -> None:
    found = {case: measured(0.3, [0.2, 0.3, 0.4]) for case in all_cases(["demo"], 1)}
    text = study_orders.page(found, ["demo"])
    row = "| demo | given | second | 0.300 [0.205, 0.395] | 0.600 [0.410, 0.790] | 0.300 [0.205, 0.395] "
    assert f"{row}| 2.00 [2.00, 2.00] | 1.00 [1.00, 1.00] | 0.50 / 0.50 / 0.50 | 7.0 / 7.0 / 7.0 |" in text
    assert "| demo | swap, one object | 0.300 / 0.300 | 0.600 / 0.600 | 0.300 / 0.300 |" in text
    assert text.count("| demo | weak |") == 2 * 2 + 2, "both halves of the orders of two groups, and the scores"
    assert "+0.300 [+0.205, +0.395] |" in text


def test_region_is_a_true_positive_if_half_of_it_is_wrong() -> None:
    region = {"y0": 0, "x0": 1, "y1": 2, "x1": 3, "height": 2, "area": 4, "rle": [2, 4]}
    wrong = np.zeros((2, 4), bool)
    wrong[0, 1] = wrong[0, 0] = True
    assert not study_orders._is_hit(region, wrong)
    wrong[1, 2] = True
    assert study_orders._is_hit(region, wrong)
