"""Pairs of large `.npy` arrays: read image by image, never as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.lib.format import open_memmap

from masksift.prepare.ingest.npy import header_of, read_image
from prepare.ingest.helpers import arrays, refused
from support.datasets import Data
from support.sources import masksift, plain

DATA = plain(images=5)


def saved(path: Path, data: Data = DATA) -> tuple[object, ...]:
    """The words of an ingest of the two arrays."""
    np.save(path / "labels.npy", data.labels)
    np.save(path / "pred_probs.npy", data.predictions)
    return (
        "--labels",
        path / "labels.npy",
        "--predictions",
        path / "pred_probs.npy",
        "--out",
        path / "new.zarr",
        "--ignore",
        255,
    )


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64"])
def test_two_arrays_come_through_as_they_are(tmp_path: Path, dtype: str) -> None:
    data = plain(images=5, dtype=dtype)
    assert masksift("ingest", *saved(tmp_path, data)) == 0
    found = arrays(tmp_path / "new.zarr")
    np.testing.assert_array_equal(found["predictions"], data.predictions)
    assert found["predictions"].dtype == dtype
    np.testing.assert_array_equal(found["labels"], data.labels)
    assert "image_id" not in found


def test_classes_may_come_last_and_labels_be_negative(tmp_path: Path) -> None:
    labels = DATA.labels.astype(np.int64)
    labels[labels == 255] = -1
    words = saved(tmp_path, Data(np.moveaxis(DATA.predictions, 1, -1), labels, ()))[:-2]
    assert masksift("ingest", *words, "--ignore", "-1") == 0
    found = arrays(tmp_path / "new.zarr")
    np.testing.assert_array_equal(found["predictions"], DATA.predictions)
    np.testing.assert_array_equal(found["labels"], DATA.labels)


def test_images_are_called_as_a_file_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ids.txt").write_text("a\nb\nc\nd\ne\n")
    words = (*saved(tmp_path), "--ids", tmp_path / "ids.txt")
    assert masksift("ingest", *words) == 0
    assert arrays(tmp_path / "new.zarr")["image_id"].tolist() == list("abcde")
    (tmp_path / "ids.txt").write_text("a\nb\nc\nd\na\n")
    refused("ids.txt names 4 images in 5 lines, and .*labels.npy holds 5", capsys, *words)


def test_one_image_is_read_without_its_neighbours(tmp_path: Path) -> None:
    """An array of which all but one image is a hole: eight GiB that no memory and no disk has to hold."""
    url = str(tmp_path / "large.npy")
    large = open_memmap(url, mode="w+", dtype=np.float32, shape=(2048, 4, 512, 512))
    large[1500, 2, 3] = 7
    large.flush()
    del large
    header = header_of(url, {})
    assert header.shape == (2048, 4, 512, 512)
    image = read_image(url, header, 1500, {})
    assert (image.shape, image.dtype, float(image.sum())) == ((4, 512, 512), np.float32, 7 * 512)


@pytest.mark.parametrize(
    ("labels", "predictions", "said"),
    [
        (DATA.labels[:4], DATA.predictions, "labels.npy holds 4 images, .*pred_probs.npy 5"),
        (DATA.labels[:, :, :9], DATA.predictions, "the label image 0 is 8 x 9, its prediction image 0 8 x 10"),
        (DATA.labels[0], DATA.predictions, r"labels.npy has the shape \(8, 10\); one image of it cannot be read alone"),
        (DATA.labels, np.asfortranarray(DATA.predictions), r"pred_probs.npy has the shape \(.*\) in Fortran's order"),
        (DATA.labels, DATA.predictions.astype("i8"), "predictions of image 0 are stored as int64"),
        (DATA.labels.astype("f4"), DATA.predictions, "labels.npy is stored as float32; class numbers are integers"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    tmp_path: Path, labels: np.ndarray, predictions: np.ndarray, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(said, capsys, *saved(tmp_path, Data(predictions, labels, ())))


def test_a_value_without_a_class_is_refused_with_the_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = DATA.labels.copy()
    labels[3, 0, 1] = 44
    refused(
        r"image 3 of .*labels.npy holds the value 44 at row 0, column 1 \(1 pixels",
        capsys,
        *saved(tmp_path, DATA._replace(labels=labels)),
    )


def test_an_array_beside_a_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = list(saved(tmp_path))
    words[3] = tmp_path
    refused("labels are one array .*, predictions are .*Give predictions as one .npy too", capsys, *words)
