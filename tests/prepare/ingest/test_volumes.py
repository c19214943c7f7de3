"""NIfTI volumes and nnU-Net's probabilities, written by nibabel and numpy: slices, classes, orientations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from prepare.ingest.helpers import assert_ingest_fails, read_source
from prepare.ingest.volume_files import write_volume
from support.cli import run_cli
from support.datasets import Array

SHAPE = 6, 5, 4


def one_hot(labels: Array) -> Array:
    """Return predictions (x, y, z, K) that are sure of the labels."""
    return (labels[..., None] == np.arange(3)).astype(np.float32)


@pytest.fixture
def labels(tmp_path: Path) -> list[Array]:
    """Directories of labels, images and 4-D predictions of two cases, named as nnU-Net does."""
    rng = np.random.default_rng(0)
    volumes = [rng.integers(0, 3, SHAPE).astype(np.uint8) for _ in range(2)]
    for i, volume in enumerate(volumes):
        write_volume(tmp_path / f"labelsTr/case{i}.nii.gz", volume)
        write_volume(tmp_path / f"predictions/case{i}.nii.gz", one_hot(volume))
        write_volume(tmp_path / f"imagesTr/case{i}_0000.nii.gz", volume.astype(np.int16) * 100 - 100)
        write_volume(tmp_path / f"imagesTr/case{i}_0001.nii.gz", volume.astype(np.int16))
    return volumes


def args(tmp_path: Path, *more: object) -> tuple[object, ...]:
    return ("--labels", tmp_path / "labelsTr", "--out", tmp_path / "new.zarr", *more)


def ingest(tmp_path: Path, *more: object) -> dict[str, Array]:
    assert run_cli("ingest", *args(tmp_path, "--predictions", tmp_path / "predictions", *more)) == 0
    return read_source(tmp_path / "new.zarr")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_any_axis_become_images(tmp_path: Path, labels: list[Array], axis: int) -> None:
    arrays = ingest(tmp_path, "--slice_axis", axis)
    depth = SHAPE[axis]
    assert arrays["image_id"].tolist() == [f"case{i}/{index:03d}" for i in range(2) for index in range(depth)]
    for index in range(depth):
        expected = np.take(labels[1], index, axis).T
        np.testing.assert_array_equal(arrays["labels"][depth + index], expected)
        np.testing.assert_array_equal(arrays["predictions"][depth + index].argmax(0), expected)


def test_anatomical_plane_follows_the_affine(tmp_path: Path, labels: list[Array]) -> None:
    turned = np.array([[0, 0, 3.0, 0], [2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # x is anterior, y superior
    for i, volume in enumerate(labels):
        write_volume(tmp_path / f"labelsTr/case{i}.nii.gz", volume, turned)
        write_volume(tmp_path / f"predictions/case{i}.nii.gz", one_hot(volume), turned)
    arrays = ingest(tmp_path, "--slice_axis", "axial")
    np.testing.assert_array_equal(arrays["labels"][3], labels[0][:, 3].T)


def test_probabilities_of_nnunet_have_reversed_axes(tmp_path: Path, labels: list[Array]) -> None:
    for i, volume in enumerate(labels):
        write_volume(tmp_path / f"predictions/case{i}.nii.gz", volume)
        np.savez_compressed(tmp_path / f"predictions/case{i}.npz", probabilities=one_hot(volume).transpose(3, 2, 1, 0))
    arrays = ingest(tmp_path)
    np.testing.assert_array_equal(arrays["predictions"].argmax(1), arrays["labels"])
    np.testing.assert_array_equal(arrays["labels"][2], labels[0][:, :, 2].T)


def test_predicted_classes_are_read(tmp_path: Path, labels: list[Array]) -> None:
    for i, volume in enumerate(labels):
        write_volume(tmp_path / f"predictions/case{i}.nii.gz", volume)
    arrays = ingest(tmp_path, "--classes", "a,b,c")
    np.testing.assert_array_equal(arrays["predictions"].argmax(1), arrays["labels"])


def test_integers_stored_as_floats_are_labels(tmp_path: Path, labels: list[Array]) -> None:
    for i, volume in enumerate(labels):
        write_volume(tmp_path / f"labelsTr/case{i}.nii.gz", volume.astype(np.float64))
    np.testing.assert_array_equal(ingest(tmp_path)["labels"][0], labels[0][:, :, 0].T)


def test_intensities_become_gray(tmp_path: Path, labels: list[Array]) -> None:
    places = ("--images", tmp_path / "imagesTr", "--picture_range", "-100,100")
    images = ingest(tmp_path, *places)["images"]
    gray = np.array([0, 128, 255], np.uint8)[labels[0][:, :, 1].T]
    np.testing.assert_array_equal(images[1], np.repeat(gray[..., None], 3, axis=2))


def test_classes_come_from_dataset_json(tmp_path: Path, labels: list[Array]) -> None:
    stored = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "vessel": 1, "ignore": 2}}
    (tmp_path / "dataset.json").write_text(json.dumps(stored))
    assert run_cli("ingest", *args(tmp_path, "--images", tmp_path / "imagesTr")) == 0
    arrays = read_source(tmp_path / "new.zarr")
    np.testing.assert_array_equal(arrays["labels"][0], np.array([0, 1, 255])[labels[0][:, :, 0].T])
    attributes = json.loads((tmp_path / "new.zarr/zarr.json").read_text())["attributes"]
    assert attributes["class_names"] == ["background", "vessel"]


def test_volumes_of_different_sizes_need_pad(
    tmp_path: Path, labels: list[Array], capsys: pytest.CaptureFixture[str]
) -> None:
    small = labels[1][:4, :, :3]
    write_volume(tmp_path / "labelsTr/case1.nii.gz", small)
    write_volume(tmp_path / "predictions/case1.nii.gz", one_hot(small))
    places = ("--predictions", tmp_path / "predictions")
    assert_ingest_fails("Pass --pad", capsys, *args(tmp_path, *places))
    arrays = ingest(tmp_path, "--pad")
    assert arrays["width"].tolist() == [6] * 4 + [4] * 3
    np.testing.assert_array_equal(arrays["labels"][4, :, :4], small[:, :, 0].T)


def test_predictions_of_another_affine_are_refused(
    tmp_path: Path, labels: list[Array], capsys: pytest.CaptureFixture[str]
) -> None:
    write_volume(tmp_path / "predictions/case1.nii.gz", one_hot(labels[1]), np.diag([1.0, 2.0, 3.0, 1.0]))
    match = "case1.nii.gz have different affines"
    assert_ingest_fails(match, capsys, *args(tmp_path, "--predictions", tmp_path / "predictions"))


def test_damaged_volume_is_refused(tmp_path: Path, labels: list[Array], capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "labelsTr/case0.nii.gz"
    file.write_bytes(file.read_bytes()[:40])
    match = "case0.nii.gz cannot be read as NIfTI"
    assert_ingest_fails(match, capsys, *args(tmp_path, "--predictions", tmp_path / "predictions"))
