"""Encoding of probabilities as integer codes that compare like float64 values."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from masksift.scoring.kernels.encoding import Encoding

a_few = settings(max_examples=60, deadline=None)

SCALES = (1 / 255, 1 / 65535, 1 / 100, 0.003, 1 / 333.7, 2.0**-16, 0.3, 1.0)
ENCODINGS = [
    Encoding("float16"),
    Encoding("float32"),
    *(Encoding(dtype, scale) for dtype in ("uint8", "uint16") for scale in SCALES),
]
encodings = st.sampled_from(ENCODINGS)


def codes_of(encoding: Encoding, around: int = 0) -> NDArray[np.int64]:
    """Return all codes in order; of float32 (a billion), a sample and the neighbors of one."""
    if encoding.dtype != "float32":
        return np.arange(encoding.top + 1)
    near = np.arange(around - 100, around + 101)
    spread = np.concatenate([np.arange(0, encoding.top, 65_521), near, [0, encoding.top]])
    return np.unique(np.clip(spread, 0, encoding.top))


# -------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("encoding", "code", "value"),
    [
        (Encoding("uint8", 1 / 255), 0, 0.0),
        (Encoding("uint8", 1 / 255), 51, 0.2),
        (Encoding("uint8", 1 / 255), 255, 1.0),
        (Encoding("uint16", 1 / 65535), 65535, 1.0),
        (Encoding("uint8", 0.01), 100, 1.0),
        (Encoding("uint8", 0.01), 101, 1.0),  # never above 1
        (Encoding("float16"), 0x3C00, 1.0),
        (Encoding("float16"), 1, 2.0**-24),  # the smallest positive value
        (Encoding("float32"), 0x3F800000, 1.0),
        (Encoding("float32"), 0x3F000000, 0.5),
    ],
)
def test_value_of_a_code_equals_hand_calculation(encoding: Encoding, code: int, value: float) -> None:
    assert encoding.value(code) == value


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_codes_order_like_their_values(encoding: Encoding) -> None:
    values = encoding.values(codes_of(encoding))
    assert values.dtype == np.float64
    assert (values[0], values.max() <= 1) == (0.0, True)
    steps = np.diff(values)
    assert (steps > 0).all() if encoding.is_float else (steps[values[1:] < 1] > 0).all() and (steps >= 0).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_codes_are_a_view_of_the_plane(dtype: str) -> None:
    encoding = Encoding(dtype, 1.0 if dtype.startswith("float") else 1 / np.iinfo(dtype).max)
    plane = np.array([[0, 1], [1, 0]], dtype)
    codes = encoding.codes(plane)
    assert np.shares_memory(codes, plane)
    assert (codes.dtype, codes.dtype.itemsize) == (encoding.codes_dtype, plane.dtype.itemsize)
    assert codes.dtype.kind == "u"
    probabilities = plane if encoding.is_float else plane * encoding.scale
    np.testing.assert_array_equal(encoding.values(codes), probabilities.astype(np.float64))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@a_few
@given(data=st.data())
def test_float_values_are_those_of_the_dtype(dtype: str, data: st.DataObject) -> None:
    width = 16 if dtype == "float16" else 32
    value = data.draw(st.floats(0, 1, width=width))
    stored = np.array([value], dtype)
    encoding = Encoding(dtype)
    assert encoding.values(encoding.codes(np.abs(stored))).tolist() == [abs(value)]


# ---------------------------------------------------------------------------------------------- thresholds


def same_as_float64(encoding: Encoding, threshold: float) -> None:
    """Check that `code >= code_at_least(threshold)` equals `value >= threshold` for every code."""
    limit = encoding.code_at_least(threshold)
    assert 0 <= limit <= encoding.top + 1
    codes = codes_of(encoding, limit)
    np.testing.assert_array_equal(codes >= limit, encoding.values(codes) >= threshold)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
@pytest.mark.parametrize("threshold", [-math.inf, -1e-6, 0.0, 5e-324, 2e-6, 0.5, 1 - 2**-53, 1.0, 1 + 2**-52, math.inf])
def test_code_at_least_a_threshold_equals_float64(encoding: Encoding, threshold: float) -> None:
    same_as_float64(encoding, threshold)


@a_few
@given(encoding=encodings, threshold=st.floats(0, 1.1))
def test_code_at_least_any_probability_equals_float64(encoding: Encoding, threshold: float) -> None:
    same_as_float64(encoding, threshold)


@a_few
@given(encoding=encodings, share=st.floats(0, 1), nudge=st.sampled_from([-1, 0, 1]))
def test_code_at_least_a_value_or_its_neighbor_equals_float64(encoding: Encoding, share: float, nudge: int) -> None:
    code = int(share * encoding.top)
    value = encoding.value(code)
    threshold = value if nudge == 0 else math.nextafter(value, nudge * math.inf)
    same_as_float64(encoding, threshold)
    if nudge == 0 and value < 1:
        assert encoding.code_at_least(threshold) == code


def test_code_at_least_infinity_is_above_the_largest() -> None:
    for encoding in ENCODINGS:
        assert encoding.code_at_least(math.inf) == encoding.top + 1


def test_code_at_least_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="The threshold is NaN"):
        Encoding("float16").code_at_least(math.nan)


# ------------------------------------------------------------------------------------------ bins and units


@pytest.mark.parametrize(
    ("dtype", "bins"), [("uint8", 256), ("uint16", 65_536), ("float16", 15_361), ("float32", 16_257)]
)
def test_bins_hold_every_code(dtype: str, bins: int) -> None:
    encoding = Encoding(dtype)
    assert encoding.bins == bins
    assert encoding.top >> encoding.key_shift == bins - 1
    assert (encoding.top + 1) >> encoding.key_shift == bins - (dtype == "float32"), "no room is wasted"


def test_unit_of_the_sums_is_exact() -> None:
    assert Encoding("uint8", 0.1).unit == Fraction(0.1) != Fraction(1, 10)
    half = Encoding("float16")
    assert all((Fraction(value) / half.unit).denominator == 1 for value in half.values(codes_of(half)).tolist())
    single = Encoding("float32")
    assert single.unit == Fraction(1, 2**32)
    assert (Fraction(2.0**-9 + 2.0**-32) / single.unit).denominator == 1, "exact from 2^-9 upwards"


def test_encodings_with_equal_fields_are_equal() -> None:
    assert Encoding("uint8", 1 / 255) == Encoding("uint8", 1 / 255) != Encoding("uint8", 1 / 254)
    assert repr(Encoding("uint8", 0.5)) == "Encoding(dtype='uint8', scale=0.5)"
