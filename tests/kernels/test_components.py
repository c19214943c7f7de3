"""Connected components: areas and means, against scipy and against the reference."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

import reference
from making import a_few
from masksift.kernels.components import component_means
from masksift.kernels.encoding import Encoding

ENCODINGS = (Encoding("uint8", 1 / 255), Encoding("uint16", 1 / 65535), Encoding("float16"), Encoding("float32"))
Plane = NDArray[np.unsignedinteger]
Found = list[tuple[int, float]]


def found_in(plane: Plane, valid: NDArray[np.bool_], codes: Plane, encoding: Encoding) -> Found:
    """(area, mean) of every component, sorted."""
    areas, means = component_means(plane, valid, codes, encoding)
    assert (areas.dtype, means.dtype) == (np.int64, np.float64)
    return sorted(zip(areas.tolist(), means.tolist(), strict=True))


def mean_of(encoding: Encoding, codes: list[int]) -> float:
    """The exact mean of some codes, rounded once."""
    return float(sum(Fraction(encoding.value(code)) for code in codes) / len(codes))


def by_scipy(plane: Plane, valid: NDArray[np.bool_], codes: Plane, encoding: Encoding) -> Found:
    found = []
    for k in np.unique(plane[valid]):
        numbers, count = ndimage.label(valid & (plane == k), structure=np.ones((3, 3)))
        members = [codes[numbers == number].tolist() for number in range(1, count + 1)]
        found += [(len(codes_of), mean_of(encoding, codes_of)) for codes_of in members]
    return sorted(found)


def by_the_reference(plane: Plane, valid: NDArray[np.bool_], codes: Plane, encoding: Encoding) -> Found:
    components = reference.components(plane.tolist(), valid.tolist())
    members = [[int(codes[y, x]) for y, x in component] for component in components]
    return sorted((len(codes_of), mean_of(encoding, codes_of)) for codes_of in members)


def same(got: Found, wanted: Found) -> None:
    assert [area for area, _ in got] == [area for area, _ in wanted]
    assert [mean for _, mean in got] == pytest.approx([mean for _, mean in wanted], rel=1e-14, abs=1e-300)


@a_few
@given(data=st.data(), encoding=st.sampled_from(ENCODINGS), classes=st.sampled_from([1, 2, 3, 253, 255, 300]))
def test_any_plane(data: st.DataObject, encoding: Encoding, classes: int) -> None:
    shape = data.draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    dtype = np.uint8 if classes <= 254 else np.uint16
    few = st.sampled_from(sorted({0, 1 % classes, classes - 1}))
    plane = data.draw(hnp.arrays(dtype, shape, elements=few))
    valid = data.draw(hnp.arrays(bool, shape))
    valid[data.draw(st.integers(0, shape[0] - 1)), 0] = True
    plane[~valid] = data.draw(st.sampled_from([0, np.iinfo(dtype).max]))  # what lies there does not matter
    codes = data.draw(hnp.arrays(encoding.codes_dtype, shape, elements=st.integers(0, encoding.top)))
    got = found_in(plane, valid, codes, encoding)
    same(got, by_scipy(plane, valid, codes, encoding))
    same(got, by_the_reference(plane, valid, codes, encoding))
    assert sum(area for area, _ in got) == valid.sum()
    assert all(0 <= mean <= 1 for _, mean in got)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_a_large_noisy_plane(encoding: Encoding) -> None:
    rng = np.random.default_rng(0)
    plane = (rng.random((150, 170)) < 0.4).astype(np.uint8) + np.uint8(3)
    valid = rng.random(plane.shape) < 0.9
    codes = rng.integers(0, encoding.top + 1, plane.shape).astype(encoding.codes_dtype)
    same(found_in(plane, valid, codes, encoding), by_scipy(plane, valid, codes, encoding))


def test_ignored_pixels_split_components() -> None:
    plane = np.zeros((3, 3), np.uint8)
    valid = np.array([[1, 1, 1], [0, 0, 0], [1, 0, 1]], bool)
    codes = np.array([[0, 51, 102], [255, 255, 255], [204, 255, 255]], np.uint8)
    same(found_in(plane, valid, codes, Encoding("uint8", 1 / 255)), [(1, 0.8), (1, 1.0), (3, 0.2)])


def test_corners_touch() -> None:
    plane = np.array([[0, 1], [1, 0]], np.uint8)
    codes = np.array([[0, 255], [255, 255]], np.uint8)
    every = np.ones((2, 2), bool)
    assert found_in(plane, every, codes, Encoding("uint8", 1 / 255)) == [(2, 0.5), (2, 1.0)]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_mean_of_ones_is_one(dtype: str) -> None:
    encoding = Encoding(dtype, 1 / np.iinfo(dtype).max)
    for area in range(1, 200):
        plane = np.zeros((1, area), np.uint8)
        codes = np.full((1, area), encoding.top, dtype)
        assert found_in(plane, plane == 0, codes, encoding) == [(area, 1.0)]
