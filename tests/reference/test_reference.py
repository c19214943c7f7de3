"""The yardstick against numbers it did not make: the golden vectors, cleanlab, and sums done by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reference import audit as reference
from support import datasets as drawn

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"


# ---------------------------------------------------------------------------------------- golden vectors


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden vectors are not part of the repository")
@pytest.mark.parametrize("name", ["uint8", "float16", "float32"])
def test_reference_equals_the_golden_vectors(name: str) -> None:
    expected = json.loads((GOLDEN / f"{name}.json").read_text())
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        predictions, labels, mask = arrays["predictions"], arrays["labels"], arrays["issue_mask"]
    answer = reference.audit(
        predictions,
        labels,
        ignore=expected["ignore"],
        temperature=expected["temperature"],
        lattice=expected["lattice"],
        evidence_dtype="float32" if name == "float32" else "auto",
    )
    for actual, golden in zip(answer.scores, expected["images"], strict=True):
        of_the_paper = {name: actual[name] for name in golden}
        assert of_the_paper == {k: v if v is None else pytest.approx(v, abs=1e-9) for k, v in golden.items()}
    for field in ("n", "decision_threshold", "joint", "estimated_issues", "cut"):
        assert getattr(answer, field) == expected[field], field
    if name == "uint8":  # summed there in float64, here in integers: apart by the last bits of that sum
        assert answer.confident_threshold == pytest.approx(expected["confident_threshold"], abs=1e-15)
    else:
        assert answer.confident_threshold == expected["confident_threshold"]
    np.testing.assert_array_equal(answer.issue_mask, mask)
    assert answer.issue_mask.sum() == expected["flagged"]


# ------------------------------------------------------------------------------------------------ cleanlab


def in_float64(data: drawn.Data) -> drawn.Array:
    """The probabilities as cleanlab takes them, and the very numbers that the reference works with."""
    if data.predictions.dtype.kind == "u":
        return np.asarray(data.predictions * (1 / np.iinfo(data.predictions.dtype).max))
    return np.asarray(data.predictions.astype(np.float64))


SETS = [("uint8", 5, 0), ("uint8", 2, 1), ("uint16", 12, 2), ("float16", 7, 3), ("float32", 3, 4)]


@pytest.mark.parametrize(("dtype", "classes", "seed"), SETS)
def test_softmin_equals_cleanlab(dtype: str, classes: int, seed: int) -> None:
    rank = pytest.importorskip("cleanlab.segmentation.rank", reason="cleanlab is the other yardstick")
    data = drawn.make_dataset(seed, images=4, classes=classes, height=17, width=20, dtype=dtype, ignore=None)
    for temperature in (0.02, 0.1, 1.5):
        answer = reference.audit(*data[:2], temperature=temperature, evidence_dtype="float32")
        expected, _ = rank.get_label_quality_scores(
            data.labels, in_float64(data), method="softmin", temperature=temperature, n_jobs=1, verbose=False
        )
        assert column(answer, "softmin") == pytest.approx(expected.tolist(), abs=1e-12)


@pytest.mark.parametrize(("dtype", "classes", "seed"), SETS)
def test_flags_equal_cleanlab_except_at_the_cut(dtype: str, classes: int, seed: int) -> None:
    clean = pytest.importorskip("cleanlab.segmentation.filter", reason="cleanlab is the other yardstick")
    data = drawn.make_dataset(seed, images=4, classes=classes, height=17, width=20, dtype=dtype, ignore=None)
    answer = reference.audit(*data[:2], evidence_dtype="float32")
    cleanlab_mask = clean.find_label_issues(data.labels, in_float64(data), n_jobs=1, verbose=False)
    assert answer.cut is not None
    assert answer.estimated_issues > 20, "a set that shows something"
    s = answer.self_confidence.astype(np.float64)
    if data.predictions.dtype.kind == "u":
        s *= 1 / np.iinfo(data.predictions.dtype).max
    assert not (cleanlab_mask & ~answer.issue_mask).any(), "ties at the cut are all flagged here, in part there"
    assert (s[answer.issue_mask != cleanlab_mask] == answer.cut).all()


# ------------------------------------------------------------------- four pixels, three classes, done by hand

# given   p               s     a  m
#   0     .750 .125 .125  .750  0  .750
#   0     .125 .625 .250  .125  1  .625
#   1     .250 .500 .250  .500  1  .500
#   2     .375 .500 .125  .125  1  .500
ROWS = [[0.75, 0.125, 0.125], [0.125, 0.625, 0.25], [0.25, 0.5, 0.25], [0.375, 0.5, 0.125]]
GIVEN = [0, 0, 1, 2]


def one_row(rows: list[list[float]], dtype: str = "float32") -> drawn.Array:
    """(1, K, 1, W) from one list of K probabilities a pixel."""
    return np.array(rows, dtype=dtype).T[None, :, None, :]


def labeled(given: list[int], dtype: str = "uint8") -> drawn.Array:
    """(1, 1, W)."""
    return np.array([[given]], dtype=dtype)


def column(answer: reference.Reference, name: str) -> list[float | None]:
    return [scores[name] for scores in answer.scores]


def by_hand(**options: Any) -> reference.Reference:
    return reference.audit(one_row(ROWS), labeled(GIVEN), lattice=1, **options)


def test_every_score_equals_hand_calculation() -> None:
    half_life = 0.125 / math.log(2)  # a weight halves with every eighth of s: w = 1/32, 1, 1/8, 1
    (scores,) = by_hand(temperature=half_life).scores
    assert scores == pytest.approx(
        {
            "ccp": 2 / 4,
            "tccp": 3 / 4,  # tau = 97/256, 33/256, 1/256: only the second pixel is below
            "cil": 1.5 / 4,
            "softmin": 43 / 276,  # (.75/32 + .125 + .5/8 + .125) / (1/32 + 1 + 1/8 + 1)
            "clc": 2 / 4,
            "iou": (1 / 2 + 1 / 3 + 0 / 1) / 3,
            "coco": (0.4375 + 0.5 + 0.125 + 0.75 + 0.25) / 5,  # 3 components of labels, 2 of predictions
            "omission": 1.0,  # the one ignored pixel has a neighbor with a label
            "class_agreement": 1.0,  # one image has none to compare with
        },
        abs=1e-15,
    )


def test_every_statistic_equals_hand_calculation() -> None:
    answer = by_hand()
    assert answer.status == ["ok"]
    assert answer.n == [2, 1, 1]
    assert answer.S == [2**24 * 7 // 8, 2**24 // 2, 2**24 // 8]
    assert answer.confident_threshold == [0.4375, 0.5, 0.125]
    # Best TPR - FPR: 1/2 - 0 at b = 97..192; 1 - 2/3 at b = 33..128; 1 - 1 at b = 1..32.
    assert answer.decision_threshold == [97 / 256, 33 / 256, 1 / 256]
    assert answer.joint == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert (answer.estimated_issues, answer.cut) == (2, 0.125)
    assert answer.issue_mask.tolist() == [[[False, True, False, True]]]
    assert answer.class_pairs == {(0, 1): (1, 1), (2, 1): (1, 1)}
    assert answer.class_quality == [1 / 2, 1.0, 0.0]
    assert answer.self_confidence.tolist() == [[[0.75, 0.125, 0.5, 0.125]]]
    assert answer.predicted_class.tolist() == [[[0, 1, 1, 1]]]
    assert answer.predicted_confidence.tolist() == [[[0.75, 0.625, 0.5, 0.5]]]


def test_scores_with_options_equal_hand_calculation() -> None:
    assert column(by_hand(tau="confident"), "tccp") == [3 / 4]  # three equal or exceed .4375, .5 and .125
    assert column(by_hand(tau=0.5), "tccp") == [2 / 4]
    assert column(by_hand(coco_sources="labels"), "coco") == pytest.approx([(0.4375 + 0.5 + 0.125) / 3])
    assert column(by_hand(coco_sources="predictions"), "coco") == [0.5]
    assert column(by_hand(coco_aggregate="min"), "coco") == [0.125]
    confident = by_hand(clc_rule="confident")
    assert (confident.estimated_issues, confident.cut) == (2, None)
    assert confident.issue_mask.tolist() == [[[False, True, False, True]]]


def test_softmin_is_between_the_minimum_and_the_mean() -> None:
    s = [0.5, 0.25, 1.0]
    assert reference.softmin(s, 5e-324) == 0.25
    assert reference.softmin(s, 1e12) == pytest.approx(1.75 / 3)
    assert reference.softmin(s, math.inf) == 1.75 / 3


@pytest.mark.parametrize("temperature", [0.0, -0.1, math.nan, -math.inf])
def test_temperature_not_above_zero_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        reference.softmin([0.5], temperature)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        by_hand(temperature=temperature)


# --------------------------------------------------------------------------------------------------- edges


def test_argmax_is_the_lowest_class_on_ties() -> None:
    answer = reference.audit(one_row([[0.2, 0.4, 0.4], [0.5, 0.0, 0.5]]), labeled([2, 2]))
    assert answer.predicted_class.tolist() == [[[1, 0]]]
    assert column(answer, "ccp") == [0.0], "as confident in the given label, and yet not predicted"


def test_argmax_looks_at_the_values_before_rounding() -> None:
    rows = [[0.25, 0.37499, 0.37501]]
    answer = reference.audit(one_row(rows), labeled([1]))
    assert answer.predicted_class.tolist() == [[[2]]]
    assert answer.predicted_confidence.tolist() == answer.self_confidence.tolist() == [[[0.375]]]


def test_class_absent_from_the_labels_is_never_confident() -> None:
    answer = reference.audit(one_row([[0.25, 0.75], [0.0, 1.0], [1.0, 0.0]]), labeled([0, 0, 0]), lattice=1)
    assert answer.n == [3, 0]
    assert answer.confident_threshold == [1.25 / 3, math.inf]
    # No lattice pixel is labeled 1, and none is not labeled 0: both fall back on t_k.
    assert answer.decision_threshold == answer.confident_threshold
    assert (answer.estimated_issues, answer.cut) == (0, None), "nobody is confidently of class 1"
    assert not answer.issue_mask.any()
    assert answer.class_quality == [1.0, None]
    assert column(answer, "clc") == [1.0]
    assert column(answer, "tccp") == [1 / 3]
    assert column(answer, "iou") == [(1 / 3 + 0) / 2], "a class that is only predicted counts"


def test_tau_falls_back_where_the_lattice_misses_a_class() -> None:
    rows = [[0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0.5, 0.5], [0.875, 0.125]]
    answer = reference.audit(one_row(rows), labeled([0, 0, 1, 1, 0]), lattice=4)  # pixels 0 and 4 only
    assert answer.confident_threshold == [2.125 / 3, 0.625]
    assert answer.decision_threshold == answer.confident_threshold
    every = reference.audit(one_row(rows), labeled([0, 0, 1, 1, 0]), lattice=2)
    assert every.decision_threshold == [65 / 256, 65 / 256]


def test_lattice_starts_at_the_corner_and_skips_ignored_pixels() -> None:
    p = np.full((1, 2, 5, 5), 0.5, np.float32)
    p[0, :, 0, 4], p[0, :, 4, 4], p[0, :, 1, 1] = (0.25, 0.75), (0.0, 1.0), (1.0, 0.0)
    labels = np.zeros((1, 5, 5), np.uint8)
    labels[0, 0, 4] = labels[0, 1, 1] = 1
    labels[0, 4, 4] = 255
    answer = reference.audit(p, labels)  # the lattice: (0,0), (0,4), (4,0) valid, (4,4) not
    assert answer.decision_threshold == [65 / 256, 129 / 256]


def test_cut_without_issues_is_none() -> None:
    answer = reference.audit(one_row([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]), labeled([0, 1, 1]))
    assert (answer.estimated_issues, answer.cut, answer.class_pairs) == (0, None, {})
    assert answer.joint == [[1, 0], [1, 1]], "one disagreement, but not a confident one"
    assert column(answer, "clc") == [1.0]


def test_ties_at_the_cut_are_all_flagged() -> None:
    # t_1 = .75: one pixel disagrees with that confidence (M = 1); three share the smallest s, two disagree.
    rows = [[0.25, 0.75, 0.0], [0.25, 0.375, 0.375], [0.25, 0.25, 0.5], [1.0, 0.0, 0.0], [0.25, 0.75, 0.0]]
    answer = reference.audit(one_row(rows), labeled([0, 0, 2, 0, 1]))
    assert (answer.estimated_issues, answer.cut) == (1, 0.25)
    assert answer.issue_mask.tolist() == [[[True, True, False, False, False]]]
    assert answer.class_pairs == {(0, 1): (2, 1)}, "two pixels in one image"
    only_confident = reference.audit(one_row(rows), labeled([0, 0, 2, 0, 1]), clc_rule="confident")
    assert only_confident.issue_mask.tolist() == [[[True, False, False, False, False]]]


def test_prediction_within_the_margin_of_its_threshold_is_confident() -> None:
    # t_1 = (.75 + .75 + 2**-21) / 2 is above .75 by less than 1e-6: .75 is confident enough.
    rows = [[0.25, 0.75], [0.25 - 2**-21, 0.75 + 2**-21], [0.25, 0.75]]
    answer = reference.audit(one_row(rows), labeled([1, 1, 0]), evidence_dtype="float32")
    assert answer.confident_threshold[1] > 0.75
    assert answer.estimated_issues == 1


def test_confident_threshold_has_a_minimum() -> None:
    answer = reference.audit(one_row([[0.0, 1.0]]), labeled([0]))
    assert answer.confident_threshold == [2e-6, math.inf]
    tiny = one_row([[0.75 * 2**-32, 1.0]])
    assert reference.audit(tiny, labeled([0]), evidence_dtype="float32").S == [1, 0], "rounded, not cut off"


def test_equal_values_reach_their_threshold() -> None:
    for value in range(256):
        answer = reference.audit(one_row([[value, 255 - value]] * 3, "uint8"), labeled([0] * 3), tau="confident")
        assert column(answer, "tccp") == [float(value > 0)], value


def test_ignored_pixels_change_only_their_a_and_m() -> None:
    rows = [*ROWS, [0.0, 0.25, 0.75]]
    answer = reference.audit(one_row(rows), labeled([*GIVEN, 255]), lattice=1)
    alone = by_hand()
    assert (answer.scores, answer.S, answer.joint) == (alone.scores, alone.S, alone.joint)
    assert answer.decision_threshold == alone.decision_threshold
    assert answer.self_confidence[0, 0, 4] == 0
    assert (answer.predicted_class[0, 0, 4], answer.predicted_confidence[0, 0, 4]) == (2, 0.75)


def test_image_of_ignored_pixels_has_no_scores() -> None:
    answer = reference.audit(one_row(ROWS), labeled([255] * 4))
    assert answer.status == ["all_ignored"]
    assert answer.scores == [dict.fromkeys(reference.SCORES)]
    assert (answer.n, answer.S, answer.cut) == ([0, 0, 0], [0, 0, 0], None)
    assert answer.decision_threshold == answer.confident_threshold == [math.inf] * 3
    assert answer.predicted_class.tolist() == [[[0, 1, 1, 1]]], "shows what the model sees"


# ---------------------------------------------------------------------------- components, coco and regions

LABELS = [[0, 0, 1, 1], [0, 1, 0, 0], [2, 2, 2, 0]]
S = [[0.5, 0.25, 1.0, 0.5], [0.75, 0.75, 0.5, 0.25], [0.0, 0.125, 0.25, 0.75]]
EVERY = [[True] * 4] * 3
HOLE = [[True, True, True, True], [True, False, True, True], [True, True, True, True]]


def test_components_touch_at_corners() -> None:
    assert reference.components(LABELS, EVERY) == [
        [(0, 0), (0, 1), (1, 0), (1, 2), (1, 3), (2, 3)],  # 0: (0,1) and (1,2) meet at a corner
        [(0, 2), (0, 3), (1, 1)],  # 1: (0,2) and (1,1) too, across the other diagonal
        [(2, 0), (2, 1), (2, 2)],
    ]
    assert len(reference.components([[1, 0], [0, 1]], [[True, True], [True, True]])) == 2
    assert reference.components([[1, 1, 1]], [[True, False, True]]) == [[(0, 0)], [(0, 2)]]


def test_coco_excludes_small_components() -> None:
    two_of_one = [[0, 0, 0, 1]]
    s = [[0.25, 0.5, 0.75, 0.0]]
    valid = [[True] * 4]
    assert reference.coco([two_of_one], valid, s, min_area=0.25) == 0.25, "1 pixel is 1/4 of 4"
    assert reference.coco([two_of_one], valid, s, min_area=0.26) == 0.5, "rounded up to 2 pixels"
    assert reference.coco([two_of_one], valid, s, min_area=1.0) == 0.25, "none would remain: all do"
    assert reference.coco([two_of_one, [[0] * 4]], valid, s, min_area=1.0) == 0.375, "one of either plane remains"
    only_three = [[False, True, True, True]]
    assert reference.coco([two_of_one], only_three, s, min_area=0.5) == 0.625, "half of three valid is 2"
    seven = [[0] * 7 + [1] * 93]
    assert reference.coco([seven], [[True] * 100], seven, min_area=0.07) == 0.5, "7 of 100 is 0.07 exactly"


def test_regions_equal_hand_calculation() -> None:
    a = [[1, 1, 0, 0], [1, 0, 1, 2], [0, 0, 0, 1]]
    m = [[0.75] * 4] * 3
    found = reference.regions(HOLE, LABELS, a, S, m)
    assert [(r.given, r.suggested, r.area, r.bbox) for r in found] == [
        (0, 1, 5, (0, 0, 3, 4)),  # (0,0) (0,1) (1,0) (1,2) (2,3)
        (1, 0, 2, (0, 2, 1, 4)),  # without (1,1), which is not flagged
        (0, 2, 1, (1, 3, 2, 4)),
        (2, 0, 3, (2, 0, 3, 3)),
    ]
    assert found[0].centroid == (4 / 5, 6 / 5)
    assert (found[0].evidence, found[0].mean_s, found[0].mean_m) == (5 * 0.75 - 2.75, 2.75 / 5, 0.75)
    assert found[2] == reference.Region(0, 2, 1, (1, 3, 2, 4), (1.0, 3.0), 0.5, 0.25, 0.75)
    assert reference.regions([[False] * 4] * 3, LABELS, a, S, m) == []


# ----------------------------------------------------------------------------------------- kinds and dtypes


def test_integers_with_a_scale_equal_hand_calculation() -> None:
    p = one_row([[75, 25], [40, 60], [25, 75]], "uint8")
    answer = reference.audit(p, labeled([0, 0, 1]), scale=0.01, lattice=1)
    assert answer.S == [115, 75]
    assert answer.confident_threshold == pytest.approx([0.575, 0.75], abs=1e-15)
    assert answer.decision_threshold == [65 / 256, 154 / 256]  # bins 102, 192 | 64 and 192 | 64, 153
    assert answer.self_confidence.dtype == np.uint8
    assert column(answer, "cil") == pytest.approx([1.9 / 3])


def test_evidence_dtype_follows_predictions_and_option() -> None:
    rows = [[0.1, 0.9]]
    stored = {}
    for dtype in ("uint8", "uint16", "float16", "float32", "float64"):
        p = drawn.quantize(one_row(rows, "float64"), dtype)
        for evidence_dtype in ("auto", "float32"):
            answer = reference.audit(p, labeled([0]), evidence_dtype=evidence_dtype)
            assert answer.self_confidence.dtype == answer.predicted_confidence.dtype
            stored[dtype, evidence_dtype] = (answer.self_confidence.dtype.name, answer.S[0])
    assert stored["uint8", "auto"] == stored["uint8", "float32"] == ("uint8", 26)  # 25.5, to even
    assert stored["uint16", "auto"] == stored["uint16", "float32"] == ("uint16", 6554)
    assert stored["float16", "auto"] == stored["float16", "float32"] == ("float16", 1638 * 2**10)
    assert stored["float32", "auto"] == stored["float64", "auto"] == stored["float16", "auto"]
    assert stored["float32", "float32"] == stored["float64", "float32"] == ("float32", round(0.1 * 2**32 + 6.4))


def test_logits_are_softmaxed() -> None:
    logits = np.log(one_row(ROWS, "float64")) + 7
    answer = reference.audit(logits, labeled(GIVEN), kind="logits", lattice=1)
    assert answer.self_confidence.dtype == np.float16
    assert answer.scores[0] == pytest.approx(by_hand().scores[0], abs=1e-3)
    assert answer.predicted_class.tolist() == by_hand().predicted_class.tolist()
    huge = reference.audit(one_row([[3e38, -3e38]], "float64"), labeled([0]), kind="logits")
    assert column(huge, "cil") == [1.0]


@pytest.mark.parametrize(
    ("p", "options", "match"),
    [
        (one_row(ROWS), {"scale": 0.5}, "integers are scaled probabilities"),
        (one_row(ROWS).astype(np.uint8), {"kind": "logits"}, "integers are scaled probabilities"),
        (one_row(ROWS).astype(np.uint8), {"scale": 0.0}, "scale must be above 0"),
        (one_row(ROWS), {"kind": "odds"}, "unknown kind"),
        (one_row(ROWS), {"tau": math.nan}, "tau must be"),
        (one_row(ROWS), {"tau": "fair"}, "tau must be"),
        (one_row(ROWS), {"lattice": 0}, "lattice must be"),
        (one_row(ROWS), {"clc_rule": "all"}, "clc_rule must be one of"),
        (one_row(ROWS), {"coco_min_area": -1.0}, "coco_min_area must be"),
    ],
)
def test_invalid_option_is_refused(p: drawn.Array, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        reference.audit(p, labeled(GIVEN), **options)
