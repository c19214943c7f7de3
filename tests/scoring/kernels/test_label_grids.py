"""Labels misplaced as a whole: the kernels against plain loops, and laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from masksift.engine.label_transforms import add_transforms
from masksift.scoring.kernels.label_grids import CELLS, GRID_SIDE, find_transforms, sample_grids
from masksift.storage.tables.arrow import bytes_array
from reference.misplaced import find_misplaced
from support.condensed import a_few

PLACEMENTS = ["in place", "rolled", "left to right", "top to bottom", "rotated", "next", "ignored", "dropped"]

Planes = NDArray[np.unsignedinteger]


def scenes(rng: np.random.Generator, classes: int, images: int, height: int, width: int, dtype: str) -> Planes:
    """Labels of images, of which neighbors resemble each other, in blocks that a grid of 16 x 16 can show."""
    coarse = rng.integers(0, classes, (images, 6, 5))
    kept = rng.random(coarse.shape) < 0.3
    coarse[1:][kept[1:]] = coarse[:-1][kept[1:]]
    return coarse.repeat(-(-height // 6), axis=1).repeat(-(-width // 5), axis=2)[:, :height, :width].astype(dtype)


def misplaced(labels: Planes, placement: str, i: int, rng: np.random.Generator) -> Planes:
    """Labels of image i as an error would store them."""
    own = labels[i]
    if placement == "rolled":
        return np.roll(own, rng.integers(0, own.shape), axis=(0, 1))
    if placement == "next":
        return labels[min(i + 1, len(labels) - 1)]
    if placement == "dropped":
        return np.where(own == 0, own.dtype.type(1), own)
    steps = {"left to right": (1, -1), "top to bottom": (-1, 1), "rotated": (-1, -1)}.get(placement, (1, 1))
    moved = own[:: steps[0], :: steps[1]].copy()
    if placement == "ignored":
        moved[rng.random(own.shape) < rng.choice([0.45, 0.55, 1.0])] = np.iinfo(own.dtype).max
    return moved


@st.composite
def drawn(draw: st.DrawFn, classes: int | None = None) -> tuple[Planes, Planes]:
    """Labels and predicted classes (n, H, W) of consecutive images."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    dtype = draw(st.sampled_from(["uint8", "uint16"]))
    shape = draw(st.tuples(st.integers(1, 5), st.integers(15, 40), st.integers(15, 60)))
    truth = scenes(rng, classes or draw(st.integers(2, 6)), *shape, dtype)
    placements = draw(st.lists(st.sampled_from(PLACEMENTS), min_size=shape[0], max_size=shape[0]))
    labels = np.stack([misplaced(truth, placement, i, rng) for i, placement in enumerate(placements)])
    noise = rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.4]))
    return labels, np.where(noise, rng.permuted(truth, axis=0), truth)


def image_table(labels: Planes, predicted: Planes, source: list[int] | None = None) -> pa.Table:
    sizes = np.full((len(labels), 2), labels.shape[1:])
    source = source or [0] * len(labels)
    columns = {"source": [f"s{one}" for one in source], "height": sizes[:, 0], "width": sizes[:, 1]}
    return pa.table({**columns, "grids": bytes_array(sample_grids(labels, predicted, sizes))})


def transforms_of(*planes: Any) -> list[tuple[str | None, float | None]]:
    table = add_transforms(image_table(*planes))
    return list(zip(*(table[name].to_pylist() for name in ("suspected_transform", "transform_gain")), strict=True))


def as_lists(planes: Planes) -> Any:
    ignored = np.iinfo(planes.dtype).max
    return [[[None if v == ignored else v for v in row] for row in plane] for plane in planes.tolist()]


@a_few
@given(planes=st.one_of(drawn(), drawn(classes=2)))
def test_transforms_of_any_images_equal_the_reference(planes: tuple[Planes, Planes]) -> None:
    labels, predicted = planes
    assert transforms_of(labels, predicted) == find_misplaced(as_lists(labels), as_lists(predicted))


@a_few
@given(planes=drawn(), seed=st.integers(0, 99))
def test_transforms_do_not_depend_on_the_names_of_classes(planes: tuple[Planes, Planes], seed: int) -> None:
    labels, predicted = planes
    ignored = np.iinfo(labels.dtype).max
    names = np.append(np.random.default_rng(seed).permutation(ignored), ignored).astype(labels.dtype)
    assert transforms_of(names[labels], names[predicted]) == transforms_of(labels, predicted)


@a_few
@given(planes=drawn(), others=st.lists(st.integers(0, 4), max_size=4))
def test_transforms_do_not_depend_on_images_of_other_sources(planes: tuple[Planes, Planes], others: list[int]) -> None:
    labels, predicted = planes
    more = [i % len(labels) for i in others]
    order, source = [*more, *range(len(labels)), *more], [1] * len(more) + [0] * len(labels) + [2] * len(more)
    found = transforms_of(labels[order], predicted[order], source)
    assert found[len(more) : len(more) + len(labels)] == transforms_of(labels, predicted)


@pytest.mark.parametrize("name", ["flip(lr)", "flip(ud)", "rotate(180)", "roll(dy=-6, dx=12)", "roll(dy=24, dx=0)"])
def test_misplaced_labels_are_named(name: str) -> None:
    truth = scenes(np.random.default_rng(3), 4, 3, 48, 64, "uint8")
    labels = truth.copy()
    labels[1] = {
        "flip(lr)": truth[1, :, ::-1],
        "flip(ud)": truth[1, ::-1],
        "rotate(180)": truth[1, ::-1, ::-1],
        "roll(dy=-6, dx=12)": np.roll(truth[1], (-6, 12), (0, 1)),
        "roll(dy=24, dx=0)": np.roll(truth[1], 24, 0),
    }[name]
    found = transforms_of(labels, truth)
    assert [transform for transform, _ in found] == [None, name, None]
    gain = found[1][1]
    assert gain is not None
    assert gain > 0.3


def test_exchanged_labels_name_each_other() -> None:
    truth = scenes(np.random.default_rng(5), 4, 6, 48, 64, "uint16")
    found = transforms_of(truth[[0, 2, 1, 5, 4, 3]], truth)
    next_ones, second_next = ["neighbor(+1)", "neighbor(-1)"], ["neighbor(+2)", None, "neighbor(-2)"]
    assert [transform for transform, _ in found] == [None, *next_ones, *second_next]


def test_failed_prediction_of_a_video_frame_names_no_neighbor() -> None:
    frame = scenes(np.random.default_rng(7), 4, 1, 48, 64, "uint8").repeat(3, axis=0)
    predicted = frame.copy()
    predicted[1] = scenes(np.random.default_rng(8), 4, 1, 48, 64, "uint8")[0]
    frame[1, :6] = 3  # the frames differ a little
    assert transforms_of(frame, predicted) == [(None, None)] * 3


def test_small_images_and_ignored_ones_have_no_transform() -> None:
    labels = scenes(np.random.default_rng(0), 3, 2, 15, 64, "uint8")
    assert (sample_grids(labels, labels, np.array([[15, 64], [15, 64]]))[:, 0] == 255).all()
    ignored = np.full((2, 32, 32), 255, np.uint8)
    assert transforms_of(ignored, np.zeros_like(ignored)) == [(None, None)] * 2
    assert transforms_of(labels[:0], labels[:0]) == []


def test_grids_leave_out_padding_and_sizes_outside_the_image() -> None:
    labels = np.full((3, 40, 50), 255, np.uint8)
    labels[0, :32, :16] = np.arange(16)
    sizes = np.array([[32, 16], [40, 50], [99, -1]])
    grids = sample_grids(labels, labels, sizes)
    np.testing.assert_array_equal(grids[0, 0], np.broadcast_to(np.arange(16), (16, 16)))
    assert (grids[1:, 0] == 255).all()


def test_every_displacement_is_found_as_itself() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.integers(0, 9, (CELLS, GRID_SIDE, GRID_SIDE)).astype(np.uint8)
    labels = np.stack([np.roll(grid, divmod(n, GRID_SIDE), (0, 1)) for n, grid in enumerate(predicted)])
    transforms, cells = find_transforms(np.stack([labels, predicted], axis=1), np.arange(CELLS))
    assert transforms.tolist() == list(range(CELLS))
    assert (cells[:, [0, 2]] == CELLS).all()
