"""Predictions of every format become one array order; ambiguous or incomplete ones are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prepare.ingest.helpers import NAMES, InputFiles, assert_ingest_fails, ingest, read_source, save_image
from support.datasets import Array
from support.sources import make_data


@pytest.fixture
def inputs(tmp_path: Path) -> InputFiles:
    return InputFiles(tmp_path, make_data(images=3))


@pytest.fixture
def square(tmp_path: Path) -> InputFiles:
    """Images of 4 x 4 pixels and 4 classes."""
    return InputFiles(tmp_path, make_data(images=2, height=4, width=4))


def assert_predictions_equal(inputs: InputFiles) -> None:
    np.testing.assert_array_equal(read_source(inputs.out)["predictions"], inputs.data.predictions)


# ---------------------------------------------------------------------------------------------------------- arrays


def test_classes_may_be_the_last_axis(inputs: InputFiles) -> None:
    inputs.save_predictions(np.moveaxis(inputs.data.predictions, 1, -1))
    assert ingest(inputs) == 0
    assert_predictions_equal(inputs)


def test_arrays_may_have_any_byte_order_memory_order_and_a_leading_axis(inputs: InputFiles) -> None:
    first, second, third = inputs.data.predictions
    inputs.save_predictions([first.astype(">f4"), np.asfortranarray(second), third[None]])
    assert ingest(inputs) == 0
    assert_predictions_equal(inputs)


def test_ambiguous_axes_are_refused_without_axes(square: InputFiles, capsys: pytest.CaptureFixture[str]) -> None:
    message = r"scene_00.npy have the shape \(4, 4, 4\). Classes could be the first or the last axis. Pass --axes"
    assert_ingest_fails(message, capsys, *square.args())
    assert ingest(square, "--axes", "class,y,x") == 0
    assert_predictions_equal(square)


def test_one_unambiguous_image_determines_the_axes_of_all(square: InputFiles) -> None:
    save_image(square.labels / "wide.png", np.zeros((4, 6), np.uint8))
    square.save("wide.npy", np.full((4, 4, 6), 0.25, np.float32))
    assert ingest(square, "--pad") == 0
    np.testing.assert_array_equal(read_source(square.out)["predictions"][:2, :, :, :4], square.data.predictions)


@pytest.mark.parametrize("name", ["predictions", "pred_probs", "probs", "logits", "anything"])
def test_npz_is_read_by_array_name(inputs: InputFiles, name: str) -> None:
    inputs.remove_predictions()
    for image, prediction in zip(inputs.names, inputs.data.predictions, strict=True):
        more = {} if name == "anything" else {"features": np.zeros(3)}
        np.savez_compressed(inputs.predictions / f"{image}.npz", **{name: prediction}, **more)
    assert ingest(inputs) == 0
    assert_predictions_equal(inputs)


def test_npz_with_unknown_array_names_is_refused(inputs: InputFiles, capsys: pytest.CaptureFixture[str]) -> None:
    inputs.remove_predictions()
    np.savez(inputs.predictions / "scene_00.npz", a=np.zeros(3), b=np.zeros(3))
    message = "scene_00.npz holds the arrays a, b, .*Name the predictions 'predictions'"
    assert_ingest_fails(message, capsys, *inputs.args())


@pytest.mark.parametrize(
    ("prediction", "flags", "message"),
    [
        (np.zeros((8, 10), "f4"), (), r"scene_01.npy have the shape \(8, 10\), but three axes are required"),
        (np.zeros((4, 8, 10), "i8"), (), r"scene_01.npy are stored as int64. Write them as uint8"),
        (np.zeros((4, 8, 10), "f8"), (), r"scene_01.npy are float64, those of .*scene_00.npy are float32"),
        (np.zeros((5, 8, 10), "f4"), (), r"scene_00.npy predicts 4 classes, .*scene_01.npy predicts 5"),
        (np.zeros((5, 8, 10), "f4"), ("--classes", "a,b,c,d"), r"the shape \(5, 8, 10\), but there are 4 classes"),
        (np.array([{}]), (), r"scene_01.npy cannot be read as an array \(it holds Python objects"),
    ],
)
def test_unusable_predictions_are_refused_before_anything_is_written(
    inputs: InputFiles, prediction: Array, flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs.save("scene_01.npy", prediction)
    assert_ingest_fails(message, capsys, *inputs.args(*flags))
    assert not inputs.out.exists()


@pytest.mark.parametrize("size", [300, 0])
def test_truncated_array_is_refused(inputs: InputFiles, size: int, capsys: pytest.CaptureFixture[str]) -> None:
    file = inputs.predictions / "scene_02.npy"
    file.write_bytes(file.read_bytes()[:size])
    assert_ingest_fails("scene_02.npy cannot be read as an array", capsys, *inputs.args())


# ---------------------------------------------------------------------------------------------------------- images


def save_class_numbers(inputs: InputFiles, dtype: str = "uint8") -> Array:
    """Replace the arrays by images of class numbers, and return the numbers."""
    numbers = inputs.data.predictions.argmax(axis=1).astype(dtype)
    inputs.remove_predictions()
    for name, plane in zip(inputs.names, numbers, strict=True):
        save_image(inputs.predictions / f"{name}.png", plane)
    return numbers


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_class_numbers_become_probabilities_of_1(
    inputs: InputFiles, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = save_class_numbers(inputs, dtype)
    assert ingest(inputs, "--classes", ",".join(NAMES)) == 0
    predictions = read_source(inputs.out)["predictions"]
    assert set(np.unique(predictions)) == {0, 255}
    np.testing.assert_array_equal(predictions.argmax(axis=1), numbers)
    np.testing.assert_array_equal(predictions.sum(axis=1), 255)
    assert "predictions are class numbers, written as probabilities of 1" in capsys.readouterr().out


def test_class_numbers_require_matching_classes(inputs: InputFiles, capsys: pytest.CaptureFixture[str]) -> None:
    save_class_numbers(inputs)
    message = "redictions in .* are class numbers, but the number of classes is unknown"
    assert_ingest_fails(message, capsys, *inputs.args())
    plane = np.zeros((8, 10), np.uint8)
    plane[3, 4] = 4
    save_image(inputs.predictions / "scene_00.png", plane)
    message = r"scene_00.png predicts class 4 at row 3, column 4, but there are 4 classes"
    assert_ingest_fails(message, capsys, *inputs.args("--classes", ",".join(NAMES)))


@pytest.mark.parametrize(("dtype", "class_names"), [("uint8", NAMES), ("uint16", ("0", "1", "2", "3"))])
def test_grayscale_image_per_class_is_read_in_class_order(
    tmp_path: Path, dtype: str, class_names: tuple[str, ...]
) -> None:
    inputs = InputFiles(tmp_path, make_data(images=3, dtype=dtype))
    inputs.remove_predictions()
    for name, prediction in zip(inputs.names, inputs.data.predictions, strict=True):
        for class_name, plane in zip(class_names, prediction, strict=True):
            save_image(inputs.predictions / name / f"{class_name}.png", plane)
    assert ingest(inputs, *(("--classes", ",".join(NAMES)) if class_names == NAMES else ())) == 0
    assert read_source(inputs.out)["predictions"].dtype == dtype
    assert_predictions_equal(inputs)
    assert read_source(inputs.out)["image_id"].tolist() == inputs.names


def test_missing_or_colored_class_image_is_refused(inputs: InputFiles, capsys: pytest.CaptureFixture[str]) -> None:
    inputs.remove_predictions()
    for name in inputs.names:
        for k in range(4):
            save_image(inputs.predictions / name / f"{k}.png", np.zeros((8, 10), np.uint8))
    (inputs.predictions / "scene_01" / "2.png").unlink()
    message = r"scene_01 in .* holds 3 of 4 classes and lacks class 2"
    assert_ingest_fails(message, capsys, *inputs.args())
    save_image(inputs.predictions / "scene_01" / "2.png", np.full((8, 10, 3), (1, 2, 3), np.uint8))
    inputs.labels.joinpath("scene_00.png").unlink()
    message = r"scene_01/2.png has shape \(8, 10, 3\) .*grayscale images"
    assert_ingest_fails(message, capsys, *inputs.args())


def test_arrays_and_images_in_one_directory_are_refused(inputs: InputFiles, capsys: pytest.CaptureFixture[str]) -> None:
    save_image(inputs.predictions / "shown.png", np.zeros((8, 10), np.uint8))
    message = r"holds arrays and images \(scene_00.npy and shown.png\).* Use a glob"
    assert_ingest_fails(message, capsys, *inputs.args())
