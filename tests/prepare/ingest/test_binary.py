"""Data sets of two classes: a plane of the positive class per image, and masks of 0 and 255."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from prepare.ingest.helpers import assert_ingest_fails, read_source, save_image
from support.cli import run_cli
from support.datasets import Array
from support.results import read_rows

RNG = np.random.default_rng(3)
POSITIVE = (0.02 + 0.96 * RNG.random((4, 8, 10))).astype(np.float32)
LABELS = (POSITIVE > 0.5).astype(np.uint8)
LABELS[1, :3] = 1
LOGITS = np.log(POSITIVE / (1 - POSITIVE))


def write_files(
    directory: Path, predictions: Array, labels: Array = LABELS, save: Callable[[str, Array], Any] | None = None
) -> tuple[object, ...]:
    """Write a mask and a prediction per image, and return the arguments of their ingest."""
    (directory / "p").mkdir(parents=True, exist_ok=True)
    for i, (label, prediction) in enumerate(zip(labels, predictions, strict=True)):
        save_image(directory / "l" / f"{i}.png", label)
        if save is None:
            np.save(directory / "p" / f"{i}.npy", prediction)
        else:
            save(str(directory / "p" / f"{i}"), prediction)
    return ("--labels", directory / "l", "--predictions", directory / "p", "--out", directory / "new.zarr")


def save_png(path: str, prediction: Array) -> None:
    save_image(Path(f"{path}.png"), prediction)


def assert_written(directory: Path, predictions: Array, labels: Array = LABELS) -> None:
    arrays = read_source(directory / "new.zarr")
    np.testing.assert_array_equal(arrays["predictions"], predictions)
    np.testing.assert_array_equal(arrays["labels"], labels)
    assert arrays["predictions"].dtype == predictions.dtype


def complete(positive: Array, one: Any = 1) -> Array:
    return np.stack([one - positive, positive], axis=1).astype(positive.dtype)


@pytest.mark.parametrize("axes", [(), (0,), (2,), (0, 1), (0, 3)])
def test_plane_of_the_positive_class_becomes_two_classes(tmp_path: Path, axes: tuple[int, ...]) -> None:
    args = write_files(tmp_path, [np.expand_dims(one, axes) for one in POSITIVE])  # type: ignore[arg-type]
    assert run_cli("ingest", *args) == 0
    assert_written(tmp_path, complete(POSITIVE))
    assert zarr.open_group(tmp_path / "new.zarr").attrs["class_names"] == ["background", "foreground"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("save", [save_png, None])
def test_integer_plane_is_a_probability_in_steps(tmp_path: Path, dtype: str, save: Any) -> None:
    top = np.iinfo(dtype).max
    steps = (POSITIVE * top).round().astype(dtype)
    assert run_cli("ingest", *write_files(tmp_path, steps, save=save), "--classes", "other,road") == 0
    assert_written(tmp_path, complete(steps, top))
    attributes = zarr.open_group(tmp_path / "new.zarr").attrs
    assert attributes["scale"] == 1 / top
    assert attributes["class_names"] == ["other", "road"]


@pytest.mark.parametrize("save", [save_png, None])
@pytest.mark.parametrize("classes", [(), ("--classes", "a,b")])
def test_integer_plane_of_0_and_1_holds_class_numbers(tmp_path: Path, save: Any, classes: tuple[str, ...]) -> None:
    numbers = (POSITIVE > 0.5).astype(np.uint8)
    assert run_cli("ingest", *write_files(tmp_path, numbers, save=save), *classes) == 0
    assert_written(tmp_path, complete(numbers * np.uint8(255), np.uint8(255)))


@pytest.mark.parametrize("dtype", [bool, np.int64])
def test_plane_of_signed_integers_or_booleans_holds_class_numbers(tmp_path: Path, dtype: type) -> None:
    numbers = (POSITIVE > 0.5).astype(dtype)
    assert run_cli("ingest", *write_files(tmp_path, numbers)) == 0
    assert_written(tmp_path, complete(numbers.astype(np.uint8) * np.uint8(255), np.uint8(255)))


def test_thresholded_image_of_0_and_255_is_certain(tmp_path: Path) -> None:
    steps = (POSITIVE > 0.5) * np.uint8(255)
    assert run_cli("ingest", *write_files(tmp_path, steps, save=save_png)) == 0
    assert_written(tmp_path, complete(steps, np.uint8(255)))


def test_logits_of_the_positive_class_have_a_background_of_zero(tmp_path: Path) -> None:
    assert run_cli("ingest", *write_files(tmp_path, LOGITS), "--kind", "logits") == 0
    assert_written(tmp_path, np.stack([np.zeros_like(LOGITS), LOGITS], axis=1))


@pytest.mark.parametrize("shape", [(4, 8, 10), (4, 1, 8, 10), (4, 8, 10, 1)])
def test_arrays_of_all_images_may_hold_the_positive_class(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "labels.npy", LABELS.astype(bool))
    np.save(tmp_path / "predictions.npy", POSITIVE.reshape(shape))
    args = ("--labels", tmp_path / "labels.npy", "--predictions", tmp_path / "predictions.npy")
    assert run_cli("ingest", *args, "--out", tmp_path / "new.zarr") == 0
    assert_written(tmp_path, complete(POSITIVE))


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_axis_of_length_1_of_several_classes_is_dropped(tmp_path: Path, axis: int) -> None:
    """Read predictions as nnU-Net exports them, (K, 1, H, W)."""
    predictions = complete(POSITIVE)
    args = write_files(tmp_path, [np.expand_dims(one, axis) for one in predictions])  # type: ignore[arg-type]
    assert run_cli("ingest", *args) == 0
    assert_written(tmp_path, predictions)


def test_integer_plane_of_more_classes_holds_class_numbers(tmp_path: Path) -> None:
    numbers = RNG.integers(0, 3, (4, 8, 10))
    assert run_cli("ingest", *write_files(tmp_path, numbers), "--classes", "a,b,c") == 0
    np.testing.assert_array_equal(read_source(tmp_path / "new.zarr")["predictions"].argmax(axis=1), numbers)


def test_resized_plane_equals_the_resized_classes(tmp_path: Path) -> None:
    small = POSITIVE[:, ::2, ::2]
    for name, predictions in (("one", small), ("two", complete(small))):
        args = write_files(tmp_path / name, predictions)
        assert run_cli("ingest", *args, "--resize", "predictions", "--classes", "a,b") == 0
    one, two = (read_source(tmp_path / name / "new.zarr")["predictions"] for name in ("one", "two"))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_numbered_frames_in_a_directory_are_images_and_no_classes(tmp_path: Path) -> None:
    steps = (POSITIVE * 255).round().astype(np.uint8)
    for i in range(4):
        save_image(tmp_path / f"l/scene/{i}.png", LABELS[i])
        save_image(tmp_path / f"p/scene/{i}.png", steps[i])
    args = ("--labels", tmp_path / "l", "--predictions", tmp_path / "p", "--out", tmp_path / "new.zarr")
    assert run_cli("ingest", *args) == 0
    assert_written(tmp_path, complete(steps, 255))


# ---------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("predictions", [POSITIVE, complete(POSITIVE)])
def test_masks_of_0_and_255_are_classes_0_and_1(
    tmp_path: Path, predictions: Array, capsys: pytest.CaptureFixture[str]
) -> None:
    args = write_files(tmp_path, predictions, LABELS * np.uint8(255))
    assert run_cli("ingest", *args) == 0
    assert "label value 255 is class 1\n" in capsys.readouterr().out
    assert_written(tmp_path, complete(POSITIVE))


def test_masks_with_another_ignored_value_are_classes_0_and_1(tmp_path: Path) -> None:
    masks = LABELS * np.uint8(255)
    masks[2, 0] = 128
    assert run_cli("ingest", *write_files(tmp_path, POSITIVE, masks), "--ignore", 128) == 0
    assert_written(tmp_path, complete(POSITIVE), np.where(masks == 128, np.uint8(255), LABELS))


def test_255_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    masks = LABELS * np.uint8(255)
    assert run_cli("ingest", *write_files(tmp_path, POSITIVE, masks), "--ignore", 255) == 0
    assert_written(tmp_path, complete(POSITIVE), masks)


def test_255_beside_1_is_no_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = LABELS.copy()
    masks[3, 0] = 255
    args = write_files(tmp_path, POSITIVE, masks)
    assert run_cli("ingest", *args) in (2, 5)
    assert "3.png holds the value 255 at row 0" in capsys.readouterr().err


def test_255_of_more_classes_is_no_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions = np.concatenate([complete(POSITIVE) / 2, POSITIVE[:, None] * 0 + 0.5], axis=1)
    args = write_files(tmp_path, predictions, LABELS * np.uint8(255))
    assert_ingest_fails(r"0.png holds the value 255", capsys, *args)


# -------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("values", "shown"), [((0, 1, 255), "0, 1, 255"), ((0, 1, 2), "0, 1, 2"), ((0, 7), "0, 7"), ((0, 100), "0, 100")]
)
def test_integers_that_are_neither_numbers_nor_probabilities_are_refused(
    tmp_path: Path, values: tuple[int, ...], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions = np.array(values, np.uint8)[np.arange(320).reshape(4, 8, 10) % len(values)]
    args = write_files(tmp_path, predictions, save=save_png)
    message = rf"hold the values {shown}\. They are neither the class numbers 0 and 1 nor probabilities .*Pass --scale"
    assert_ingest_fails(message, capsys, *args)
    if max(values) == 100:
        assert run_cli("ingest", *args, "--scale", 0.01) == 0
        assert_written(tmp_path, complete(predictions, np.uint8(100)))


def test_class_numbers_of_labels_with_more_classes_need_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = LABELS.copy()
    labels[3, 0] = 5
    args = write_files(tmp_path, LABELS, labels, save_png)
    assert_ingest_fails("class numbers, but the number of classes is unknown", capsys, *args)


def test_plane_of_another_size_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = write_files(tmp_path, POSITIVE[:, :4])
    assert_ingest_fails(r"0.png is 8 x 10, its prediction .*0.npy is 4 x 10", capsys, *args)


# ----------------------------------------------------------------------------------------------------------- runs


def test_run_on_an_ingested_plane_equals_a_run_on_the_array(tmp_path: Path) -> None:
    assert run_cli("ingest", *write_files(tmp_path, POSITIVE, LABELS * np.uint8(255))) == 0
    group = zarr.open_group(tmp_path / "array.zarr", mode="w", attributes={"ignore": [255]})
    for name, values in (("predictions", POSITIVE), ("labels", LABELS)):
        array = group.create_array(name, shape=values.shape, chunks=(1, 8, 10), dtype=values.dtype)
        array.with_config({"write_empty_chunks": True})[:] = values
    for name in ("new", "array"):
        assert run_cli("run", "--source", tmp_path / f"{name}.zarr", "--out", tmp_path / name) == 0
    scores = [[row["softmin"] for row in read_rows(tmp_path / name)] for name in ("new", "array")]
    assert scores[0] == scores[1]
