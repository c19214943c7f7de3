"""Connected components: how many and their means, against scipy and the reference."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from masksift.scoring.kernels.components import ComponentMeans
from masksift.scoring.kernels.components import component_means as means_of_images
from masksift.scoring.kernels.encoding import Encoding
from reference import audit as reference

ENCODINGS = (Encoding("uint8", 1 / 255), Encoding("uint16", 1 / 65535), Encoding("float16"), Encoding("float32"))
BYTES = ENCODINGS[0]
Plane = NDArray[np.unsignedinteger]
Found = list[tuple[int, float]]

some = settings(max_examples=100)


def component_means(plane: Plane, labels: Plane, codes: Plane, *settings: Any) -> ComponentMeans:
    """Means of one image, from planes (H, W), with its numbers as scalars."""
    *settings, least_area = settings
    found = means_of_images(plane[None], labels[None], codes[None], *settings, np.array([least_area]))
    return ComponentMeans(*(values[0] for values in vars(found).values()))


def mean_of(encoding: Encoding, codes: list[int]) -> float:
    """The exact mean of some codes, rounded once."""
    return float(sum(Fraction(encoding.value(code)) for code in codes) / len(codes))


def by_scipy(plane: Plane, valid: NDArray[np.bool_], codes: Plane, encoding: Encoding) -> Found:
    """(area, mean) of every component."""
    found = []
    for k in np.unique(plane[valid]):
        numbers, count = ndimage.label(valid & (plane == k), structure=np.ones((3, 3)))
        members = [codes[numbers == number].tolist() for number in range(1, count + 1)]
        found += [(len(codes_of), mean_of(encoding, codes_of)) for codes_of in members]
    return found


def by_the_reference(plane: Plane, valid: NDArray[np.bool_], codes: Plane, encoding: Encoding) -> Found:
    members = [
        [int(codes[y, x]) for y, x in component] for component in reference.components(plane.tolist(), valid.tolist())
    ]
    return [(len(codes_of), mean_of(encoding, codes_of)) for codes_of in members]


def means_of(found: Found, least_area: int) -> ComponentMeans:
    large = [mean for area, mean in found if area >= least_area]
    small = [mean for area, mean in found if area < least_area]
    parts = [(len(means), math.fsum(means), min(means, default=math.inf)) for means in (large, small)]
    return ComponentMeans(*map(np.float64, (*parts[0], *parts[1])))


def same(actual: ComponentMeans, expected: ComponentMeans) -> None:
    assert (actual.large, actual.small) == (expected.large, expected.small)
    assert vars(actual) == pytest.approx(vars(expected), rel=1e-13, abs=1e-300)


def ignoring(labels: Plane, valid: NDArray[np.bool_]) -> Plane:
    """Labels that hold the dtype's maximum outside `valid`."""
    return np.where(valid, labels, np.iinfo(labels.dtype).max).astype(labels.dtype)


@some
@given(
    data=st.data(),
    encoding=st.sampled_from(ENCODINGS),
    classes=st.sampled_from([1, 2, 3, 254, 255, 300]),
)
def test_component_means_of_any_plane_equal_scipy(data: st.DataObject, encoding: Encoding, classes: int) -> None:
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 19)))
    dtype = np.uint8 if classes <= 254 else np.uint16
    few = st.sampled_from(sorted({0, 1 % classes, classes - 1}))
    plane = data.draw(hnp.arrays(dtype, shape, elements=few))
    valid = data.draw(hnp.arrays(bool, shape))
    codes = data.draw(hnp.arrays(encoding.codes_dtype, shape, elements=st.integers(0, encoding.top)))
    least_area = data.draw(st.integers(0, 12))
    labels = ignoring(data.draw(st.sampled_from([plane, np.zeros_like(plane)])), valid)
    actual = component_means(plane, labels, codes, encoding, classes, least_area)
    same(actual, means_of(by_scipy(plane, valid, codes, encoding), least_area))
    same(actual, means_of(by_the_reference(plane, valid, codes, encoding), least_area))


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
@pytest.mark.parametrize("share", [0.4, 0.75])
def test_component_means_of_a_large_noisy_plane_equal_scipy(encoding: Encoding, share: float) -> None:
    rng = np.random.default_rng(0)
    plane = (rng.random((150, 83)) < share).astype(np.uint8) + np.uint8(3)
    valid = rng.random(plane.shape) < 0.9
    codes = rng.integers(0, encoding.top + 1, plane.shape).astype(encoding.codes_dtype)
    actual = component_means(plane, ignoring(plane, valid), codes, encoding, 5, 4)
    same(actual, means_of(by_scipy(plane, valid, codes, encoding), 4))
    assert min(actual.large, actual.small) > 20


@pytest.mark.parametrize(
    "drawing",
    [
        ["#...#", "#...#", "#...#", "#####"],  # two arms that meet at the bottom
        ["#####", "#...#", "#.#.#", "#...#", "#####"],  # a ring around a dot
        ["#.#.#", ".#.#.", "#.#.#"],  # all corners
        ["#....", ".#...", "..#..", ".#...", "#...."],
        ["#.#.#.#", "#.#.#.#", "###.###", "......#", "#######"],
        ["#", "#", ".", "#"],
        ["#..", "...", "..#"],
        ["#......#", ".#....#.", "..#..#..", "...##...", "########", "#......#", "#.#..#.#"],  # open, joined, split
    ],
)
def test_component_means_of_any_shape_equal_scipy(drawing: list[str]) -> None:
    plane = np.array([[sign == "#" for sign in row] for row in drawing]).astype(np.uint8)
    codes = np.random.default_rng(0).integers(0, 256, plane.shape).astype(np.uint8)
    every = np.ones(plane.shape, bool)
    for least_area in (1, 2, 5, 8):
        expected = means_of(by_scipy(plane, every, codes, BYTES), least_area)
        same(component_means(plane, plane, codes, BYTES, 2, least_area), expected)


def test_ignored_pixels_split_components() -> None:
    valid = np.array([[1, 1, 1], [0, 0, 0], [1, 0, 1]], bool)
    plane = np.zeros(valid.shape, np.uint8)
    codes = np.array([[0, 51, 102], [255, 255, 255], [204, 255, 255]], np.uint8)
    actual = component_means(plane, ignoring(plane, valid), codes, BYTES, 1, 2)
    same(actual, ComponentMeans(1, 0.2, 0.2, 2, 1.8, 0.8))


def test_pixels_that_touch_at_corners_are_one_component() -> None:
    plane = np.array([[0, 1], [1, 0]], np.uint8)
    codes = np.array([[0, 255], [255, 255]], np.uint8)
    assert component_means(plane, plane, codes, BYTES, 2, 2) == ComponentMeans(2, 1.5, 0.5, 0, 0.0, math.inf)
    assert component_means(plane, plane, codes, BYTES, 2, 3) == ComponentMeans(0, 0.0, math.inf, 2, 1.5, 0.5)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_mean_of_ones_is_exactly_one(dtype: str) -> None:
    encoding = next(encoding for encoding in ENCODINGS if encoding.dtype == dtype)
    for area in range(1, 200):
        plane = np.zeros((1, area), np.uint8)
        codes = np.full((1, area), encoding.top, encoding.codes_dtype)
        assert component_means(plane, plane, codes, encoding, 1, 1) == ComponentMeans(1, 1.0, 1.0, 0, 0.0, math.inf)
