"""The inner loops: softmax in float32 against float64. The walk itself is held to the reference in test_condense."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from masksift.scoring.kernels.condense_loops import SINGLE, map_labels, softmax, store_codes
from support.condensed import a_few

Floats = NDArray[np.floating]


def single(logits: Floats) -> NDArray[np.float32]:
    """The package's softmax of (K, P)."""
    out = np.full(logits.shape, np.nan, np.float32)
    assert softmax(np.ascontiguousarray(logits, np.float32), 0, out)
    return out


def double(logits: Floats) -> NDArray[np.float64]:
    """Softmax in float64, of differences that are float32."""
    z = logits.astype(np.float32)
    with np.errstate(over="ignore"):
        powers = np.exp((z - z.max(axis=0)).astype(np.float64))
    return np.asarray(powers / powers.sum(axis=0))


def any_logits(most: float) -> st.SearchStrategy[NDArray[np.float32]]:
    shapes = st.tuples(st.integers(1, 12), st.integers(1, 40))
    return hnp.arrays(np.float32, shapes, elements=st.floats(-most, most, width=32))


@pytest.mark.parametrize("classes", [1, 2, 3, 19, 150, 300])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 5.0, 30.0, 300.0])
def test_softmax_is_near_float64(classes: int, spread: float) -> None:
    logits = np.random.default_rng(classes).normal(0, spread, (classes, 3000)).astype(np.float32)
    actual, expected = single(logits), double(logits)
    np.testing.assert_allclose(actual, expected, rtol=5e-7 + classes * 6e-8, atol=1e-37)
    np.testing.assert_allclose(actual.sum(axis=0, dtype=np.float64), 1, atol=1e-6 + classes * 6e-8)


@a_few
@given(logits=any_logits(200.0))
def test_softmax_keeps_the_order(logits: NDArray[np.float32]) -> None:
    actual = single(logits)
    assert ((actual >= 0) & (actual <= 1)).all()
    order = np.argsort(logits, axis=0, kind="stable")
    assert (np.diff(np.take_along_axis(actual, order, axis=0), axis=0) >= 0).all()
    np.testing.assert_array_equal(
        actual.max(axis=0), np.take_along_axis(actual, logits.argmax(axis=0)[None], axis=0)[0]
    )


@a_few
@given(logits=any_logits(float(np.finfo(np.float32).max)))
def test_softmax_of_any_finite_logits_is_near_float64(logits: NDArray[np.float32]) -> None:
    actual = single(logits)
    assert np.isfinite(actual).all()
    np.testing.assert_allclose(actual, double(logits), atol=1e-5)


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([3e38, -3e38], [1.0, 0.0]),
        ([-3e38, -3e38], [0.5, 0.5]),
        ([3e38, 3e38], [0.5, 0.5]),
        ([0.0, -0.0], [0.5, 0.5]),
        ([1e4, 0.0], [1.0, 0.0]),
        ([1e-45, 0.0], [0.5, 0.5]),
        ([88.0, 0.0], [1.0, 0.0]),
    ],
)
def test_softmax_of_extreme_logits_equals_hand_calculation(logits: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(single(np.array(logits, np.float32)[:, None])[:, 0], expected, atol=1e-35)


def test_equal_logits_are_equally_likely() -> None:
    for classes in (2, 3, 7, 300):
        actual = single(np.full((classes, 5), 1.25, np.float32))
        assert (actual == actual[0, 0]).all()
        assert actual[0, 0] == pytest.approx(1 / classes, rel=1e-6)


def test_softmax_of_a_pixel_is_independent_of_its_neighbors() -> None:
    """Results are bit-identical in the middle of a tile, at its end and alone."""
    logits = np.random.default_rng(0).normal(0, 6, (9, 5000)).astype(np.float32)
    whole = single(logits)
    for start, stop in ((0, 1), (1, 18), (2047, 2050), (2048, 4096), (4097, 5000)):
        np.testing.assert_array_equal(single(logits[:, start:stop]), whole[:, start:stop])


# ------------------------------------------------------------------------------------- rounding, looking up


def halves(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    out = np.zeros(values.shape, np.uint16)
    store_codes(values.view(np.uint32), SINGLE, np.uint32(0x3F800000), out)
    return out


def test_rounding_to_float16_equals_a_cast() -> None:
    exact = np.arange(0x3C01, dtype=np.uint16).view(np.float16).astype(np.float32)  # every float16 in [0, 1]
    between = (exact[:-1] + exact[1:]) / 2  # ties
    adjacent = [np.nextafter(array, np.float32(side)) for array in (exact[1:], between) for side in (0, 1)]
    spread = np.arange(0, 0x3F800001, 40_009, dtype=np.uint32).view(np.float32)
    values = np.concatenate([exact, between, *adjacent, spread])
    np.testing.assert_array_equal(halves(values), values.astype(np.float16).view(np.uint16))


def test_map_labels_counts_bad_labels() -> None:
    plane = np.zeros(4, np.uint8)
    assert map_labels(np.array([1, 0, 1, 2], np.uint16), np.array([7, 254, 9], np.uint8), plane, 254) == 2
    assert plane.tolist() == [254, 7, 254, 9]
