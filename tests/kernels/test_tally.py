"""Counting over the planes of one image, against plain loops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from making import a_few
from masksift.kernels.encoding import Encoding
from masksift.kernels.tally import Counts, count, count_at_least, refine, softmin_sums, tally

ENCODINGS = (Encoding("uint8", 1 / 255), Encoding("uint16", 1 / 65535), Encoding("float16"), Encoding("float32"))
Codes = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Evidence:
    """Planes (H, W) of one image; labels hold the dtype's maximum where they are ignored."""

    classes: int
    encoding: Encoding
    labels: Codes
    predicted: Codes
    s: Codes
    m: Codes

    def pixels(self) -> list[tuple[int, int, int, int]]:
        """(l, a, code of s, code of m) of every valid pixel, row by row."""
        planes = (self.labels, self.predicted, self.s, self.m)
        rows = zip(*(plane.reshape(-1).tolist() for plane in planes), strict=True)
        return [row for row in rows if row[0] < self.classes]

    def flat(self, *names: str) -> list[Codes]:
        return [getattr(self, name).reshape(-1) for name in names]


@st.composite
def evidence(draw: st.DrawFn, encodings: tuple[Encoding, ...] = ENCODINGS) -> Evidence:
    """Of any encoding; few distinct codes, the smallest and the largest among them."""
    encoding = draw(st.sampled_from(encodings))
    classes = draw(st.sampled_from([1, 2, 3, 5, 254, 255, 300]))
    shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    dtype = np.uint8 if classes <= 254 else np.uint16
    palette = [0, encoding.top, *draw(st.lists(st.integers(0, encoding.top), min_size=1, max_size=4))]
    few = st.sampled_from(sorted({0, 1 % classes, classes - 1}))
    labels = draw(hnp.arrays(dtype, shape, elements=st.one_of(few, st.just(int(np.iinfo(dtype).max)))))
    predicted = draw(hnp.arrays(dtype, shape, elements=few))
    s, m = (draw(hnp.arrays(encoding.codes_dtype, shape, elements=st.sampled_from(palette))) for _ in "sm")
    s = np.where(labels < classes, s, 0).astype(encoding.codes_dtype)
    return Evidence(classes, encoding, labels, predicted, s, m)


def limits_of(drawn: Evidence, data: st.DataObject) -> NDArray[np.int64]:
    """One code a class, from 0 to one above the largest; often one that occurs."""
    codes = st.one_of(st.sampled_from([*drawn.s.reshape(-1).tolist(), 0]), st.integers(0, drawn.encoding.top + 1))
    few = data.draw(st.lists(codes, min_size=3, max_size=3))
    return np.array([few[k % 3] for k in range(drawn.classes)], np.int64)


def histogram(drawn: Evidence) -> NDArray[np.int64]:
    counts = np.zeros(drawn.encoding.bins, np.int64)
    for _, _, s, _ in drawn.pixels():
        counts[s >> drawn.encoding.key_shift] += 1
    return counts


def classes_by_classes(drawn: Evidence) -> NDArray[np.int64]:
    joint = np.zeros((drawn.classes, drawn.classes), np.int64)
    for label, a, _, _ in drawn.pixels():
        joint[label, a] += 1
    return joint


@a_few
@given(drawn=evidence())
def test_tally(drawn: Evidence) -> None:
    k, encoding = drawn.classes, drawn.encoding
    found = tally(drawn.labels, drawn.predicted, drawn.s, drawn.m, encoding, k)
    sums = [0] * k
    confident = np.zeros((k if encoding.dtype == "uint8" else 0, 256), np.int64)
    for label, a, s, m in drawn.pixels():
        sums[label] += round(encoding.value(s) / float(encoding.unit)) if encoding.is_float else s
        if encoding.dtype == "uint8" and a != label:
            confident[a, m] += 1
    np.testing.assert_array_equal(found.joint, classes_by_classes(drawn))
    assert found.sums == sums
    assert all(type(total) is int for total in found.sums)
    np.testing.assert_array_equal(found.self_counts, histogram(drawn))
    np.testing.assert_array_equal(found.confident_counts, confident)
    assert found.valid == len(drawn.pixels())


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
@pytest.mark.parametrize("classes", [2, 19])
def test_an_image_of_many_words_is_counted_like_its_parts(encoding: Encoding, classes: int) -> None:
    """Pixels and sums share a word while they are counted: more pixels than one word holds, all of them certain."""
    shape = (900, 1200)
    rng = np.random.default_rng(classes)
    labels = np.repeat(rng.integers(0, classes, (900, 12), np.uint8), 100, axis=1)
    labels[rng.random(shape) < 0.1] = 255
    predicted = np.where(rng.random(shape) < 0.9, np.minimum(labels, classes - 1), 0).astype(np.uint8)
    s = np.where(labels < classes, encoding.top, 0).astype(encoding.codes_dtype)
    whole = tally(labels, predicted, s, s, encoding, classes)
    one = round(encoding.value(encoding.top) / float(encoding.unit)) if encoding.is_float else encoding.top
    assert whole.sums == [one * int((labels == k).sum()) for k in range(classes)]
    assert whole.valid == int((labels < classes).sum())
    halves = [tally(*(p[part] for p in (labels, predicted, s, s)), encoding, classes)
              for part in (slice(0, 301), slice(301, 900))]  # fmt: skip
    np.testing.assert_array_equal(whole.joint, halves[0].joint + halves[1].joint)
    np.testing.assert_array_equal(whole.self_counts, halves[0].self_counts + halves[1].self_counts)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_every_code_is_summed_exactly(encoding: Encoding) -> None:
    if encoding.dtype == "float32":
        codes = np.unique(np.linspace(0, encoding.top, 5001).astype(np.uint32))
    else:
        codes = np.arange(encoding.top + 1).astype(encoding.codes_dtype)
    plane = codes.reshape(1, -1)
    zeros = np.zeros(plane.shape, np.uint8)
    found = tally(zeros, zeros, plane, plane, encoding, 1)
    if encoding.is_float:
        wanted = sum(round(value / float(encoding.unit)) for value in encoding.values(codes).tolist())
    else:
        wanted = sum(codes.tolist())
    assert found.sums == [wanted]


@a_few
@given(drawn=evidence(), data=st.data())
def test_count(drawn: Evidence, data: st.DataObject) -> None:
    tau = limits_of(drawn, data)
    cut = data.draw(st.one_of(st.sampled_from(drawn.s.reshape(-1).tolist()), st.just(-1)))
    found = count(drawn.labels, drawn.predicted, drawn.s, drawn.encoding, drawn.classes, tau, cut)
    np.testing.assert_array_equal(found.joint, classes_by_classes(drawn))
    np.testing.assert_array_equal(found.self_counts, histogram(drawn))
    assert found.above == sum(s >= tau[label] for label, _, s, _ in drawn.pixels())
    assert found.valid == len(drawn.pixels())
    valid = drawn.labels < drawn.classes
    same_flags(found, drawn, valid & (drawn.labels != drawn.predicted) & (drawn.s.astype(np.int64) <= cut))


def same_flags(found: Counts, drawn: Evidence, wanted: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(found.mask, wanted)
    pairs = np.zeros_like(found.flagged)
    np.add.at(pairs, (drawn.labels[wanted], drawn.predicted[wanted]), 1)
    np.testing.assert_array_equal(found.flagged, pairs)


@a_few
@given(drawn=evidence(), data=st.data())
def test_flags_by_confidence(drawn: Evidence, data: st.DataObject) -> None:
    limits = limits_of(drawn, data)
    mask = np.full(drawn.labels.shape, 7, np.uint8)
    found = count(
        drawn.labels, drawn.predicted, drawn.s, drawn.encoding, drawn.classes, limits, 0, (drawn.m, limits), mask
    )
    assert found.mask is mask
    other = (drawn.labels < drawn.classes) & (drawn.labels != drawn.predicted)
    confident = other & (drawn.m >= limits[drawn.predicted])
    same_flags(found, drawn, confident)
    assert count_at_least(*drawn.flat("labels", "predicted", "m"), limits) == confident.sum()


@a_few
@given(drawn=evidence((Encoding("float32"),)), data=st.data())
def test_refine_looks_into_one_bin(drawn: Evidence, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(drawn.s.reshape(-1).tolist())) >> 16
    counts = np.zeros(1 << 16, np.int64)
    counts[3] = 10
    refine(*drawn.flat("labels", "s"), drawn.classes, key, counts)
    inside = [s & 65_535 for _, _, s, _ in drawn.pixels() if s >> 16 == key]
    counts[3] -= 10
    np.testing.assert_array_equal(counts, np.bincount(inside, minlength=1 << 16))


@a_few
@given(drawn=evidence(), temperature=st.sampled_from([1e-300, 0.01, 0.1, 1.0, np.inf]))
def test_softmin_sums(drawn: Evidence, temperature: float) -> None:
    valid = drawn.labels < drawn.classes
    s = drawn.encoding.values(drawn.s)
    least = float(s[valid].min()) if valid.any() else 0.0
    weighted, weights = softmin_sums(drawn.labels.reshape(-1), s.reshape(-1), drawn.classes, least, temperature)
    with np.errstate(over="ignore", under="ignore"):
        w = np.exp((least - s[valid]) / temperature)
    assert weights == pytest.approx(w.sum(), rel=1e-14)
    assert weighted == pytest.approx((s[valid] * w).sum(), rel=1e-14)
