"""Pixels that condensing refuses: their positions, their values, and the edges of the tolerances."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.scoring.kernels.condense import BadPixel, CondenseConfig, CondensedWindow, class_plane, condense_window
from support import datasets as drawn
from support.condensed import a_few, make_config

Array = drawn.Array
FLOATS = ("float16", "float32", "float64")


def condense_or_reject(p: Array, config: CondenseConfig) -> CondensedWindow | BadPixel:
    """One slab, every pixel labeled 0."""
    labels, _ = class_plane(np.zeros(p.shape[1:], np.uint8), config.classes, ())
    return condense_window(p, labels, config)


def pixel(values: list[float], dtype: str) -> Array:
    """(K, 1, 1)."""
    return np.array(values, dtype)[:, None, None]


def is_good(values: list[float], config: CondenseConfig) -> bool:
    return isinstance(condense_or_reject(pixel(values, config.dtype), config), CondensedWindow)


# ----------------------------------------------------------------------------------------- the first bad pixel


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("values", "fact"),
    [
        ([math.nan, 0.0, 1.0], "not all values are finite"),
        ([0.0, 1.0, math.nan], "not all values are finite"),
        ([math.inf, 0.0, 0.0], "not all values are finite"),
        ([1.0, 0.0, -math.inf], "not all values are finite"),
        ([-0.25, 0.25, 1.0], r"a value is outside \[0, 1\]"),
        ([1.25, 0.0, -0.25], r"a value is outside \[0, 1\]"),
        ([0.25, 0.25, 0.25], "the values sum to 0.75, more than 0.02 away from 1"),
        ([0.5, 0.5, 0.25], "the values sum to 1.25, more than 0.02 away from 1"),
        ([0.0, 0.0, 0.0], "the values sum to 0, more than 0.02 away from 1"),
    ],
)
def test_bad_pixel_of_floats_is_reported(dtype: str, values: list[float], fact: str) -> None:
    found = condense_or_reject(pixel(values, dtype), make_config(3, dtype))
    assert isinstance(found, BadPixel)
    assert (found.y, found.x) == (0, 0)
    np.testing.assert_array_equal(found.values, np.array(values))
    assert found.message == fact.replace("\\", "")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_bad_pixel_of_integers_is_reported(dtype: str) -> None:
    half = np.iinfo(dtype).max // 2
    found = condense_or_reject(pixel([half, 0, 0], dtype), make_config(3, dtype))
    assert isinstance(found, BadPixel)
    assert found.values.tolist() == [half / np.iinfo(dtype).max, 0.0, 0.0], "as probabilities"
    assert found.message.startswith(f"the values sum to {found.values[0]:.6g}, more than 0.02")
    outside = condense_or_reject(pixel([102, 0, 0], dtype), make_config(3, dtype, scale=0.01))
    assert isinstance(outside, BadPixel)
    assert outside.message == "a value is outside [0, 1]"


@pytest.mark.parametrize("dtype", FLOATS)
def test_bad_pixel_of_logits_is_reported(dtype: str) -> None:
    config = make_config(2, dtype, kind="logits")
    for invalid in (math.nan, math.inf, -math.inf):
        p = np.zeros((2, 150, 500), dtype)  # more than one strip
        p[1, 140, 7] = p[0, 141, 3] = invalid
        found = condense_or_reject(p, config)
        assert isinstance(found, BadPixel)
        assert (found.y, found.x, found.message) == (140, 7, "not all logits are finite")
        np.testing.assert_array_equal(found.values, [0, invalid])


def test_logit_beyond_float32_is_not_finite() -> None:
    found = condense_or_reject(pixel([1e39, 0.0], "float64"), make_config(2, "float64", kind="logits"))
    assert isinstance(found, BadPixel)
    assert (found.values.tolist(), found.message) == ([1e39, 0.0], "not all logits are finite")


@pytest.mark.parametrize("dtype", drawn.DTYPES)
@a_few
@given(places=st.sets(st.tuples(st.integers(0, 10), st.integers(0, 12)), min_size=1, max_size=5))
def test_first_bad_pixel_in_row_major_order_is_reported(dtype: str, places: set[tuple[int, int]]) -> None:
    p = drawn.make_dataset(0, images=1, classes=4, height=11, width=13, dtype=dtype).predictions[0]
    for y, x in places:
        p[:, y, x] = p[:, y, x] // 2 if p.dtype.kind == "u" else p[:, y, x] / 2
    config = make_config(4, dtype)
    found = condense_or_reject(p, config)
    assert isinstance(found, BadPixel)
    y, x = min(places)
    assert (found.y, found.x) == (y, x)
    np.testing.assert_array_equal(found.values, p[:, y, x].astype(np.float64) * config.scale)


def test_bad_pixel_at_the_end_of_a_large_window_is_found() -> None:
    p = np.full((2, 300, 300), 127, np.uint8)
    p[1] = 128
    p[:, 299, 298] = 0
    found = condense_or_reject(p, make_config(2, "uint8"))
    assert isinstance(found, BadPixel)
    assert (found.y, found.x) == (299, 298)


def test_ignored_pixels_are_validated_too() -> None:
    labels, _ = class_plane(np.array([[255]]), 2, (255,))
    assert isinstance(condense_window(pixel([0.0, math.nan], "float32"), labels, make_config(2, "float32")), BadPixel)


# ------------------------------------------------------------------------------------- where tolerances end


@pytest.mark.parametrize("dtype", FLOATS)
def test_values_outside_by_less_than_the_tolerance_are_valid(dtype: str) -> None:
    config = make_config(2, dtype)
    assert is_good([1.0009, 0.0], config)
    assert is_good([1.0, -0.0009], config)
    assert not is_good([1.002, 0.0], config)
    assert not is_good([1.0, -0.0011], config)


def test_range_tolerance_includes_its_edge() -> None:
    config = make_config(2, "float64")
    assert is_good([1.001, -0.001], config)
    assert not is_good([math.nextafter(1.001, 2), 0.0], config)
    assert not is_good([1.0, math.nextafter(-0.001, -1)], config)


@pytest.mark.parametrize("dtype", FLOATS)
def test_sum_tolerance_includes_its_edge(dtype: str) -> None:
    config = make_config(3, dtype, sum_tolerance=2.0**-6)
    least = 2.0**-12 if dtype == "float16" else 2.0**-23
    assert is_good([0.5, 0.25, 0.25 - 2.0**-6], config)
    assert not is_good([0.5, 0.25, 0.25 - 2.0**-6 - least], config)
    assert is_good([0.5, 0.25, 0.25 + 2.0**-6], config)
    assert not is_good([0.5, 0.25, 0.25 + 2.0**-6 + least], config)


@pytest.mark.parametrize(
    ("dtype", "least", "most"),
    [("uint8", 248, 262), ("uint16", 64_223, 66_847)],  # 0.02 and half a step of each of four classes
)
def test_sum_tolerance_of_integers_is_exact(dtype: str, least: int, most: int) -> None:
    config = make_config(4, dtype)
    for total, good in ((least - 1, False), (least, True), (most, True), (most + 1, False)):
        third = total // 3
        assert is_good([third, third, total - 2 * third, 0], config) == good, total


@pytest.mark.parametrize("dtype", drawn.DTYPES)
@pytest.mark.parametrize("classes", [2, 254, 255, 256, 257, 258, 300])
def test_overflowing_sum_is_not_1(classes: int, dtype: str) -> None:
    """Every class certain: 258 x 255 is 254 in 16 bits, 257 x 2^24 is 2^24 in 32."""
    one = 1.0 if dtype in FLOATS else float(np.iinfo(dtype).max)
    assert not is_good([one] * classes, make_config(classes, dtype))


def test_sum_tolerance_of_zero_accepts_exact_sums() -> None:
    assert is_good([0.25, 0.5, 0.25], make_config(3, "float32", sum_tolerance=0.0))
    assert not is_good([0.25, 0.5, 0.25 + 2.0**-22], make_config(3, "float32", sum_tolerance=0.0))
    assert is_good([51, 102, 102], make_config(3, "uint8", sum_tolerance=0.0)), "though .2 + .4 + .4 is not 1 in binary"
    assert not is_good([51, 102, 103], make_config(3, "uint8", sum_tolerance=0.0))


@pytest.mark.parametrize("classes", [7, 100, 300])
@a_few
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.97, 0.981, 1.013, 1.04]))
def test_rounding_of_a_sum_does_not_decide(classes: int, seed: int, share: float) -> None:
    """A float32 sum of 300 values is off by more than these margins."""
    p = (np.random.default_rng(seed).dirichlet(np.ones(classes)) * share).astype(np.float32).tolist()
    distance = abs(math.fsum(p) - 1)
    assert is_good(p, make_config(classes, "float32", sum_tolerance=distance + 1e-9))
    assert not is_good(p, make_config(classes, "float32", sum_tolerance=distance - 1e-9))


@pytest.mark.parametrize("dtype", FLOATS)
def test_bad_pixel_is_independent_of_its_neighbors(dtype: str) -> None:
    """A slab that is looked at more closely, for a value just outside, is judged as any other."""
    edge, odd = [0.5, 0.5 - 2.0**-6], [1.0 + 2.0**-10, 0.0]
    p = np.array([edge, odd], dtype).T[:, None, :]
    assert isinstance(condense_or_reject(p, make_config(2, dtype, sum_tolerance=2.0**-6)), CondensedWindow)
    assert isinstance(condense_or_reject(p[:, :, :1], make_config(2, dtype, sum_tolerance=2.0**-6)), CondensedWindow)
