"""Label files of a directory: which are read, and in which formats."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prepare.ingest.helpers import InputFiles, assert_ingest_fails, ingest, read_by_id, read_source, save_image
from support.cli import run_cli
from support.datasets import Array
from support.sources import make_data


@pytest.fixture
def inputs(tmp_path: Path) -> InputFiles:
    return InputFiles(tmp_path)


def replace_labels(inputs: InputFiles, save: Callable[[Path, Array], Any]) -> None:
    """Write every label file again."""
    for name, label in zip(inputs.names, inputs.data.labels, strict=True):
        (inputs.labels / f"{name}.png").unlink()
        save(inputs.labels / name, label)


def assert_labels_equal(inputs: InputFiles) -> None:
    for (_, label), expected in zip(read_by_id(inputs.out).values(), inputs.data.labels, strict=True):
        np.testing.assert_array_equal(label, expected)


FORMATS: dict[str, Callable[[Path, Array], Any]] = {
    "npy": lambda path, label: np.save(f"{path}.npy", label),
    "npy of int64": lambda path, label: np.save(f"{path}.npy", label.astype(np.int64)),
    "npy in big-endian Fortran order": lambda path, label: np.save(f"{path}.npy", np.asfortranarray(label, ">u2")),
    "npy with an axis of length 1": lambda path, label: np.save(f"{path}.npy", label[None, ..., None]),
    "npz": lambda path, label: np.savez(f"{path}.npz", label),
    "npz of several arrays": lambda path, label: np.savez(f"{path}.npz", image=label + 1, mask=label),
    "bmp": lambda path, label: Image.fromarray(label).save(f"{path}.bmp"),
    "lossless webp": lambda path, label: Image.fromarray(label).convert("RGB").save(f"{path}.webp", lossless=True),
    "gray RGB": lambda path, label: Image.fromarray(label).convert("RGB").save(f"{path}.png"),
    "opaque gray RGBA": lambda path, label: Image.fromarray(label).convert("RGBA").save(f"{path}.tif"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_labels_of_any_lossless_format_are_equal(inputs: InputFiles, name: str) -> None:
    replace_labels(inputs, FORMATS[name])
    assert ingest(inputs) == 0
    assert_labels_equal(inputs)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.zeros((8, 10), np.float32), r"scene_00.npy has the shape \(8, 10\) and the dtype float32"),
        (np.zeros((4, 8, 10), np.uint8), r"scene_00.npy has the shape \(4, 8, 10\) and the dtype uint8"),
        (np.array(None), "scene_00.npy cannot be read as an array .*Python objects"),
    ],
)
def test_array_that_holds_no_class_numbers_is_refused(
    inputs: InputFiles, label: Array, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_labels(inputs, lambda path, _: np.save(f"{path}.npy", label))
    assert_ingest_fails(message, capsys, *inputs.args())


def test_images_and_arrays_in_one_directory_of_labels_are_refused(
    inputs: InputFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(inputs.labels / "scene_99.npy", inputs.data.labels[0])
    message = (
        r"labels holds images and arrays \(scene_00.png and scene_99.npy\)\. Either could be the labels\. Use a glob"
    )
    assert_ingest_fails(message, capsys, *inputs.args())
    assert ingest(inputs, "--labels", f"{inputs.labels}/*.png") == 0


def test_labels_beside_their_predictions_and_pictures_are_found(inputs: InputFiles, tmp_path: Path) -> None:
    for name, label in zip(inputs.names, inputs.data.labels, strict=True):
        save_image(inputs.predictions / f"{name}.png", label)
        save_image(inputs.predictions / f"{name}.jpg", np.zeros((8, 10, 3), np.uint8))
    args = ("--labels", inputs.predictions, "--predictions", f"{inputs.predictions}/*.npy", "--ignore", 255)
    assert run_cli("ingest", *args, "--images", f"{inputs.predictions}/*.jpg", "--out", inputs.out) == 0
    assert_labels_equal(inputs)


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_lossy_labels_are_refused_before_anything_is_written_unless_allowed(
    inputs: InputFiles, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    label = np.full((8, 10), 2, np.uint8)
    replace_labels(inputs, lambda path, _: Image.fromarray(label).save(f"{path}.{ending}", format="JPEG"))
    assert_ingest_fails(rf"scene_00.{ending} is compressed as JPEG.*--allow_lossy", capsys, *inputs.args())
    assert not inputs.out.exists()
    assert ingest(inputs, "--allow_lossy") == 0
    assert all((one == 2).all() for _, one in read_by_id(inputs.out).values()), "JPEG keeps a plane of one value"


def test_lossy_class_numbers_are_refused(inputs: InputFiles, capsys: pytest.CaptureFixture[str]) -> None:
    inputs.remove_predictions()
    for name in inputs.names:
        Image.fromarray(np.zeros((8, 10), np.uint8)).save(inputs.predictions / f"{name}.png", format="JPEG")
    args = inputs.args("--classes", "a,b,c,d")
    assert_ingest_fails(r"scene_00.png is compressed as JPEG", capsys, *args)


def save_pictures(inputs: InputFiles, folder: Path, pixels: Array, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in inputs.names:
        save_image(folder / f"{name}.png", pixels, exif=exif)


def test_orientation_of_pictures_is_applied(inputs: InputFiles, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (10, 8, 3), dtype=np.uint8)
    save_pictures(inputs, tmp_path / "rgb", pixels, 6)
    assert ingest(inputs, "--images", tmp_path / "rgb") == 0
    np.testing.assert_array_equal(read_source(inputs.out)["images"][0], np.rot90(pixels, -1))


@pytest.mark.parametrize("resize", [(), ("--resize", "labels")])
def test_picture_that_fits_its_label_only_as_stored_is_refused(
    inputs: InputFiles, tmp_path: Path, resize: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    save_pictures(inputs, tmp_path / "rgb", np.zeros((8, 10, 3), np.uint8), 6)
    message = (
        r"scene_00.png is 8 x 10, its image .*rgb/scene_00.png is 10 x 8 once its EXIF orientation is applied\. The "
        r"labels were drawn on the image as it is stored\. Remove the orientation"
    )
    assert_ingest_fails(message, capsys, *inputs.args("--images", tmp_path / "rgb", *resize))


def test_files_that_differ_in_their_unicode_form_belong_together(tmp_path: Path) -> None:
    """Labels as Linux writes their names, predictions per class and pictures as macOS does."""
    data, forms = make_data(images=2), ("NFC", "NFD")
    names = [[unicodedata.normalize(form, name) for name in ("äöü", "が")] for form in forms]
    classes = [unicodedata.normalize(form, "straße,bäume,ü,d").split(",") for form in forms]
    for i in range(2):
        save_image(tmp_path / "labels" / f"{names[0][i]}.png", data.labels[i])
        save_image(tmp_path / "rgb" / f"{names[1][i]}.jpg", np.full((8, 10, 3), 99, np.uint8))
        for k in range(4):
            plane = (data.predictions[i, k] * 255).round().astype(np.uint8)
            save_image(tmp_path / "predictions" / names[1][i] / f"{classes[1][k]}.png", plane)
    args = ("--labels", tmp_path / "labels", "--predictions", tmp_path / "predictions", "--ignore", 255)
    more = ("--images", tmp_path / "rgb", "--classes", ",".join(classes[0]))
    assert run_cli("ingest", *args, *more, "--out", tmp_path / "new.zarr") == 0
    arrays = read_source(tmp_path / "new.zarr")
    assert arrays["image_id"].tolist() == names[0]
    np.testing.assert_array_equal(arrays["predictions"], (data.predictions * 255).round().astype(np.uint8))
    assert (arrays["images"] > 90).all()


def test_panoptic_files_are_found_whatever_the_unicode_form(tmp_path: Path) -> None:
    data = make_data(images=1)
    names = [unicodedata.normalize(form, "ü") for form in ("NFC", "NFD")]
    save_image(tmp_path / "val" / f"{names[1]}.png", np.zeros((8, 10, 3), np.uint8))
    (tmp_path / "predictions").mkdir()
    np.save(tmp_path / "predictions" / f"{names[1]}.npy", data.predictions[0])
    annotation = {"file_name": f"{names[0]}.png", "image_id": 1, "segments_info": []}
    tree = {"annotations": [annotation], "categories": [{"id": k, "name": str(k)} for k in range(4)]}
    (tmp_path / "val.json").write_text(json.dumps(tree))
    args = ("--labels", tmp_path / "val.json", "--predictions", tmp_path / "predictions")
    assert run_cli("ingest", *args, "--out", tmp_path / "new.zarr") == 0
    assert read_source(tmp_path / "new.zarr")["image_id"].tolist() == [names[0]]
