"""Simulated errors on small planes: what each type changes, and what none changes."""

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
IGNORED = 255


@st.composite
def random_planes(draw: st.DrawFn) -> Array:
    """Planes of class indices in squares, with ignored pixels, uint8 or uint16."""
    dtype = draw(st.sampled_from(["uint8", "uint16"]))
    values = st.sampled_from([*range(CLASSES), np.iinfo(dtype).max])
    coarse = draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5), elements=values))
    return coarse.repeat(draw(st.integers(1, 4)), axis=0).repeat(draw(st.integers(1, 4)), axis=1)


@st.composite
def random_params(draw: st.DrawFn, names: tuple[str, ...] = tuple(ERROR_TYPES)) -> ErrorParams:
    """Parameters that the configuration allows."""
    error_type = draw(st.sampled_from(names))
    error, classes = ERROR_TYPES[error_type], draw(st.sets(st.integers(0, CLASSES - 1), min_size=1))
    size = draw(st.integers(3, 12)) if error_type == "coarse" else draw(st.sampled_from([0.001, 0.01, 0.1, 0.5]))
    objects = draw(st.sampled_from(["whole", "one"])) if error.single_object else "whole"
    fill = draw(st.sampled_from(error.fills)) if error.fills else "nearest"
    background = draw(st.integers(0, CLASSES - 1)) if fill == "background" else None
    return ErrorParams(error_type, size, tuple(sorted(classes)), objects, fill, background)


seeds = st.integers(0, 2**32 - 1)


def corrupt(plane: Array, params: ErrorParams, seed: int) -> CorruptedLabels | None:
    return apply_error(plane, np.random.default_rng(seed), params)


def make_params(error_type: str, **changes: Any) -> ErrorParams:
    return ErrorParams(
        error_type, **({"size": ERROR_TYPES[error_type].default_size, "classes": tuple(range(CLASSES))} | changes)
    )


# ------------------------------------------------------------------------------------------------------ of every kind


def test_error_types_match_configuration_and_modules() -> None:
    folder = Path(__file__).parents[3] / "pipeline/masksift/evaluation/simulate/error_types"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "base"}
    assert set(ERROR_TYPES) == files == set(get_args(SimulateConfig.model_fields["kind"].annotation))


@a_few
@given(random_planes(), random_params(), seeds)
def test_error_keeps_ignored_pixels_and_removes_labels_only_with_fill_ignore(
    plane: Array, params: ErrorParams, seed: int
) -> None:
    before, corrupted = plane.copy(), corrupt(plane, params, seed)
    np.testing.assert_array_equal(plane, before)
    if corrupted is None:
        return
    ignored = plane == ignored_value(plane)
    assert (corrupted.plane[ignored] == ignored_value(plane)).all()
    assert corrupted.plane.dtype == plane.dtype
    assert (corrupted.plane != plane).any()
    if params.fill != "ignore":
        np.testing.assert_array_equal(corrupted.plane == ignored_value(plane), ignored)
    assert set(corrupted.classes) <= set(params.classes)


@a_few
@given(random_planes(), random_params(), seeds)
def test_same_seed_gives_same_error(plane: Array, params: ErrorParams, seed: int) -> None:
    first, second = corrupt(plane, params, seed), corrupt(plane, params, seed)
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        np.testing.assert_array_equal(first.plane, second.plane)
        assert first.classes == second.classes


@pytest.mark.parametrize("error_type", ERROR_TYPES)
def test_other_seeds_give_other_errors(error_type: str) -> None:
    plane = np.random.default_rng(1).integers(0, CLASSES, (8, 8)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    params = make_params(error_type, objects="one" if ERROR_TYPES[error_type].single_object else "whole", fill="ignore")
    found = [corrupt(plane, params, seed) for seed in range(6)]
    assert len({corrupted.plane.tobytes() for corrupted in found if corrupted is not None}) > 3


@pytest.mark.parametrize("error_type", ERROR_TYPES)
def test_plane_without_labels_has_no_error(error_type: str) -> None:
    assert corrupt(np.full((4, 5), IGNORED, np.uint8), make_params(error_type, fill="ignore"), 0) is None


@pytest.mark.parametrize("error_type", ["drop", "swap", "shift", "boundary", "coarse"])
def test_plane_of_one_class_has_no_error(error_type: str) -> None:
    assert corrupt(np.full((12, 15), 2, np.uint8), make_params(error_type), 0) is None


# --------------------------------------------------------------------------------------------------------------- drop


@a_few
@given(random_planes(), random_params(("drop",)), seeds)
def test_drop_removes_a_class_or_one_object(plane: Array, params: ErrorParams, seed: int) -> None:
    corrupted = corrupt(plane, params, seed)
    if corrupted is None:
        return
    (label,) = corrupted.classes
    lost, valid = corrupted.plane != plane, plane != ignored_value(plane)
    assert (plane[lost] == label).all()
    assert lost.sum() >= params.size * valid.sum()
    objects, count = ndimage.label(plane == label, np.ones((3, 3)))
    whole = [objects == n for n in range(1, count + 1)] if params.objects == "one" else [plane == label]
    assert any(np.array_equal(lost, mask) for mask in whole)


@a_few
@given(random_planes(), st.integers(0, CLASSES - 1), seeds)
def test_drop_fills_with_nearest_background_or_ignored(plane: Array, background: int, seed: int) -> None:
    for fill in ("nearest", "background", "ignore"):
        corrupted = corrupt(plane, make_params("drop", fill=fill, background=background), seed)
        if corrupted is None:
            continue
        lost = corrupted.plane != plane
        if fill == "background":
            assert (corrupted.plane[lost] == background).all()
        elif fill == "ignore":
            assert (corrupted.plane[lost] == ignored_value(plane)).all()
        else:
            candidates = np.argwhere((plane != corrupted.classes[0]) & (plane != ignored_value(plane)))
            for place in np.argwhere(lost):
                distances = ((candidates - place) ** 2).sum(axis=1)
                assert corrupted.plane[tuple(place)] in {
                    plane[tuple(candidate)] for candidate in candidates[distances == distances.min()]
                }


# --------------------------------------------------------------------------------------------------------------- swap


@a_few
@given(random_planes(), random_params(("swap",)), seeds)
def test_swap_exchanges_two_classes_or_relabels_one_object(plane: Array, params: ErrorParams, seed: int) -> None:
    corrupted = corrupt(plane, params, seed)
    if corrupted is None:
        return
    first, second = corrupted.classes
    differs = corrupted.plane != plane
    assert differs.sum() >= params.size * (plane != ignored_value(plane)).sum()
    if params.objects == "one":
        assert (plane[differs] == first).all()
        assert (corrupted.plane[differs] == second).all()
        assert ndimage.label(differs, np.ones((3, 3)))[1] == 1
    else:
        np.testing.assert_array_equal(corrupted.plane == first, plane == second)
        np.testing.assert_array_equal(corrupted.plane == second, plane == first)
        np.testing.assert_array_equal(differs, np.isin(plane, corrupted.classes))


def test_whole_swap_needs_two_eligible_classes() -> None:
    plane = np.array([[0, 1], [2, 3]], np.uint8)
    assert corrupt(plane, make_params("swap", classes=(1,)), 0) is None
    corrupted = corrupt(plane, make_params("swap", classes=(1, 3)), 0)
    assert corrupted is not None
    assert corrupted.plane.tolist() == [[0, 3], [2, 1]]


# -------------------------------------------------------------------------------------------- shift, boundary, coarse


@a_few
@given(random_planes(), random_params(("shift", "boundary", "coarse")), seeds)
def test_mask_error_changes_only_pixels_from_or_to_its_class(plane: Array, params: ErrorParams, seed: int) -> None:
    corrupted = corrupt(plane, params, seed)
    if corrupted is None:
        return
    (label,) = corrupted.classes
    differs = corrupted.plane != plane
    assert ((plane == label) | (corrupted.plane == label))[differs].all()


@a_few
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)), st.integers(-7, 7), st.integers(-7, 7))
def test_translate_moves_the_mask_and_clips_it(mask: Array, rows: int, columns: int) -> None:
    expected = {(y + rows, x + columns) for y, x in np.argwhere(mask).tolist()}
    inside = {(y, x) for y, x in expected if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]}
    assert set(map(tuple, np.argwhere(translate(mask, rows, columns)).tolist())) == inside


def square(side: int = 20, size: int = 8) -> Array:
    """A square of class 1 in the middle of class 0."""
    plane = np.zeros((side, side), np.uint8)
    start = (side - size) // 2
    plane[start : start + size, start : start + size] = 1
    return plane


@a_few
@given(seeds)
def test_shift_moves_by_its_size(seed: int) -> None:
    plane = square(40)
    corrupted = corrupt(plane, make_params("shift", size=0.1, classes=(1,)), seed)
    assert corrupted is not None
    by = np.argwhere(corrupted.plane == 1).mean(axis=0) - np.argwhere(plane == 1).mean(axis=0)
    assert np.hypot(*by) == pytest.approx(0.1 * np.hypot(40, 40), abs=0.71)
    assert (corrupted.plane == 1).sum() == 64


@a_few
@given(seeds)
def test_boundary_dilates_or_erodes_with_a_disk(seed: int) -> None:
    plane = square()
    mask, radius = plane == 1, 0.08 * np.hypot(20, 20)
    corrupted = corrupt(plane, make_params("boundary", size=0.08, classes=(1,)), seed)
    assert corrupted is not None
    larger = ndimage.distance_transform_edt(~mask) <= radius
    smaller = ndimage.distance_transform_edt(mask) > radius
    assert any(np.array_equal(corrupted.plane == 1, expected) for expected in (larger, smaller))


def test_boundary_draws_both_directions_and_ignores_the_image_border() -> None:
    plane = np.zeros((9, 9), np.uint8)
    plane[:, :4] = 1
    plane[0] = IGNORED
    sizes = {int((corrupt(plane, make_params("boundary", classes=(1,)), seed).plane == 1).sum()) for seed in range(20)}  # type: ignore[union-attr]
    assert sizes == {8 * 3, 8 * 5}


def test_erosion_never_removes_the_whole_mask() -> None:
    plane = square(40, 4)
    for seed in range(20):
        corrupted = corrupt(plane, make_params("boundary", size=0.2, classes=(1,)), seed)
        assert corrupted is not None
        assert (corrupted.plane == 1).sum() > 16


def test_distance_to_mask_equals_hand_calculation() -> None:
    mask = np.zeros((3, 4), bool)
    mask[1, 1] = True
    np.testing.assert_allclose(distance_to(mask), np.hypot(*np.mgrid[-1:2, -1:3]))


@a_few
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_iter_objects_yields_8_connected_components(mask: Array) -> None:
    expected, count = ndimage.label(mask, np.ones((3, 3)))
    found = []
    for box, own in iter_objects(mask):
        whole = np.zeros_like(mask)
        whole[box] = own
        found.append(whole.tobytes())
    assert sorted(found) == sorted((expected == n).tobytes() for n in range(1, count + 1))


@a_few
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_polygon_of_full_outline_is_the_object_without_holes(mask: Array) -> None:
    for _, own in iter_objects(mask):
        corners = trace_outline(own)
        np.testing.assert_array_equal(fill_polygon(corners, own.shape), ndimage.binary_fill_holes(own))
        steps = np.abs(np.roll(corners, -1, axis=0) - corners).sum(axis=1)
        assert (steps == 1).all()


def test_fill_polygon_equals_hand_calculation() -> None:
    triangle = np.array([[0, 0], [4, 2], [4, 0]])
    assert fill_polygon(triangle, (4, 3)).astype(int).tolist() == [[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0]]


@a_few
@given(seeds, st.integers(3, 30))
def test_coarse_square_stays_inside_the_square(seed: int, points: int) -> None:
    plane = square()
    corrupted = corrupt(plane, make_params("coarse", size=points, classes=(1,)), seed)
    if corrupted is not None:
        assert (plane[corrupted.plane == 1] == 1).all()
        assert (corrupted.plane == 1).sum() >= 20, "a triangle keeps a third of a square of 64 pixels"


def test_coarse_with_more_vertices_is_closer_to_the_mask() -> None:
    y, x = np.mgrid[:64, :64] - 32
    plane = (np.hypot(y, x) < 25).astype(np.uint8)
    lost = []
    for points in (3, 6, 12, 24):
        corrupted = corrupt(plane, make_params("coarse", size=points, classes=(1,)), 0)
        assert corrupted is not None
        lost.append(int((corrupted.plane != plane).sum()))
    assert lost == sorted(lost, reverse=True)
    assert lost[-1] < lost[0] / 4


# ----------------------------------------------------------------------------------------------------- missing_region


@a_few
@given(random_planes(), random_params(("missing_region",)), seeds)
def test_missing_region_removes_classes_from_a_rectangle(plane: Array, params: ErrorParams, seed: int) -> None:
    corrupted = corrupt(plane, params, seed)
    if corrupted is None:
        return
    value = ignored_value(plane) if params.fill == "ignore" else params.background
    differs = corrupted.plane != plane
    assert (corrupted.plane[differs] == value).all()
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    assert not np.isin(corrupted.plane[box], [k for k in params.classes if k != value]).any()
    assert set(corrupted.classes) == set(np.unique(plane[differs]).tolist())


@a_few
@given(seeds)
def test_missing_region_covers_its_share(seed: int) -> None:
    params = make_params("missing_region", size=0.1, fill="background", background=0)
    corrupted = corrupt(np.ones((40, 60), np.uint8), params, seed)
    assert corrupted is not None
    assert (corrupted.plane == 0).mean() == pytest.approx(0.1, rel=0.1)
