"""The kinds of known errors, on small planes: what each changes, and what none of them ever does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from masksift.evaluation.simulate.config import SimulateConfig
from masksift.evaluation.simulate.error_types import (
    ERROR_TYPES,
    CorruptedLabels,
    ErrorParams,
    apply_error,
    ignored_value,
)
from masksift.evaluation.simulate.error_types.base import distance_to, iter_objects
from masksift.evaluation.simulate.error_types.coarse import fill_polygon, trace_outline
from masksift.evaluation.simulate.error_types.shift import translate
from support.condensed import a_few
from support.datasets import Array

CLASSES = 4
NONE = 255


@st.composite
def planes(draw: st.DrawFn) -> Array:
    """Class numbers in squares of some pixels, a few of them ignored; of one byte or two."""
    dtype = draw(st.sampled_from(["uint8", "uint16"]))
    values = st.sampled_from([*range(CLASSES), np.iinfo(dtype).max])
    coarse = draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5), elements=values))
    return coarse.repeat(draw(st.integers(1, 4)), axis=0).repeat(draw(st.integers(1, 4)), axis=1)


@st.composite
def settings(draw: st.DrawFn, kinds: tuple[str, ...] = tuple(ERROR_TYPES)) -> ErrorParams:
    """Anything that the configuration allows."""
    name = draw(st.sampled_from(kinds))
    kind, classes = ERROR_TYPES[name], draw(st.sets(st.integers(0, CLASSES - 1), min_size=1))
    size = draw(st.integers(3, 12)) if name == "coarse" else draw(st.sampled_from([0.001, 0.01, 0.1, 0.5]))
    objects = draw(st.sampled_from(["whole", "one"])) if kind.single_object else "whole"
    fill = draw(st.sampled_from(kind.fills)) if kind.fills else "nearest"
    background = draw(st.integers(0, CLASSES - 1)) if fill == "background" else None
    return ErrorParams(name, size, tuple(sorted(classes)), objects, fill, background)


seeds = st.integers(0, 2**32 - 1)


def changed(plane: Array, setting: ErrorParams, seed: int) -> CorruptedLabels | None:
    return apply_error(plane, np.random.default_rng(seed), setting)


def of(kind: str, **changes: Any) -> ErrorParams:
    return ErrorParams(kind, **({"size": ERROR_TYPES[kind].default_size, "classes": tuple(range(CLASSES))} | changes))


# ------------------------------------------------------------------------------------------------------ of every kind


def test_the_list_is_that_of_the_configuration_and_of_the_folder() -> None:
    folder = Path(__file__).parents[3] / "pipeline/masksift/evaluation/simulate/error_types"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "base"}
    assert set(ERROR_TYPES) == files == set(get_args(SimulateConfig.model_fields["kind"].annotation))


@a_few
@given(planes(), settings(), seeds)
def test_ignored_pixels_stay_and_labels_are_lost_only_where_it_is_asked_for(
    plane: Array, setting: ErrorParams, seed: int
) -> None:
    before, drawn = plane.copy(), changed(plane, setting, seed)
    np.testing.assert_array_equal(plane, before)
    if drawn is None:
        return
    ignored = plane == ignored_value(plane)
    assert (drawn.plane[ignored] == ignored_value(plane)).all()
    assert drawn.plane.dtype == plane.dtype
    assert (drawn.plane != plane).any()
    if setting.fill != "ignore":
        np.testing.assert_array_equal(drawn.plane == ignored_value(plane), ignored)
    assert set(drawn.classes) <= set(setting.classes)


@a_few
@given(planes(), settings(), seeds)
def test_the_same_seed_gives_the_same_error(plane: Array, setting: ErrorParams, seed: int) -> None:
    first, second = changed(plane, setting, seed), changed(plane, setting, seed)
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        np.testing.assert_array_equal(first.plane, second.plane)
        assert first.classes == second.classes


@pytest.mark.parametrize("kind", ERROR_TYPES)
def test_other_seeds_give_other_errors(kind: str) -> None:
    plane = np.random.default_rng(1).integers(0, CLASSES, (8, 8)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    setting = of(kind, objects="one" if ERROR_TYPES[kind].single_object else "whole", fill="ignore")
    found = [changed(plane, setting, seed) for seed in range(6)]
    assert len({drawn.plane.tobytes() for drawn in found if drawn is not None}) > 3


@pytest.mark.parametrize("kind", ERROR_TYPES)
def test_an_image_without_labels_stays_as_it_is(kind: str) -> None:
    assert changed(np.full((4, 5), NONE, np.uint8), of(kind, fill="ignore"), 0) is None


@pytest.mark.parametrize("kind", ["drop", "swap", "shift", "boundary", "coarse"])
def test_an_image_of_one_class_stays_as_it_is(kind: str) -> None:
    assert changed(np.full((12, 15), 2, np.uint8), of(kind), 0) is None


# --------------------------------------------------------------------------------------------------------------- drop


@a_few
@given(planes(), settings(("drop",)), seeds)
def test_a_drop_changes_pixels_of_one_class_all_of_them_or_one_object(
    plane: Array, setting: ErrorParams, seed: int
) -> None:
    drawn = changed(plane, setting, seed)
    if drawn is None:
        return
    (label,) = drawn.classes
    lost, valid = drawn.plane != plane, plane != ignored_value(plane)
    assert (plane[lost] == label).all()
    assert lost.sum() >= setting.size * valid.sum()
    objects, count = ndimage.label(plane == label, np.ones((3, 3)))
    whole = [objects == n for n in range(1, count + 1)] if setting.objects == "one" else [plane == label]
    assert any(np.array_equal(lost, mask) for mask in whole)


@a_few
@given(planes(), st.integers(0, CLASSES - 1), seeds)
def test_what_fills_a_drop(plane: Array, background: int, seed: int) -> None:
    for fill in ("nearest", "background", "ignore"):
        drawn = changed(plane, of("drop", fill=fill, background=background), seed)
        if drawn is None:
            continue
        lost = drawn.plane != plane
        if fill == "background":
            assert (drawn.plane[lost] == background).all()
        elif fill == "ignore":
            assert (drawn.plane[lost] == ignored_value(plane)).all()
        else:
            lenders = np.argwhere((plane != drawn.classes[0]) & (plane != ignored_value(plane)))
            for place in np.argwhere(lost):
                away = ((lenders - place) ** 2).sum(axis=1)
                assert drawn.plane[tuple(place)] in {plane[tuple(lender)] for lender in lenders[away == away.min()]}


# --------------------------------------------------------------------------------------------------------------- swap


@a_few
@given(planes(), settings(("swap",)), seeds)
def test_a_swap_exchanges_two_classes_or_gives_one_object_another(
    plane: Array, setting: ErrorParams, seed: int
) -> None:
    drawn = changed(plane, setting, seed)
    if drawn is None:
        return
    first, second = drawn.classes
    differs = drawn.plane != plane
    assert differs.sum() >= setting.size * (plane != ignored_value(plane)).sum()
    if setting.objects == "one":
        assert (plane[differs] == first).all()
        assert (drawn.plane[differs] == second).all()
        assert ndimage.label(differs, np.ones((3, 3)))[1] == 1
    else:
        np.testing.assert_array_equal(drawn.plane == first, plane == second)
        np.testing.assert_array_equal(drawn.plane == second, plane == first)
        np.testing.assert_array_equal(differs, np.isin(plane, drawn.classes))


def test_a_whole_swap_needs_two_classes_that_may_suffer() -> None:
    plane = np.array([[0, 1], [2, 3]], np.uint8)
    assert changed(plane, of("swap", classes=(1,)), 0) is None
    drawn = changed(plane, of("swap", classes=(1, 3)), 0)
    assert drawn is not None
    assert drawn.plane.tolist() == [[0, 3], [2, 1]]


# -------------------------------------------------------------------------------------------- shift, boundary, coarse


@a_few
@given(planes(), settings(("shift", "boundary", "coarse")), seeds)
def test_where_a_mask_is_changed_everything_else_stays(plane: Array, setting: ErrorParams, seed: int) -> None:
    """What changes was of the class and is lost, or is given to it."""
    drawn = changed(plane, setting, seed)
    if drawn is None:
        return
    (label,) = drawn.classes
    differs = drawn.plane != plane
    assert ((plane == label) | (drawn.plane == label))[differs].all()


@a_few
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)), st.integers(-7, 7), st.integers(-7, 7))
def test_a_displaced_mask_is_the_mask_elsewhere(mask: Array, rows: int, columns: int) -> None:
    wanted = {(y + rows, x + columns) for y, x in np.argwhere(mask).tolist()}
    inside = {(y, x) for y, x in wanted if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]}
    assert set(map(tuple, np.argwhere(translate(mask, rows, columns)).tolist())) == inside


def square(side: int = 20, size: int = 8) -> Array:
    """A square of class 1 in the middle of class 0."""
    plane = np.zeros((side, side), np.uint8)
    start = (side - size) // 2
    plane[start : start + size, start : start + size] = 1
    return plane


@a_few
@given(seeds)
def test_a_shift_goes_as_far_as_it_is_told(seed: int) -> None:
    plane = square(40)
    drawn = changed(plane, of("shift", size=0.1, classes=(1,)), seed)
    assert drawn is not None
    by = np.argwhere(drawn.plane == 1).mean(axis=0) - np.argwhere(plane == 1).mean(axis=0)
    assert np.hypot(*by) == pytest.approx(0.1 * np.hypot(40, 40), abs=0.71)
    assert (drawn.plane == 1).sum() == 64


@a_few
@given(seeds)
def test_a_boundary_is_dilated_or_eroded_by_a_disk(seed: int) -> None:
    plane = square()
    mask, radius = plane == 1, 0.08 * np.hypot(20, 20)
    drawn = changed(plane, of("boundary", size=0.08, classes=(1,)), seed)
    assert drawn is not None
    larger = ndimage.distance_transform_edt(~mask) <= radius
    smaller = ndimage.distance_transform_edt(mask) > radius
    assert any(np.array_equal(drawn.plane == 1, wanted) for wanted in (larger, smaller))


def test_both_come_about_and_an_edge_of_the_image_is_no_boundary() -> None:
    plane = np.zeros((9, 9), np.uint8)
    plane[:, :4] = 1
    plane[0] = NONE
    sizes = {int((changed(plane, of("boundary", classes=(1,)), seed).plane == 1).sum()) for seed in range(20)}  # type: ignore[union-attr]
    assert sizes == {8 * 3, 8 * 5}


def test_an_erosion_leaves_something() -> None:
    plane = square(40, 4)
    for seed in range(20):
        drawn = changed(plane, of("boundary", size=0.2, classes=(1,)), seed)
        assert drawn is not None
        assert (drawn.plane == 1).sum() > 16


def test_distances_are_those_of_a_mask() -> None:
    mask = np.zeros((3, 4), bool)
    mask[1, 1] = True
    np.testing.assert_allclose(distance_to(mask), np.hypot(*np.mgrid[-1:2, -1:3]))


@a_few
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_objects_touch_by_a_side_or_a_corner(mask: Array) -> None:
    wanted, count = ndimage.label(mask, np.ones((3, 3)))
    found = []
    for box, own in iter_objects(mask):
        whole = np.zeros_like(mask)
        whole[box] = own
        found.append(whole.tobytes())
    assert sorted(found) == sorted((wanted == n).tobytes() for n in range(1, count + 1))


@a_few
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_the_polygon_of_the_whole_outline_is_the_object_without_holes(mask: Array) -> None:
    for _, own in iter_objects(mask):
        corners = trace_outline(own)
        np.testing.assert_array_equal(fill_polygon(corners, own.shape), ndimage.binary_fill_holes(own))
        steps = np.abs(np.roll(corners, -1, axis=0) - corners).sum(axis=1)
        assert (steps == 1).all()


def test_a_polygon_of_few_points_by_hand() -> None:
    triangle = np.array([[0, 0], [4, 2], [4, 0]])
    assert fill_polygon(triangle, (4, 3)).astype(int).tolist() == [[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0]]


@a_few
@given(seeds, st.integers(3, 30))
def test_a_coarse_square_lies_within_the_square(seed: int, points: int) -> None:
    plane = square()
    drawn = changed(plane, of("coarse", size=points, classes=(1,)), seed)
    if drawn is not None:
        assert (plane[drawn.plane == 1] == 1).all()
        assert (drawn.plane == 1).sum() >= 20, "a triangle on a square of 64 leaves a third of it"


def test_more_points_are_nearer_to_the_mask() -> None:
    y, x = np.mgrid[:64, :64] - 32
    plane = (np.hypot(y, x) < 25).astype(np.uint8)
    lost = []
    for points in (3, 6, 12, 24):
        drawn = changed(plane, of("coarse", size=points, classes=(1,)), 0)
        assert drawn is not None
        lost.append(int((drawn.plane != plane).sum()))
    assert lost == sorted(lost, reverse=True)
    assert lost[-1] < lost[0] / 4


# ----------------------------------------------------------------------------------------------------- missing_region


@a_few
@given(planes(), settings(("missing_region",)), seeds)
def test_a_missing_region_is_a_rectangle_without_its_classes(plane: Array, setting: ErrorParams, seed: int) -> None:
    drawn = changed(plane, setting, seed)
    if drawn is None:
        return
    value = ignored_value(plane) if setting.fill == "ignore" else setting.background
    differs = drawn.plane != plane
    assert (drawn.plane[differs] == value).all()
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    assert not np.isin(drawn.plane[box], [k for k in setting.classes if k != value]).any()
    assert set(drawn.classes) == set(np.unique(plane[differs]).tolist())


@a_few
@given(seeds)
def test_a_region_has_the_share_that_it_is_told(seed: int) -> None:
    drawn = changed(np.ones((40, 60), np.uint8), of("missing_region", size=0.1, fill="background", background=0), seed)
    assert drawn is not None
    assert (drawn.plane == 0).mean() == pytest.approx(0.1, rel=0.1)
