"""Inputs of different sizes are refused with both files, unless --resize or --pad says what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prepare.ingest.helpers import InputFiles, assert_ingest_fails, ingest, read_source, save_image
from support.cli import run_cli
from support.results import read_rows
from support.sources import make_data, write_source


@pytest.fixture
def inputs(tmp_path: Path) -> InputFiles:
    return InputFiles(tmp_path, make_data(images=3))


@pytest.fixture
def half_size(inputs: InputFiles) -> InputFiles:
    """Predictions of half the size of their labels."""
    inputs.save_predictions(inputs.data.predictions[:, :, ::2, ::2])
    return inputs


@pytest.fixture
def with_small_image(inputs: InputFiles) -> InputFiles:
    """A fourth image of 5 x 7 pixels."""
    save_image(inputs.labels / "small.png", inputs.data.labels[0, :5, :7])
    inputs.save("small.npy", inputs.data.predictions[0, :, :5, :7])
    return inputs


def test_predictions_of_another_size_are_refused(half_size: InputFiles, capsys: pytest.CaptureFixture[str]) -> None:
    message = r"abel .*_00.png is 8 x 10, its prediction .*_00.npy is 4 x 5. .*--resize predictions .*or --resize"
    assert_ingest_fails(message, capsys, *half_size.args())
    assert not half_size.out.exists()


def test_resize_labels_takes_the_nearest_pixel(half_size: InputFiles) -> None:
    assert ingest(half_size, "--resize", "labels", "--axes", "class,y,x") == 0
    arrays = read_source(half_size.out)
    assert arrays["labels"].shape == (3, 4, 5)
    np.testing.assert_array_equal(arrays["predictions"], half_size.data.predictions[:, :, ::2, ::2])
    # the center of each large pixel is the corner of four small ones; it takes the one below and to the right
    np.testing.assert_array_equal(arrays["labels"], half_size.data.labels[:, 1::2, 1::2])


@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_resize_predictions_interpolates_each_class(half_size: InputFiles, kind: str) -> None:
    small = half_size.data.predictions[:, :, ::2, ::2]
    assert ingest(half_size, "--resize", "predictions", "--kind", kind, "--axes", "class,y,x") == 0
    arrays = read_source(half_size.out)
    expected = np.stack(
        [
            [np.asarray(Image.fromarray(plane).resize((10, 8), Image.Resampling.BILINEAR)) for plane in image]
            for image in small
        ]
    )
    if kind == "probabilities":
        expected /= expected.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(arrays["predictions"].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(arrays["predictions"], expected, rtol=1e-6)
    np.testing.assert_array_equal(arrays["labels"], half_size.data.labels)


def test_resize_predictions_keeps_integers(tmp_path: Path) -> None:
    inputs = InputFiles(tmp_path, make_data(images=2, dtype="uint8"))
    inputs.save_predictions(inputs.data.predictions[:, :, ::2, ::2])
    assert ingest(inputs, "--resize", "predictions", "--axes", "class,y,x") == 0
    predictions = read_source(inputs.out)["predictions"]
    assert (predictions.dtype, predictions.shape) == (np.uint8, (2, 4, 8, 10))
    assert np.abs(predictions.sum(axis=1, dtype=int) - 255).max() <= 2


def test_images_of_several_sizes_are_refused_without_pad(
    with_small_image: InputFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    message = r"scene_00.png is 8 x 10, .*small.png is 5 x 7. .*--pad"
    assert_ingest_fails(message, capsys, *with_small_image.args())


def test_padded_images_score_as_unpadded_ones(with_small_image: InputFiles, tmp_path: Path) -> None:
    inputs, data = with_small_image, with_small_image.data
    labels, predictions = data.labels[0, :5, :7], data.predictions[0, :, :5, :7]
    assert ingest(inputs, "--pad") == 0
    arrays = read_source(inputs.out)
    assert (arrays["height"].tolist(), arrays["width"].tolist()) == ([8, 8, 8, 5], [10, 10, 10, 7])
    assert arrays["image_id"].tolist() == [*inputs.names, "small"]
    np.testing.assert_array_equal(arrays["labels"][3, :5, :7], labels)
    assert set(arrays["labels"][3, 5:].ravel()) == {255}

    write_source(tmp_path / "large.zarr", data)
    write_source(tmp_path / "small.zarr", data._replace(labels=labels[None], predictions=predictions[None]))
    unpadded = (tmp_path / "large.zarr", "--source", tmp_path / "small.zarr")
    assert run_cli("run", "--source", *unpadded, "--out", tmp_path / "unpadded") == 0
    assert run_cli("run", "--source", inputs.out, "--out", tmp_path / "padded") == 0
    columns = ("ccp", "softmin", "clc", "coco", "valid_pixels", "status")
    scored = [[[row[name] for name in columns] for row in read_rows(tmp_path / out)] for out in ("unpadded", "padded")]
    assert scored[0] == scored[1]


def test_pad_of_equal_sizes_writes_no_sizes(inputs: InputFiles) -> None:
    assert ingest(inputs, "--pad") == 0
    assert sorted(read_source(inputs.out)) == ["image_id", "labels", "predictions"]


def test_rgb_images_of_another_size_are_refused_without_resize(
    inputs: InputFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in inputs.names:
        save_image(tmp_path / "images" / f"{name}.png", np.full((16, 20, 3), 9, np.uint8))
    flags = ("--images", tmp_path / "images")
    message = r"scene_00.png is 8 x 10, its image .*images/scene_00.png is 16 x 20"
    assert_ingest_fails(message, capsys, *inputs.args(*flags))
    assert ingest(inputs, *flags, "--resize", "labels") == 0
    np.testing.assert_array_equal(read_source(inputs.out)["images"], np.full((3, 8, 10, 3), 9, np.uint8))
