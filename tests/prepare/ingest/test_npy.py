"""Labels and predictions as one large `.npy` array each, read image by image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.lib.format import open_memmap

from masksift.prepare.ingest.array_formats import read_header
from prepare.ingest.helpers import assert_ingest_fails, read_source
from support.cli import run_cli
from support.datasets import Array, Data
from support.sources import make_data

DATA = make_data(images=5)


def save_arrays(path: Path, data: Data = DATA, ignore: int = 255) -> tuple[object, ...]:
    """Write the two arrays and return the arguments of their ingest."""
    labels, predictions = path / "labels.npy", path / "pred_probs.npy"
    np.save(labels, data.labels)
    np.save(predictions, data.predictions)
    return ("--labels", labels, "--predictions", predictions, "--out", path / "new.zarr", "--ignore", ignore)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64"])
def test_arrays_are_written_unchanged(tmp_path: Path, dtype: str) -> None:
    data = make_data(images=5, dtype=dtype)
    assert run_cli("ingest", *save_arrays(tmp_path, data)) == 0
    arrays = read_source(tmp_path / "new.zarr")
    np.testing.assert_array_equal(arrays["predictions"], data.predictions)
    assert arrays["predictions"].dtype == dtype
    np.testing.assert_array_equal(arrays["labels"], data.labels)
    assert "image_id" not in arrays


def test_array_whose_path_has_wildcards_is_read(tmp_path: Path) -> None:
    (tmp_path / "a[1]*").mkdir()
    assert run_cli("ingest", *save_arrays(tmp_path / "a[1]*")) == 0
    np.testing.assert_array_equal(read_source(tmp_path / "a[1]*/new.zarr")["labels"], DATA.labels)


def test_classes_may_be_the_last_axis_and_labels_negative(tmp_path: Path) -> None:
    labels = np.where(DATA.labels == 255, -1, DATA.labels.astype(np.int64))
    args = save_arrays(tmp_path, Data(np.moveaxis(DATA.predictions, 1, -1), labels, ()), ignore=-1)
    assert run_cli("ingest", *args) == 0
    arrays = read_source(tmp_path / "new.zarr")
    np.testing.assert_array_equal(arrays["predictions"], DATA.predictions)
    np.testing.assert_array_equal(arrays["labels"], DATA.labels)


def test_ids_file_names_the_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ids.txt").write_text("a\nb\nc\nd\ne\n")
    args = (*save_arrays(tmp_path), "--ids", tmp_path / "ids.txt")
    assert run_cli("ingest", *args) == 0
    assert read_source(tmp_path / "new.zarr")["image_id"].tolist() == list("abcde")
    (tmp_path / "ids.txt").write_text("a\nb\nc\nd\na\n")
    assert_ingest_fails("ids.txt has 4 image ids in 5 lines, but .*labels.npy holds 5 images", capsys, *args)


def test_read_image_reads_one_image_of_a_sparse_8_gib_array(tmp_path: Path) -> None:
    url = str(tmp_path / "large.npy")
    large = open_memmap(url, mode="w+", dtype=np.float32, shape=(2048, 4, 512, 512))
    large[1500, 2, 3] = 7
    large.flush()
    del large
    array = read_header(url, {})
    assert array.shape == (2048, 4, 512, 512)
    image = list(array.images())[1500].read({})
    assert (image.shape, image.dtype, float(image.sum())) == ((4, 512, 512), np.float32, 7 * 512)


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        (DATA.labels[:4], DATA.predictions, "labels.npy holds 4 images, .*pred_probs.npy 5"),
        (DATA.labels[:, :, :9], DATA.predictions, "Label image 0 is 8 x 9, its prediction image 0 is 8 x 10"),
        (
            DATA.labels[0],
            DATA.predictions,
            r"pred_probs.npy holds 5 images without names..* Pass --ids",
        ),
        (
            DATA.labels,
            np.asfortranarray(DATA.predictions),
            r"pred_probs.npy has the shape \(.*\) and is not in C",
        ),
        (DATA.labels, DATA.predictions.astype("i8"), "Predictions of image 0 are stored as int64"),
        (
            DATA.labels.astype("f4"),
            DATA.predictions,
            r"labels.npy has the shape .* dtype float32, but labels are",
        ),
        (np.where(np.arange(5)[:, None, None] == 3, 44, DATA.labels), DATA.predictions, r"mage 3 of .*the value 44"),
    ],
)
def test_invalid_arrays_are_refused(
    tmp_path: Path, labels: Array, predictions: Array, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_ingest_fails(message, capsys, *save_arrays(tmp_path, Data(predictions, labels, ())))


def test_array_with_a_directory_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = list(save_arrays(tmp_path))
    args[3] = tmp_path
    message = "labels.npy holds 5 images without names. They cannot be matched by name with .* Pass --ids FILE"
    assert_ingest_fails(message, capsys, *args)
