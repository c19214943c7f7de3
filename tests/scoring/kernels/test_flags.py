"""Flags, and sums over the planes of images for the scores, against NumPy and plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.flags import FlaggedPixels, count_reached, flag_pixels, softmin_sums
from support.condensed import a_few
from support.evidence_strategies import ENCODINGS, Evidence, evidence, limits_of


@a_few
@given(drawn=evidence(), data=st.data())
def test_flags_of_the_rank_rule_equal_numpy(drawn: Evidence, data: st.DataObject) -> None:
    cut = data.draw(st.one_of(st.sampled_from(drawn.s.reshape(-1).tolist()), st.just(-1)))
    found = flag_pixels(*drawn.batch("labels", "predicted", "s", "m"), drawn.encoding, drawn.classes, cut)
    valid = drawn.labels < drawn.classes
    same_flags(found, drawn, valid & (drawn.labels != drawn.predicted) & (drawn.s.astype(np.int64) <= cut))


@a_few
@given(drawn=evidence(), data=st.data())
def test_count_reached_equals_plain_loops(drawn: Evidence, data: st.DataObject) -> None:
    tau = limits_of(drawn, data)
    expected = sum(s >= tau[label] for label, _, s, _ in drawn.pixels())
    assert count_reached(*drawn.batch("labels", "s"), tau) == expected


def same_flags(found: FlaggedPixels, drawn: Evidence, expected: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(found.mask[0], expected)
    pairs = np.zeros_like(found.pixels[0])
    np.add.at(pairs, (drawn.labels[expected], drawn.predicted[expected]), 1)
    np.testing.assert_array_equal(found.pixels[0], pairs)
    differences = units(drawn, drawn.m[expected]) - units(drawn, drawn.s[expected])
    evidence = np.zeros_like(pairs)
    np.add.at(evidence, (drawn.labels[expected], drawn.predicted[expected]), differences)
    np.testing.assert_array_equal(found.evidence[0], evidence)


def units(drawn: Evidence, codes: NDArray[Any]) -> NDArray[np.int64]:
    """Return codes in units of `Encoding.unit`."""
    if not drawn.encoding.is_float:
        return codes.astype(np.int64)
    return np.rint(drawn.encoding.values(codes) / float(drawn.encoding.unit)).astype(np.int64)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
@pytest.mark.parametrize("size", [31, 1 << 14, (1 << 14) + 1, 40_003])
def test_flags_of_many_tiles_equal_numpy(encoding: Encoding, size: int) -> None:
    """Long runs and single pixels, correct, wrong and ignored. Values at ignored pixels change nothing."""
    rng = np.random.default_rng(size)
    labels = np.repeat(rng.choice([0, 1, 4, 255], size // 40 + 1), 40)[:size].astype(np.uint8)
    predicted = np.where(rng.random(size) < 0.9, np.minimum(labels, 4), rng.integers(0, 5, size)).astype(np.uint8)
    s, m = rng.integers(0, encoding.top + 1, (2, size)).astype(encoding.codes_dtype)
    valid = labels < 5
    s[~valid] = np.iinfo(s.dtype).max
    drawn = Evidence(5, encoding, *(plane[np.newaxis] for plane in (labels, predicted, s, m)))
    tau = np.array([0, encoding.top // 2, 0, 0, encoding.top + 1])
    cut = encoding.top // 3
    assert count_reached(*drawn.batch("labels", "s"), tau) == np.sum(s[valid] >= tau[labels[valid]])
    found = flag_pixels(*drawn.batch("labels", "predicted", "s", "m"), encoding, 5, cut)
    same_flags(found, drawn, (valid & (labels != predicted) & (s <= cut))[np.newaxis])


@a_few
@given(drawn=evidence(), data=st.data())
def test_flags_of_the_confident_rule_equal_numpy(drawn: Evidence, data: st.DataObject) -> None:
    limits = limits_of(drawn, data)
    mask = np.full((1, *drawn.labels.shape), 7, np.uint8)
    planes = drawn.batch("labels", "predicted", "s", "m")
    found = flag_pixels(*planes, drawn.encoding, drawn.classes, 0, limits, mask)
    assert found.mask is mask
    other = (drawn.labels < drawn.classes) & (drawn.labels != drawn.predicted)
    confident = other & (drawn.m >= limits[drawn.predicted])
    same_flags(found, drawn, confident)


@a_few
@given(drawn=evidence(), temperature=st.sampled_from([1e-300, 0.01, 0.1, 1.0, np.inf]))
def test_softmin_sums_equal_numpy(drawn: Evidence, temperature: float) -> None:
    valid = drawn.labels < drawn.classes
    s = drawn.encoding.values(drawn.s)
    least = float(s[valid].min()) if valid.any() else 0.0
    weighted, weights = np.empty(1), np.empty(1)
    softmin_sums(drawn.labels.reshape(1, -1), s.reshape(1, -1), drawn.classes, temperature, weighted, weights)
    with np.errstate(over="ignore", under="ignore"):
        w = np.exp((least - s[valid]) / temperature)
    assert weights[0] == pytest.approx(w.sum(), rel=1e-14)
    assert weighted[0] == pytest.approx((s[valid] * w).sum(), rel=1e-14)
