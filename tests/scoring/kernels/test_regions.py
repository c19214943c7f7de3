"""Regions of one image, compared with scipy, the reference and pycocotools, for any table capacity."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import astuple
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pycocotools import mask as coco
from scipy import ndimage

from masksift.scoring.kernels import regions
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.regions import OmissionRule, Regions, find_regions
from reference import audit as reference

ENCODINGS = (Encoding("uint8", 1 / 255), Encoding("uint16", 1 / 65535), Encoding("float16"), Encoding("float32"))
BYTES = ENCODINGS[0]
CAPACITIES = (1, 12, 25, 40, 1 << 16)
Plane = NDArray[np.unsignedinteger]

some = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def decode(found: Regions, i: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode the run-length code of a region to a mask (H, W)."""
    counts = found.rle[i]
    inside = np.arange(len(counts)) % 2 == 1
    flat = np.repeat(inside, counts)
    return np.pad(flat, (0, shape[0] * shape[1] - len(flat))).reshape(shape[::-1]).T


def find_in_image(*planes_and_settings: Any, size: tuple[int, int] | None = None, **options: Any) -> Regions:
    """Find the regions of one image, from planes (H, W)."""
    *planes, encoding, classes = planes_and_settings
    sizes = None if size is None else np.array([size])
    batch = [plane[np.newaxis] for plane in planes]
    return find_regions(*batch, encoding, classes, sizes=sizes, **options)  # type: ignore[arg-type]


def same(one: Regions, other: Regions) -> None:
    """Check that two tables of regions are bit-identical."""
    for left, right in zip(astuple(one), astuple(other), strict=True):
        assert len(left) == len(right)
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(left, right, strict=True))


class Drawn:
    """Image of few classes, and so of large regions, with flagged and ignored pixels."""

    def __init__(self, draw: Callable[[Any], Any], encoding: Encoding, classes: int = 3) -> None:
        shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 8)))
        self.encoding, self.classes = encoding, classes
        dtype = np.uint8 if classes <= 254 else np.uint16
        few = st.sampled_from(sorted({0, classes // 2, classes - 1}))
        self.labels = draw(hnp.arrays(dtype, shape, elements=few))
        ignored = draw(hnp.arrays(bool, shape))
        ignored |= np.arange(shape[1]) < draw(st.integers(0, shape[1]))
        self.labels[ignored] = np.iinfo(dtype).max
        self.predicted = draw(hnp.arrays(dtype, shape, elements=few))
        code = st.integers(0, encoding.top)
        if encoding.dtype == "float32":  # in whole units: others are rounded to them
            code = st.integers(0, 1 << 12).map(lambda n: int(np.float32(n / (1 << 12)).view(np.uint32)))
        self.own, self.confident = (draw(hnp.arrays(encoding.codes_dtype, shape, elements=code)) for _ in range(2))
        self.mask = (draw(hnp.arrays(bool, shape)) & (self.labels != self.predicted) & ~ignored).astype(np.uint8)

    def find(self, **options: Any) -> Regions:
        return find_in_image(
            self.labels, self.predicted, self.own, self.confident, self.mask, self.encoding, self.classes, **options
        )

    def values(self, plane: Plane) -> list[list[float]]:
        return self.encoding.values(plane).tolist()


@some
@given(data=st.data(), encoding=st.sampled_from(ENCODINGS), classes=st.sampled_from([1, 2, 3, 15, 16, 254, 255, 300]))
def test_regions_equal_the_reference(data: st.DataObject, encoding: Encoding, classes: int) -> None:
    image = Drawn(data.draw, encoding, classes)
    found = image.find()
    reference_regions = reference.regions(
        image.mask.tolist(),
        image.labels.tolist(),
        image.predicted.tolist(),
        image.values(image.own),
        image.values(image.confident),
    )
    assert found.box[:, :2].tolist() == sorted(found.box[:, :2].tolist())
    actual = [
        (
            *map(int, (found.given[i], found.suggested[i], found.area[i])),
            tuple(found.box[i].tolist()),
            *found.centroid[i].tolist(),
        )
        for i in range(len(found))
    ]
    expected = [(r.given, r.suggested, r.area, r.bbox, *r.centroid) for r in reference_regions]
    assert sorted(actual) == sorted(expected)
    for i in range(len(found)):
        where = decode(found, i, image.labels.shape)
        s, m = (encoding.values(plane[where]) for plane in (image.own, image.confident))
        assert found.evidence[i] == pytest.approx(max(0.0, math.fsum(m - s)), rel=1e-12, abs=1e-12)
        assert found.self_confidence[i] == pytest.approx(math.fsum(s) / s.size, rel=1e-12, abs=1e-12)
        assert found.predicted_confidence[i] == pytest.approx(math.fsum(m) / m.size, rel=1e-12, abs=1e-12)


@some
@given(data=st.data(), encoding=st.sampled_from(ENCODINGS))
def test_regions_equal_components_of_scipy(data: st.DataObject, encoding: Encoding) -> None:
    image = Drawn(data.draw, encoding)
    found, shape = image.find(), image.labels.shape
    pairs = np.where(image.mask, image.labels.astype(int) * 3 + image.predicted, -1)
    expected = set()
    for pair in np.unique(pairs[pairs >= 0]):
        numbers, count = ndimage.label(pairs == pair, structure=np.ones((3, 3)))
        expected |= {(numbers == number).tobytes() for number in range(1, count + 1)}
    actual = [decode(found, i, shape) for i in range(len(found))]
    assert {mask.tobytes() for mask in actual} == expected
    assert len(actual) == len(expected)


def omissions(data: st.DataObject, image: Drawn) -> OmissionRule:
    top = image.encoding.top
    confident = data.draw(st.lists(st.integers(0, top + 1), min_size=image.classes, max_size=image.classes))
    expected = data.draw(st.lists(st.floats(0, 1), min_size=image.classes, max_size=image.classes))
    return OmissionRule.from_thresholds(image.encoding, np.array(confident), np.array(expected))


@some
@given(data=st.data(), encoding=st.sampled_from(ENCODINGS))
def test_omissions_equal_the_reference(data: st.DataObject, encoding: Encoding) -> None:
    image = Drawn(data.draw, encoding)
    suspicious = omissions(data, image)
    found, shape = image.find(omissions=suspicious), image.labels.shape
    around = np.pad(image.labels == 255, 1, constant_values=True)
    deep = np.lib.stride_tricks.sliding_window_view(around, (3, 3)).all(axis=(2, 3))
    member = deep & (image.confident >= suspicious.confident[image.predicted])
    expected = {frozenset(pixels) for pixels in reference.components(image.predicted.tolist(), member.tolist())}
    actual = {i: decode(found, i, shape) for i in range(len(found)) if found.given[i] == image.classes}
    assert {
        frozenset(zip(*(axis.tolist() for axis in mask.nonzero()), strict=True)) for mask in actual.values()
    } == expected
    for i, mask in actual.items():
        m, share = encoding.values(image.confident[mask]), Fraction(suspicious.expected[found.suggested[i]])
        excess = sum((max(Fraction(0), Fraction(value) - share) for value in m.tolist()), Fraction(0))
        assert found.evidence[i] == pytest.approx(float(excess), rel=1e-9, abs=1e-9)
        assert found.predicted_confidence[i] == pytest.approx(math.fsum(m) / m.size, rel=1e-12, abs=1e-12)
    flagged = {i for i in range(len(found)) if i not in actual}
    assert len(flagged) == len(image.find()), "flagged pixels are found anyway"


@some
@given(
    data=st.data(), encoding=st.sampled_from(ENCODINGS), room=st.sampled_from(CAPACITIES), least_area=st.integers(1, 12)
)
def test_any_table_capacity_gives_the_same_regions(
    monkeypatch: pytest.MonkeyPatch, data: st.DataObject, encoding: Encoding, room: int, least_area: int
) -> None:
    image = Drawn(data.draw, encoding)
    suspicious = omissions(data, image)
    monkeypatch.setattr(regions, "CAPACITY", 1 << 16)
    whole = image.find(omissions=suspicious, least_area=least_area)
    every = image.find(omissions=suspicious)
    monkeypatch.setattr(regions, "CAPACITY", room)
    same(image.find(omissions=suspicious, least_area=least_area), whole)
    assert whole.area.tolist() == [area for area in every.area.tolist() if area >= least_area]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools, in numpy 2
@some
@given(data=st.data(), room=st.sampled_from(CAPACITIES))
def test_run_length_code_is_read_by_pycocotools(
    monkeypatch: pytest.MonkeyPatch, data: st.DataObject, room: int
) -> None:
    monkeypatch.setattr(regions, "CAPACITY", room)
    image = Drawn(data.draw, BYTES)
    found, (height, width) = image.find(), image.labels.shape
    for i in range(len(found)):
        code = coco.frPyObjects({"size": [height, width], "counts": found.rle[i].tolist()}, height, width)
        where = decode(found, i, (height, width))
        assert np.array_equal(coco.decode(code), where)
        assert coco.encode(np.asfortranarray(where.astype(np.uint8))) == code, "no other code says the same"
        left, top, wide, high = (int(number) for number in coco.toBbox(code))
        assert [top, left, top + high, left + wide] == found.box[i].tolist()
        assert coco.area(code) == found.area[i]


@pytest.mark.parametrize("room", [1, 100, 300, 1000])
def test_regions_of_a_large_noisy_plane_are_the_same_for_any_capacity(
    monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    rng = np.random.default_rng(0)
    shape = (150, 83)
    labels = (ndimage.gaussian_filter(rng.random(shape), 2) > 0.5).astype(np.uint8)
    labels[:, :30] = 255
    mask = ((rng.random(shape) < 0.6) & (labels < 3)).astype(np.uint8)
    predicted = np.where(labels < 3, 2 - labels, 1).astype(np.uint8)
    codes = rng.integers(0, 256, (2, *shape)).astype(np.uint8)
    suspicious = OmissionRule.from_thresholds(BYTES, np.full(3, 100), np.full(3, 0.25))

    def find() -> Regions:
        return find_in_image(labels, predicted, *codes, mask, BYTES, 3, least_area=4, omissions=suspicious)

    whole = find()
    monkeypatch.setattr(regions, "CAPACITY", room)
    same(find(), whole)
    spanning = whole.box[:, 2] - whole.box[:, 0]
    assert len(whole) > 20
    assert spanning.max() > 64
    assert {0, 1, 3} == set(whole.given.tolist())


def flagged(drawing: list[str]) -> tuple[Regions, NDArray[np.bool_]]:
    """Find the regions of a drawing, whose marks are flagged pixels of class 0 predicted as 1."""
    mask = np.array([[sign == "#" for sign in row] for row in drawing])
    zeros = np.zeros(mask.shape, np.uint8)
    found = find_in_image(zeros, zeros + np.uint8(1), zeros, zeros + np.uint8(255), mask.astype(np.uint8), BYTES, 2)
    return found, mask


@pytest.mark.parametrize("room", [1, 1 << 16])
@pytest.mark.parametrize(
    ("drawing", "count"),
    [
        (["#...#", "#...#", "#####"], 1),  # two arms that meet at the bottom
        (["#####", "#...#", "#.#.#", "#...#", "#####"], 2),  # a ring around a dot
        (["#.#.#", ".#.#.", "#.#.#"], 1),  # all corners
        (["#.#.#.#", "#.#.#.#", "###.###", "......#", "#######"], 2),
        (["#", "#", ".", "#"], 2),
        (["#..", "...", "..#"], 2),
        (["##", "##"], 1),  # every column goes on in the next
        (["..", ".."], 0),
    ],
)
def test_shapes_across_passes_are_one_region(
    monkeypatch: pytest.MonkeyPatch, drawing: list[str], count: int, room: int
) -> None:
    monkeypatch.setattr(regions, "CAPACITY", room)
    found, mask = flagged(drawing)
    assert len(found) == count
    assert found.area.sum() == found.evidence.sum() == mask.sum()
    whole = np.zeros(mask.shape, int)
    for i in range(count):
        whole += decode(found, i, mask.shape)
    assert np.array_equal(whole, mask)


def test_run_length_code_equals_hand_calculation() -> None:
    found, _ = flagged(["#..", "##.", ".#."])
    assert [code.tolist() for code in found.rle] == [[0, 2, 2, 2, 3]]
    found, _ = flagged(["###", "###"])
    assert [code.tolist() for code in found.rle] == [[0, 6]], "one run, from column to column"


def test_regions_with_one_box_are_ordered_by_first_pixel() -> None:
    mask = np.ones((2, 2), np.uint8)
    labels, predicted = np.array([[0, 0], [0, 0]], np.uint8), np.array([[2, 1], [1, 2]], np.uint8)
    zeros = np.zeros((2, 2), np.uint8)
    found = find_in_image(labels, predicted, zeros, zeros, mask, BYTES, 3)
    assert found.suggested.tolist() == [2, 1]
    assert found.box.tolist() == [[0, 0, 2, 2]] * 2


def test_ignored_border_of_two_pixels_does_not_count() -> None:
    labels, zeros = np.zeros((6, 6), np.uint8), np.zeros((6, 6), np.uint8)
    confident, suspicious = (
        np.full((6, 6), 204, np.uint8),
        OmissionRule.from_thresholds(BYTES, np.full(2, 200), np.full(2, 0.2)),
    )
    labels[:, 2:4] = 255
    assert not len(find_in_image(labels, zeros, zeros, confident, zeros, BYTES, 2, omissions=suspicious))
    labels[:, 2:5] = 255
    found = find_in_image(labels, zeros, zeros, confident, zeros, BYTES, 2, omissions=suspicious)
    assert found.box.tolist() == [[0, 3, 6, 4]]
    assert found.given.tolist() == [2], "no class is given"
    assert found.evidence.tolist() == pytest.approx([6 * (0.8 - 0.2)])
    assert not len(find_in_image(labels, zeros, zeros, confident, zeros, BYTES, 2)), "omissions are optional"


def test_usual_share_of_ignored_pixels_is_no_evidence() -> None:
    labels, zeros = np.full((3, 4), 255, np.uint8), np.zeros((3, 4), np.uint8)
    suspicious = OmissionRule.from_thresholds(BYTES, np.array([1]), np.array([1.0]))
    found = find_in_image(labels, zeros, zeros, np.full((3, 4), 255, np.uint8), zeros, BYTES, 1, omissions=suspicious)
    assert (found.area.tolist(), found.evidence.tolist()) == ([12], [0.0])


@some
@given(data=st.data(), room=st.sampled_from(CAPACITIES), rows=st.integers(0, 4), columns=st.integers(0, 4))
def test_padding_does_not_change_the_regions(
    monkeypatch: pytest.MonkeyPatch, data: st.DataObject, room: int, rows: int, columns: int
) -> None:
    monkeypatch.setattr(regions, "CAPACITY", room)
    image = Drawn(data.draw, BYTES)
    suspicious, size = omissions(data, image), image.labels.shape
    alone = image.find(omissions=suspicious)
    around = ((0, rows), (0, columns))
    image.labels = np.pad(image.labels, around, constant_values=255)
    for name in ("predicted", "own", "confident", "mask"):
        setattr(image, name, np.pad(getattr(image, name), around))
    same(image.find(omissions=suspicious, size=size), alone)


def test_sums_beyond_float64_integers_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """2^22 times nearly 2^32 units, plus one: no float64 represents the sum, and the capacity changes no bit."""
    encoding, shape = ENCODINGS[3], (2048, 2048)
    labels, predicted, mask = np.zeros(shape, np.uint8), np.ones(shape, np.uint8), np.ones(shape, np.uint8)
    confident = encoding.codes(np.full(shape, np.nextafter(np.float32(1), np.float32(0))))
    own = np.zeros(shape, np.uint32)
    found = find_in_image(labels, predicted, own, confident, mask, encoding, 2)
    assert found.evidence[0] == (1 << 22) * (1 - 2**-24)
    monkeypatch.setattr(regions, "CAPACITY", 1 << 12)
    same(find_in_image(labels, predicted, own, confident, mask, encoding, 2), found)
