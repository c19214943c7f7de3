"""Pixels whose label and predicted class differ, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.scoring.kernels.differences import find_differences, restore_planes
from support.condensed import a_few


@a_few
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 40)),
    share=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_restored_planes_hold_the_differing_pixels_and_zeros(
    dtype: str, shape: tuple[int, int], share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    predicted = rng.integers(0, 5, shape).astype(dtype)
    labels = np.where(rng.random(shape) < share, rng.choice([0, 4, np.iinfo(dtype).max], shape), predicted).astype(
        dtype
    )
    own, best = (rng.integers(0, 256, shape).astype(np.uint8) for _ in range(2))
    differs = labels != predicted
    found = find_differences((labels, predicted, own, best))
    np.testing.assert_array_equal(found.bits, np.packbits(differs, bitorder="little"))
    planes = tuple(np.full(shape, 7, plane.dtype) for plane in (labels, predicted, own, best))
    restore_planes(found, planes)  # type: ignore[arg-type]
    for plane, before in zip(planes, (labels, predicted, own, best), strict=True):
        np.testing.assert_array_equal(plane, np.where(differs, before, 0))
