"""ClassStatistics: merging, serialization, and the thresholds computed from them."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import reduce
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.scoring.kernels.condense import CondenseConfig
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.statistics.agreement import BINS, AgreementScale
from masksift.scoring.statistics.class_statistics import ClassStatistics, Statistics
from masksift.scoring.statistics.thresholds import (
    Thresholds,
    codes_at_least,
    confident_thresholds,
    count_confident,
    decision_thresholds,
    find_rank_threshold,
    ignored_shares,
)
from reference import audit as reference
from support import datasets as drawn
from support.condensed import a_few, condense, make_config, one_row, thresholds

EVIDENCE = ("uint8", "uint16", "float16", "float32")
MIB = 1 << 20


def config_for(evidence: str, classes: int) -> CondenseConfig:
    """Return the configuration for predictions that are stored as this evidence dtype."""
    return make_config(classes, evidence, evidence="float32" if evidence == "float32" else "auto")


def states_of(data: drawn.Data, config: CondenseConfig) -> list[ClassStatistics]:
    return [one.statistics for one in condense(data, config) if one.statistics]


def merged(states: list[ClassStatistics], config: CondenseConfig) -> ClassStatistics:
    return reduce(ClassStatistics.merge, states, ClassStatistics.empty(config))


def same(one: ClassStatistics, other: ClassStatistics) -> None:
    assert (one.encoding, one.sums, one.ignored_confidence, one.total_confidence) == (
        other.encoding,
        other.sums,
        other.ignored_confidence,
        other.total_confidence,
    )
    for name in ("joint", "self_counts", "confident_counts", "grid_labeled", "grid_all"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.to_bytes() == other.to_bytes()


@st.composite
def states(draw: st.DrawFn) -> ClassStatistics:
    """Draw arbitrary counts of three float16 classes, including sums beyond 64 bits."""
    encoding = Encoding("float16")

    def counts(*shape: int) -> Any:
        few = draw(st.lists(st.integers(0, 2**40), min_size=3, max_size=3))
        return np.resize(np.array([0, *few, 1], np.int64), shape)

    sums, hidden, seen = (tuple(draw(st.lists(st.integers(0, 2**100), min_size=3, max_size=3))) for _ in range(3))
    return ClassStatistics(
        encoding,
        counts(3, 3),
        sums,
        counts(encoding.bins),
        np.zeros((0, 256), np.int64),
        counts(3, 256),
        counts(3, 256),
        counts(2, 3, BINS),
        hidden,
        seen,
    )


# --------------------------------------------------------------------------------------------------- a monoid


@a_few
@given(a=states(), b=states(), c=states())
def test_merge_is_associative_and_commutative_with_a_neutral_element(
    a: ClassStatistics, b: ClassStatistics, c: ClassStatistics
) -> None:
    zero = ClassStatistics.empty(make_config(3, "float16"))
    same(a.merge(b).merge(c), a.merge(b.merge(c)))
    same(a.merge(b), b.merge(a))
    same(a.merge(zero), a)
    same(zero.merge(a), a)


@pytest.mark.parametrize("evidence", EVIDENCE)
@a_few
@given(data=st.data(), random=st.randoms(use_true_random=False))
def test_merge_of_any_partition_gives_the_same_state(evidence: str, data: st.DataObject, random: Random) -> None:
    images = data.draw(drawn.any_data(dtypes=[evidence]))
    config = config_for(evidence, images.predictions.shape[1])
    whole = states_of(images, config)
    blocks: list[list[ClassStatistics]] = [[] for _ in range(data.draw(st.integers(1, 4)))]
    for state in random.sample(whole, len(whole)):
        random.choice(blocks).append(state)
    parts = [ClassStatistics.from_bytes(merged(block, config).to_bytes()) for block in blocks]
    same(merged(parts, config), merged(whole, config))


@pytest.mark.parametrize(
    "other",
    [make_config(4, "uint8"), make_config(3, "uint8", scale=0.01), make_config(3, "uint16"), make_config(3, "float16")],
)
def test_merge_of_different_encodings_or_classes_is_refused(other: CondenseConfig) -> None:
    with pytest.raises(ValueError, match=r"Statistics of 3 classes in .*uint8.* have different bins"):
        ClassStatistics.empty(make_config(3, "uint8")).merge(ClassStatistics.empty(other))


def test_merge_changes_neither_argument() -> None:
    config = make_config(5, "uint8")
    a, b = states_of(drawn.make_dataset(0, images=2, classes=5, height=6, width=7, dtype="uint8"), config)
    before = (a.to_bytes(), b.to_bytes())
    a.merge(b)
    assert (a.to_bytes(), b.to_bytes()) == before


# ------------------------------------------------------------------------------------------------------ bytes


@a_few
@given(state=states())
def test_bytes_round_trip_the_state(state: ClassStatistics) -> None:
    again = ClassStatistics.from_bytes(state.to_bytes())
    same(again, state)
    assert all(type(total) is int for total in again.sums)
    assert again.joint.dtype == np.int64, "sums after deserialization do not overflow"


@pytest.mark.parametrize("scale", [1 / 255, 0.1, 1 / 333.7])
def test_bytes_round_trip_the_scale_exactly(scale: float) -> None:
    zero = ClassStatistics.empty(make_config(2, "uint8", scale=scale))
    assert ClassStatistics.from_bytes(zero.to_bytes()).encoding == zero.encoding


def realistic(evidence: str, classes: int, pixels: int) -> ClassStatistics:
    """Make statistics of a block of many pixels with counts in every class, pair and bin."""
    rng = np.random.default_rng(0)
    config = config_for(evidence, classes)
    zero = ClassStatistics.empty(config)

    def spread(shape: tuple[int, ...], total: int) -> Any:
        shares = rng.gamma(0.3, size=shape)
        return rng.poisson(shares / shares.sum() * total)

    lattice = pixels // 16
    every = np.stack([spread((256,), lattice) for _ in range(classes)])
    return ClassStatistics(
        config.evidence,
        spread((classes, classes), pixels),
        tuple(int(total) for total in rng.integers(0, 2**62, classes)),
        spread(zero.self_counts.shape, pixels),
        spread(zero.confident_counts.shape, pixels // 10),
        rng.binomial(every, 1 / classes),
        every,
        spread(zero.agreement.shape, min(pixels // 2**16, 2**16) * classes),
        tuple(int(total) for total in rng.integers(0, 2**60, classes)),
        tuple(int(total) for total in rng.integers(2**60, 2**62, classes)),
    )


@pytest.mark.parametrize("pixels", [10**7, 10**9, 10**11])
@pytest.mark.parametrize("evidence", EVIDENCE)
def test_state_of_a_block_is_under_one_mebibyte(evidence: str, pixels: int) -> None:
    assert len(realistic(evidence, 150, pixels).to_bytes()) < MIB


# --------------------------------------------------------------------------------- against the reference


def same_as_the_reference(data: drawn.Data, *, evidence: str = "auto", tau: str | float = "balanced") -> None:
    classes = data.predictions.shape[1]
    config = make_config(classes, data.predictions.dtype, evidence=evidence)
    statistics, found = thresholds(condense(data, config), config, tau)
    expected = reference.audit(data.predictions, data.labels, ignore=data.ignore, tau=tau, evidence_dtype=evidence)
    assert list(statistics.sums) == expected.S
    assert all(type(total) is int for total in statistics.sums)
    assert statistics.pixels.tolist() == expected.n
    assert statistics.joint.tolist() == expected.joint
    assert found.confident.tolist() == expected.confident_threshold
    assert found.decision.tolist() == expected.decision_threshold
    assert (found.estimated_issues, found.cut) == (expected.estimated_issues, expected.cut)
    assert found.ignored_share == pytest.approx(expected.ignored_share, abs=1e-12, rel=0)
    assert statistics.self_counts.sum() == sum(expected.n)
    scales = zip(found.agreement.center, found.agreement.spread, expected.usual.values(), strict=True)
    for centers, spreads, usual in scales:
        pairs = zip(centers.tolist(), spreads.tolist(), strict=True)
        assert [None if math.isnan(center) else (center, spread) for center, spread in pairs] == usual


@pytest.mark.parametrize("dtype", drawn.DTYPES)
@a_few
@given(data=st.data(), evidence=st.sampled_from(["auto", "float32"]))
def test_any_data_equal_the_reference(dtype: str, data: st.DataObject, evidence: str) -> None:
    tau = data.draw(st.sampled_from(["balanced", "confident", 0.5]))
    same_as_the_reference(data.draw(drawn.any_data(dtypes=[dtype])), evidence=evidence, tau=tau)


@pytest.mark.parametrize("evidence", ["auto", "float32"])
@pytest.mark.parametrize("dtype", drawn.DTYPES)
def test_realistic_data_equal_the_reference(dtype: str, evidence: str) -> None:
    data = drawn.make_dataset(11, images=9, classes=6, height=21, width=23, dtype=dtype, ignored_image=2)
    same_as_the_reference(data, evidence=evidence)


@pytest.mark.parametrize("count", range(1, 9))
def test_cut_of_float32_is_exact(count: int) -> None:
    """Eight self-confidences in one bin of the histogram; `count` of the pixels are confidently of another class."""
    low = [0.125 + 2.0**-22 * step for step in (5, 1, 3, 7, 2, 6, 4, 0)]
    probabilities = [[s, 0.75, 0.25 - s] if n < count else [s, 0.5, 0.5 - s] for n, s in enumerate(low)]
    data = one_row([*probabilities, *[[0.25, 0.75, 0.0]] * 8], [0] * 8 + [1] * 8)
    config = make_config(3, "float32", evidence="float32")
    images = condense(data, config)
    statistics, found = thresholds(images, config)
    assert np.flatnonzero(statistics.self_counts).tolist() == [0x3E00, 0x3F40], "the bins of 0.125 and of 0.75"
    assert (found.estimated_issues, found.cut) == (count, sorted(low)[count - 1])
    same_as_the_reference(data, evidence="float32")


def test_sums_beyond_float_precision_are_exact() -> None:
    encoding = Encoding("uint16", 1 / 65535)
    k = np.zeros((2, 2), np.int64)
    k[0, 0], total = 3**36, 3**36 * 65535 // 7
    state = ClassStatistics(
        encoding,
        k,
        (total, 0),
        *(np.zeros(shape, np.int64) for shape in ((65536,), (0, 256))),
        *np.zeros((2, 2, 256), np.int64),
        np.zeros((2, 2, BINS), np.int64),
        ignored_confidence=(3 * total, 0),
        total_confidence=(7 * total, 0),
    )
    many = reduce(ClassStatistics.merge, [state] * 5)
    assert many.sums == (total * 5, 0), "beyond 64 bits"
    assert many.sums[0] > 2**63
    expected = float(Fraction(total, 3**36) * Fraction(1 / 65535))
    assert confident_thresholds(many).tolist() == [expected, math.inf]
    assert ignored_shares(many).tolist() == [3 / 7, 0.0]


# ------------------------------------------------------------------------------------------------- thresholds


def test_confident_threshold_without_pixels_is_infinite() -> None:
    config = make_config(2, "float16")
    _, found = thresholds([], config)
    assert found.confident.tolist() == found.decision.tolist() == [math.inf, math.inf]
    limits = found.encode(config.evidence)
    assert limits.confident.tolist() == limits.decision.tolist() == [0x3C01, 0x3C01], "no code reaches them"
    assert (found.estimated_issues, found.cut, limits.cut) == (0, None, -1)


def test_class_without_labels_is_never_confident() -> None:
    data = one_row([[0.25, 0.75], [0.0, 1.0], [1.0, 0.0]], [0, 0, 0])
    config = make_config(2, "float32")
    _, found = thresholds(condense(data, config), config)
    assert found.confident.tolist() == [1.25 / 3, math.inf]
    assert (found.estimated_issues, found.cut) == (0, None)


def test_confident_threshold_has_a_minimum() -> None:
    data = one_row([[0.0, 1.0]], [0])
    config = make_config(2, "float32")
    assert thresholds(condense(data, config), config)[1].confident.tolist() == [2e-6, math.inf]


@pytest.mark.parametrize("code", [0, 1, 51, 128, 254, 255])
def test_class_of_equal_values_reaches_its_threshold(code: int) -> None:
    data = one_row([[code, 255 - code]] * 3, [0] * 3, "uint8")
    config = make_config(2, "uint8")
    _, found = thresholds(condense(data, config), config, "confident")
    assert found.encode(config.evidence).decision[0] == max(code, 1)


def histograms(own: dict[int, int], others: dict[int, int]) -> ClassStatistics:
    """Make statistics of two classes; the first has these lattice counts per bin, of its pixels and of others."""
    zero = ClassStatistics.empty(make_config(2, "uint8"))
    for b, count in own.items():
        zero.grid_labeled[0, b] += count
        zero.grid_all[0, b] += count
    for b, count in others.items():
        zero.grid_all[0, b] += count
    return zero


@pytest.mark.parametrize(
    ("own", "others", "b"),
    [
        ({200: 1}, {10: 1}, 11),  # the smallest of all thresholds that separate them
        ({255: 4}, {254: 4}, 255),
        ({0: 4}, {0: 4}, 1),  # not separable
        ({10: 4}, {200: 4}, 1),  # reversed order: the smallest loss
        ({100: 1, 200: 1}, {150: 1}, 1),  # 0 at b <= 100, -1/2 above, +1/2 above 150
        ({100: 3, 200: 2}, {150: 1, 50: 1}, 51),
    ],
)
def test_balanced_decision_thresholds_equal_hand_calculation(
    own: dict[int, int], others: dict[int, int], b: int
) -> None:
    statistics = histograms(own, others)
    found = decision_thresholds(statistics, np.array([0.9, 0.8]), "balanced")
    expected = reference.balanced_threshold(statistics.grid_labeled[0].tolist(), statistics.grid_all[0].tolist())
    assert found.tolist() == [expected, 0.8], "the second class has no lattice pixel"
    assert expected == (151 / 256 if own == {100: 1, 200: 1} else b / 256)


@a_few
@given(
    counts=st.dictionaries(st.integers(0, 255), st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6)
)
def test_balanced_decision_thresholds_equal_the_reference(counts: dict[int, tuple[int, int]]) -> None:
    statistics = histograms(
        {b: own for b, (own, _) in counts.items()}, {b: others for b, (_, others) in counts.items()}
    )
    expected = reference.balanced_threshold(statistics.grid_labeled[0].tolist(), statistics.grid_all[0].tolist())
    found = decision_thresholds(statistics, np.array([0.9, 0.8]), "balanced")
    assert found[0] == (0.9 if expected is None else expected)


def test_decision_thresholds_confident_or_fixed_ignore_the_lattice() -> None:
    statistics, confident = histograms({200: 1}, {10: 1}), np.array([0.9, math.inf])
    assert decision_thresholds(statistics, confident, "confident").tolist() == [0.9, math.inf]
    assert decision_thresholds(statistics, confident, 0.5).tolist() == [0.5, 0.5]
    found = decision_thresholds(statistics, confident, "balanced")
    assert (found[0], confident.tolist()) == (11 / 256, [0.9, math.inf]), "the argument is not changed"


def test_count_confident_counts_codes_at_least_the_threshold() -> None:
    encoding = Encoding("uint8", 1 / 255)
    assert codes_at_least(encoding, np.array([0.0, 0.2, 0.2000001, 1.0, math.inf])).tolist() == [0, 51, 52, 255, 256]
    statistics = ClassStatistics.empty(make_config(2, "uint8"))
    statistics.confident_counts[0, [10, 20, 255]] = (1, 2, 4)
    statistics.confident_counts[1, 0] = 8
    assert count_confident(statistics, np.array([20, 0])) == 14
    assert count_confident(statistics, np.array([256, 1])) == 0


# ---------------------------------------------------------------------------------------- several precisions

PRECISIONS = (
    Encoding("uint8", 1 / 255),
    Encoding("uint8", 0.01),
    Encoding("uint16", 1 / 65535),
    Encoding("float16"),
    Encoding("float32"),
)


def count_codes(encoding: Encoding, codes: list[int]) -> ClassStatistics:
    """Make statistics of pixels labeled 0, of two classes, with these self-confidence codes."""
    zero = ClassStatistics.empty(CondenseConfig(2, encoding.dtype, encoding.scale, "probabilities", encoding, 0.1))
    zero.joint[0, 1] = len(codes)
    fixed = sum(Fraction(encoding.value(code)) / encoding.unit if encoding.is_float else code for code in codes)
    keys = np.array(codes, np.int64) >> encoding.key_shift
    return ClassStatistics(
        encoding,
        zero.joint,
        (int(fixed), 0),
        np.bincount(keys, minlength=encoding.bins),
        zero.confident_counts,
        zero.grid_labeled,
        zero.grid_all,
        zero.agreement,
        zero.ignored_confidence,
        zero.total_confidence,
    )


@st.composite
def codes_by_precision(draw: st.DrawFn) -> dict[Encoding, list[int]]:
    """Draw codes of several encodings, some of them adjacent."""
    chosen = draw(st.lists(st.sampled_from(PRECISIONS), min_size=1, max_size=5, unique=True))
    near = draw(st.floats(0, 1))

    def codes(encoding: Encoding) -> st.SearchStrategy[int]:
        middle = min(encoding.code_at_least(near), encoding.top)
        some = st.integers(max(0, middle - 3), min(encoding.top, middle + 3))
        return st.one_of(st.integers(0, encoding.top), some)

    return {encoding: draw(st.lists(codes(encoding), min_size=1, max_size=8)) for encoding in chosen}


@a_few
@given(codes=codes_by_precision(), data=st.data())
def test_cut_is_the_rank_th_smallest_over_all_precisions(codes: dict[Encoding, list[int]], data: st.DataObject) -> None:
    values = sorted(encoding.value(code) for encoding, own_codes in codes.items() for code in own_codes)
    rank = data.draw(st.integers(1, len(values)))

    def look(key: int) -> Any:
        inside = [code & 0xFFFF for code in codes[PRECISIONS[-1]] if code >> 16 == key]
        return np.bincount(np.array(inside, np.int64), minlength=1 << 16)

    states = [count_codes(encoding, own_codes) for encoding, own_codes in codes.items()]
    cut = find_rank_threshold(states, rank, look)
    assert cut == values[rank - 1]
    found = Thresholds(
        np.array([0.5]), np.array([0.5]), rank, cut, np.array([0.0]), AgreementScale(*np.zeros((2, 2, 1)))
    )
    for encoding, own_codes in codes.items():
        flagged = [code <= found.encode(encoding).cut for code in own_codes]
        assert flagged == [encoding.value(code) <= values[rank - 1] for code in own_codes], encoding


def test_cut_without_issues_is_none() -> None:
    assert find_rank_threshold([count_codes(PRECISIONS[0], [1])], 0, lambda key: pytest.fail("not needed")) is None


@a_few
@given(codes=codes_by_precision(), random=st.randoms(use_true_random=False))
def test_states_of_several_precisions_merge_in_any_order(codes: dict[Encoding, list[int]], random: Random) -> None:
    states = [
        Statistics((count_codes(encoding, [code]),)) for encoding, own_codes in codes.items() for code in own_codes
    ]
    whole = reduce(Statistics.merge, states, Statistics(()))
    again = reduce(Statistics.merge, random.sample(states, len(states)))
    assert [part.encoding for part in whole.states] == [part.encoding for part in again.states]
    for one, other in zip(whole.states, again.states, strict=True):
        same(one, other)
    assert whole.pixels.tolist() == [sum(map(len, codes.values())), 0]
    exact = sum((part.totals[0] for state in states for part in state.states), Fraction())
    assert whole.totals == [exact, 0]
    assert confident_thresholds(whole)[0] == max(float(exact / int(whole.pixels[0])), 2e-6)
