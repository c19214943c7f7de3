"""Sizes that differ are refused with both files, unless it is said what to do about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masksift.prepare.ingest.raster import resize_nearest
from prepare.ingest.helpers import Folder, arrays, ingest, refused, save_image
from support.sources import masksift, plain, rows, write_source


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, plain(images=3))


@pytest.fixture
def halves(folder: Folder) -> Folder:
    """Predictions of half the size of their labels."""
    for name, prediction in zip(folder.names, folder.data.predictions, strict=True):
        folder.save(f"{name}.npy", prediction[:, ::2, ::2])
    return folder


def test_predictions_of_another_size_are_refused_with_both_files(
    halves: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(
        r"the label .*_00.png is 8 x 10, its prediction .*_00.npy 4 x 5; .*--resize predictions .*or --resize",
        capsys,
        *halves.words("--ignore", 255),
    )
    assert not halves.out.exists()


def test_labels_are_brought_to_the_predictions_by_the_nearest_pixel(halves: Folder) -> None:
    assert ingest(halves, "--resize", "labels", "--axes", "class,y,x") == 0
    found = arrays(halves.out)
    assert found["labels"].shape == (3, 4, 5)
    np.testing.assert_array_equal(found["predictions"], halves.data.predictions[:, :, ::2, ::2])
    # the centre of each large pixel lies on the corner of four small ones; it takes the one below and to the right
    np.testing.assert_array_equal(found["labels"], halves.data.labels[:, 1::2, 1::2])


def test_the_nearest_pixel_of_an_odd_share() -> None:
    plane = np.arange(6).reshape(1, 6)
    assert resize_nearest(plane, (1, 3)).tolist() == [[1, 3, 5]]
    assert resize_nearest(plane, (2, 9))[0].tolist() == [0, 1, 1, 2, 3, 3, 4, 5, 5]
    assert resize_nearest(plane, (1, 6)).tolist() == plane.tolist()


@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_predictions_are_brought_to_the_labels_class_by_class(halves: Folder, kind: str) -> None:
    small = halves.data.predictions[:, :, ::2, ::2]
    assert ingest(halves, "--resize", "predictions", "--kind", kind, "--axes", "class,y,x") == 0
    found = arrays(halves.out)["predictions"]
    expected = np.stack(
        [
            [np.asarray(Image.fromarray(plane).resize((10, 8), Image.Resampling.BILINEAR)) for plane in image]
            for image in small
        ]
    )
    if kind == "probabilities":
        expected /= expected.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(arrays(halves.out)["labels"], halves.data.labels)


def test_integers_are_integers_again_after_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path, plain(images=2, dtype="uint8"))
    for name, prediction in zip(folder.names, folder.data.predictions, strict=True):
        folder.save(f"{name}.npy", prediction[:, ::2, ::2])
    assert ingest(folder, "--resize", "predictions", "--axes", "class,y,x") == 0
    found = arrays(folder.out)["predictions"]
    assert (found.dtype, found.shape) == (np.uint8, (2, 4, 8, 10))
    assert np.abs(found.sum(axis=1, dtype=int) - 255).max() <= 2


def test_images_of_several_sizes_are_refused_with_both_files(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(folder.labels / "small.png", folder.data.labels[0, :5, :7])
    folder.save("small.npy", folder.data.predictions[0, :, :5, :7])
    refused(r"scene_00.png is 8 x 10, .*small.png 5 x 7; .*--pad", capsys, *folder.words("--ignore", 255))


def test_padded_images_are_scored_as_if_they_lay_alone(folder: Folder, tmp_path: Path) -> None:
    labels, predictions = folder.data.labels[0, :5, :7], folder.data.predictions[0, :, :5, :7]
    save_image(folder.labels / "small.png", labels)
    folder.save("small.npy", predictions)
    assert ingest(folder, "--pad") == 0
    found = arrays(folder.out)
    assert (found["height"].tolist(), found["width"].tolist()) == ([8, 8, 8, 5], [10, 10, 10, 7])
    assert found["image_id"].tolist() == [*folder.names, "small"]
    np.testing.assert_array_equal(found["labels"][3, :5, :7], labels)
    assert set(found["labels"][3, 5:].ravel()) == {255}

    write_source(tmp_path / "large.zarr", folder.data)
    write_source(tmp_path / "small.zarr", folder.data._replace(labels=labels[None], predictions=predictions[None]))
    sources = (tmp_path / "large.zarr", "--source", tmp_path / "small.zarr")
    assert masksift("run", "--source", *sources, "--out", tmp_path / "apart") == 0
    assert masksift("run", "--source", folder.out, "--out", tmp_path / "padded") == 0
    names = ("ccp", "softmin", "clc", "coco", "valid_pixels", "status")
    apart, padded = ([[row[name] for name in names] for row in rows(tmp_path / out)] for out in ("apart", "padded"))
    assert padded == apart


def test_equal_sizes_are_not_padded(folder: Folder) -> None:
    assert ingest(folder, "--pad") == 0
    assert sorted(arrays(folder.out)) == ["image_id", "labels", "predictions"]


def test_pictures_have_the_size_of_their_labels(
    folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in folder.names:
        save_image(tmp_path / "pictures" / f"{name}.png", np.full((16, 20, 3), 9, np.uint8))
    words = ("--images", tmp_path / "pictures")
    refused(
        r"scene_00.png is 8 x 10, its picture .*pictures/scene_00.png 16 x 20",
        capsys,
        *folder.words("--ignore", 255, *words),
    )
    assert ingest(folder, *words, "--resize", "labels") == 0
    np.testing.assert_array_equal(arrays(folder.out)["images"], np.full((3, 8, 10, 3), 9, np.uint8))
