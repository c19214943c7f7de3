"""Injected annotation errors: changes of the labels and invariants of each error type."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masksift.demo.inject_errors import (
    ERROR_TYPES,
    MIN_CHANGED_SHARE,
    changed_share,
    drop,
    fill_mask,
    inject_errors,
    shift,
    shift_class,
    swap,
    swap_classes,
)

IGNORE = 255


def make_block_labels(seed: int, classes: int = 5, size: int = 6, ignored: float = 0.1) -> np.ndarray:
    """Make labels (size * 8, size * 10) in blocks of 8 x 10 pixels, some pixels ignored."""
    generator = np.random.default_rng(seed)
    labels = np.kron(generator.integers(0, classes, (size, size)), np.ones((8, 10), int)).astype(np.uint8)
    labels[generator.random(labels.shape) < ignored] = IGNORE
    return labels


seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("error_type", ERROR_TYPES)
@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_ignored_pixels_stay_the_same(error_type, seed):
    labels = make_block_labels(seed)
    changed, _ = ERROR_TYPES[error_type](labels, np.random.default_rng(seed))
    assert np.array_equal(changed == IGNORE, labels == IGNORE)


@pytest.mark.parametrize("error_type", ERROR_TYPES)
@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_error_describes_the_change(error_type, seed):
    labels = make_block_labels(seed)
    before = labels.copy()
    changed, error = ERROR_TYPES[error_type](labels, np.random.default_rng(seed))
    assert np.array_equal(labels, before), "the input is unchanged"
    assert error.kind == error_type
    assert error.changed_share == pytest.approx(changed_share(labels, changed), abs=1e-6)
    assert error.changed_share >= MIN_CHANGED_SHARE
    differs = labels != changed
    assert np.all(np.isin(labels[differs], error.classes) | np.isin(changed[differs], error.classes))


@pytest.mark.parametrize("error_type", ERROR_TYPES)
def test_same_seed_gives_the_same_error(error_type):
    first = ERROR_TYPES[error_type](make_block_labels(1), np.random.default_rng(5))
    second = ERROR_TYPES[error_type](make_block_labels(1), np.random.default_rng(5))
    assert np.array_equal(first[0], second[0])
    assert first[1] == second[1]


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_swap_twice_is_the_identity(seed):
    labels = make_block_labels(seed)
    once = swap_classes(labels, 1, 3)
    assert np.array_equal(swap_classes(once, 1, 3), labels)
    assert np.array_equal(once == 1, labels == 3)


def test_filled_class_takes_its_nearest_neighbors():
    labels = np.array([[0, 0, 1, 1, 1, 1, 2, IGNORE]], np.uint8)
    assert fill_mask(labels, labels == 1, 1).tolist() == [[0, 0, 0, 0, 2, 2, 2, IGNORE]]


def test_ignored_neighbor_provides_no_class():
    labels = np.array([[IGNORE, 1, 1, 1, 0]], np.uint8)
    assert fill_mask(labels, labels == 1, 1).tolist() == [[IGNORE, 0, 0, 0, 0]]


def test_drop_removes_a_class_or_one_object():
    labels = np.zeros((40, 40), np.uint8)
    labels[5:15, 5:15] = labels[25:35, 25:35] = 1
    results = [drop(labels, np.random.default_rng(seed)) for seed in range(30)]
    drops = [changed for changed, error in results if error.classes == (1,)]
    removed_pixels = {np.count_nonzero((labels == 1) & (changed != 1)) for changed in drops}
    assert removed_pixels == {100, 200}, "one of the two objects, or both"


def test_shift_moves_the_mask_and_fills_uncovered_pixels():
    labels = np.zeros((10, 12), np.uint8)
    labels[2:5, 2:5] = 1
    expected = np.zeros_like(labels)
    expected[3:6, 6:9] = 1
    assert np.array_equal(shift_class(labels, 1, 1, 4), expected)


def test_shift_beyond_the_image_removes_pixels():
    labels = np.zeros((6, 6), np.uint8)
    labels[:, 4:] = 1
    assert np.count_nonzero(shift_class(labels, 1, 0, 1) == 1) == 6
    assert np.count_nonzero(shift_class(labels, 1, 0, 2) == 1) == 0


def test_shift_distance_is_two_to_eight_percent_of_the_diagonal():
    labels = np.zeros((300, 400), np.uint8)
    labels[100:200, 150:250] = 1
    for seed in range(20):
        changed, error = shift(labels, np.random.default_rng(seed))
        if error.classes == (1,):
            moved = np.argwhere(changed == 1).mean(axis=0) - np.argwhere(labels == 1).mean(axis=0)
            assert 0.02 * 500 - 1 <= np.hypot(*moved) <= 0.08 * 500 + 1


def test_small_class_is_skipped():
    labels = np.zeros((50, 50), np.uint8)
    labels[25:] = 1
    labels[0, 0] = 2
    assert all(2 not in drop(labels, np.random.default_rng(seed))[1].classes for seed in range(20))


@pytest.mark.parametrize("error_type", ERROR_TYPES)
def test_image_of_one_class_is_rejected(error_type):
    with pytest.raises(ValueError, match=f"No {error_type} changes 1%"):
        ERROR_TYPES[error_type](np.zeros((20, 20), np.uint8), np.random.default_rng(0))


def test_inject_errors_changes_each_image_at_most_once():
    labels = np.stack([make_block_labels(seed) for seed in range(12)])
    changed, known = inject_errors(labels, {"drop": 2, "swap": 3, "shift": 1}, np.random.default_rng(0))
    assert sorted(error.kind for error in known.values()) == ["drop"] * 2 + ["shift"] + ["swap"] * 3
    differs = {index for index in range(12) if not np.array_equal(changed[index], labels[index])}
    assert differs == set(known)


def test_inject_errors_skips_unfit_images_until_none_is_left():
    labels = np.stack([np.zeros((48, 60), np.uint8), make_block_labels(0), np.ones((48, 60), np.uint8)])
    _, known = inject_errors(labels, {"swap": 1}, np.random.default_rng(0))
    assert list(known) == [1]
    with pytest.raises(ValueError, match="Only 1 of 2 swap errors fit into 3 images"):
        inject_errors(labels, {"swap": 2}, np.random.default_rng(0))


def test_swap_records_both_classes():
    assert len(swap(make_block_labels(3), np.random.default_rng(0))[1].classes) == 2
