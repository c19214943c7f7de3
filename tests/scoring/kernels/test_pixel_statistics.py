"""Counting over the planes of images, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.pixel_statistics import (
    CodeCounts,
    add_low_bit_counts,
    count_at_least,
    count_pixels,
)
from support.condensed import a_few
from support.evidence_strategies import ENCODINGS, Evidence, classes_by_classes, evidence, histogram, limits_of


@a_few
@given(drawn=evidence())
def test_count_pixels_equals_plain_loops(drawn: Evidence) -> None:
    k, encoding = drawn.classes, drawn.encoding
    found = count_pixels(*drawn.batch("labels", "predicted", "s", "m"), encoding, k)
    sums = [0] * k
    confident = np.zeros((k if encoding.dtype == "uint8" else 0, 256), np.int64)
    given_counts = np.zeros_like(confident)
    for label, a, s, m in drawn.pixels():
        sums[label] += round(encoding.value(s) / float(encoding.unit)) if encoding.is_float else s
        if encoding.dtype == "uint8":
            given_counts[label, s] += 1
            confident[a, m] += a != label
    np.testing.assert_array_equal(found.joint[0], classes_by_classes(drawn))
    assert found.sums.tolist() == [sums]
    np.testing.assert_array_equal(found.self_counts, histogram(drawn))
    np.testing.assert_array_equal(found.confident_counts, confident)
    same_codes(found.self_codes, found.self_counts)
    same_codes(found.given_codes, given_counts.reshape(-1))
    assert found.valid.tolist() == [len(drawn.pixels())]


def same_codes(found: CodeCounts, histogram: NDArray[np.int64]) -> None:
    """Check the codes of one image."""
    np.testing.assert_array_equal(found.codes, np.flatnonzero(histogram))
    np.testing.assert_array_equal(found.pixels, histogram[histogram > 0])
    assert found.ends.tolist() == [len(found.codes)]


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
@pytest.mark.parametrize("classes", [2, 19])
def test_image_of_several_tiles_is_counted_like_its_parts(encoding: Encoding, classes: int) -> None:
    """Counts and sums share a machine word: use more pixels of full confidence than one word holds."""
    shape = (900, 1200)
    rng = np.random.default_rng(classes)
    labels = np.repeat(rng.integers(0, classes, (900, 12), np.uint8), 100, axis=1)
    labels[rng.random(shape) < 0.1] = 255
    predicted = np.where(rng.random(shape) < 0.9, np.minimum(labels, classes - 1), 0).astype(np.uint8)
    s = np.where(labels < classes, encoding.top, 0).astype(encoding.codes_dtype)
    whole = count_pixels(*(p[np.newaxis] for p in (labels, predicted, s, s)), encoding, classes)
    one = round(encoding.value(encoding.top) / float(encoding.unit)) if encoding.is_float else encoding.top
    assert whole.sums[0].tolist() == [one * int((labels == k).sum()) for k in range(classes)]
    assert whole.valid[0] == int((labels < classes).sum())
    halves = [
        count_pixels(*(p[np.newaxis, part] for p in (labels, predicted, s, s)), encoding, classes)
        for part in (slice(0, 301), slice(301, 900))
    ]
    np.testing.assert_array_equal(whole.joint, halves[0].joint + halves[1].joint)
    np.testing.assert_array_equal(whole.self_counts, halves[0].self_counts + halves[1].self_counts)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_every_code_is_summed_exactly(encoding: Encoding) -> None:
    if encoding.dtype == "float32":
        codes = np.unique(np.linspace(0, encoding.top, 5001).astype(np.uint32))
    else:
        codes = np.arange(encoding.top + 1).astype(encoding.codes_dtype)
    plane = codes.reshape(1, 1, -1)
    zeros = np.zeros(plane.shape, np.uint8)
    found = count_pixels(zeros, zeros, plane, plane, encoding, 1)
    if encoding.is_float:
        expected = sum(round(value / float(encoding.unit)) for value in encoding.values(codes).tolist())
    else:
        expected = sum(codes.tolist())
    assert found.sums.tolist() == [[expected]]


@a_few
@given(drawn=evidence(), data=st.data())
def test_count_at_least_equals_plain_loops(drawn: Evidence, data: st.DataObject) -> None:
    limits = limits_of(drawn, data)
    expected = sum(a != label and m >= limits[a] for label, a, _, m in drawn.pixels())
    assert count_at_least(*drawn.flat("labels", "predicted", "m"), limits) == expected


@a_few
@given(drawn=evidence((Encoding("float32"),)), data=st.data())
def test_low_bits_are_counted_in_one_bin(drawn: Evidence, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(drawn.s.reshape(-1).tolist())) >> 16
    counts = np.zeros(1 << 16, np.int64)
    counts[3] = 10
    add_low_bit_counts(*drawn.flat("labels", "s"), drawn.classes, key, counts)
    inside = [s & 65_535 for _, _, s, _ in drawn.pixels() if s >> 16 == key]
    counts[3] -= 10
    np.testing.assert_array_equal(counts, np.bincount(inside, minlength=1 << 16))
