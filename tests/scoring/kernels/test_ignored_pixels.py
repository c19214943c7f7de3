"""Confidence on ignored pixels: sums by predicted class, in every encoding."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.ignored_pixels import ROW_STEP
from masksift.scoring.kernels.ignored_pixels import confidence_by_class as confidence_of_images
from support.condensed import a_few

ENCODINGS = (Encoding("uint8", 1 / 255), Encoding("uint16", 1 / 65535), Encoding("float16"), Encoding("float32"))


def confidence_by_class(*arguments: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sums (K,) of one image, from planes (H, W)."""
    *planes, encoding, classes = arguments
    hidden, seen = confidence_of_images(*(plane[np.newaxis] for plane in planes), encoding, classes)
    return hidden[0], seen[0]


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda encoding: encoding.dtype)
@a_few
@given(data=st.data(), shape=st.tuples(st.integers(1, 7), st.integers(1, 9)))
def test_confidence_sums_equal_exact_sums(encoding: Encoding, data: st.DataObject, shape: tuple[int, int]) -> None:
    labels = data.draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 255, 255, 255])))
    predicted = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)))
    if encoding.is_float:  # in whole units: smaller float32 are rounded to them
        steps = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 2**10)))
        codes = encoding.codes(np.ascontiguousarray(steps / 2**10, encoding.dtype))
    else:
        codes = data.draw(hnp.arrays(encoding.codes_dtype, shape, elements=st.integers(0, encoding.top)))
    hidden, seen = confidence_by_class(labels, predicted, codes, encoding, 3)
    around = np.pad(labels == 255, 1, constant_values=True)
    deep = np.lib.stride_tricks.sliding_window_view(around, (3, 3)).all(axis=(2, 3))
    sampled_rows = np.arange(shape[0])[:, np.newaxis] % ROW_STEP == 0
    for k in range(3):
        for sums, where in ((seen, sampled_rows & (predicted == k)), (hidden, sampled_rows & (predicted == k) & deep)):
            units = [
                Fraction(encoding.value(code)) / encoding.unit if encoding.is_float else Fraction(code)
                for code in codes[where].tolist()
            ]
            assert int(sums[k]) == sum(units)


def test_ignored_border_of_two_pixels_does_not_count() -> None:
    labels = np.zeros((6, 6), np.uint8)
    labels[:, 2:4] = 255
    codes = np.full((6, 6), 200, np.uint8)
    hidden, seen = confidence_by_class(labels, np.zeros((6, 6), np.uint8), codes, ENCODINGS[0], 2)
    assert (hidden.tolist(), seen.tolist()) == ([0, 0], [12 * 200, 0])
    labels[:, 2:5] = 255
    hidden, _ = confidence_by_class(labels, np.zeros((6, 6), np.uint8), codes, ENCODINGS[0], 2)
    assert hidden.tolist() == [2 * 200, 0], "the middle column, to the edges of the image, in two of six rows"


def test_sums_beyond_2_to_the_53_are_exact() -> None:
    """Sum 2^-32 units beyond 2^53, which no float64 represents exactly."""
    labels, predicted = np.full((2048, 2048), 255, np.uint8), np.zeros((2048, 2048), np.uint8)
    plane = np.full((2048, 2048), np.nextafter(np.float32(1), np.float32(0)))
    hidden, seen = confidence_by_class(labels, predicted, ENCODINGS[3].codes(plane), ENCODINGS[3], 1)
    assert hidden[0] == seen[0] == 2**20 * (2**32 - 2**8)
