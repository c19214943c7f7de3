"""Data sets and predictions of nnU-Net, and logits of a lower resolution."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from prepare.ingest.helpers import InputFiles, assert_ingest_fails, ingest, read_source, save_image
from support.cli import run_cli
from support.sources import make_data

VERSION_2 = {"channel_names": {"0": "R"}, "labels": {"background": 0, "car": 2, "road": 1, "x": 3, "ignore": 4}}
VERSION_1 = {"modality": {"0": "RGB"}, "labels": {"0": "background", "2": "car", "1": "road", "3": "x"}}


@pytest.fixture
def files(tmp_path: Path) -> InputFiles:
    """Labels in labelsTr, and predictions as nnUNetv2_predict --save_probabilities writes them."""
    files = InputFiles(tmp_path / "a", make_data(images=3))
    files.labels, files.predictions = tmp_path / "labelsTr", tmp_path / "out"
    files.predictions.mkdir()
    for name, label, values in zip(files.names, files.data.labels, files.data.predictions, strict=True):
        save_image(files.labels / f"{name}.png", np.where(label == 255, 4, label).astype(np.uint8))
        for channel in (0, 1):
            save_image(tmp_path / f"imagesTr/{name}_000{channel}.png", np.full((8, 10, 3), channel + 1, np.uint8))
        save_image(files.predictions / f"{name}.png", values.argmax(axis=0).astype(np.uint8))
        np.savez_compressed(files.predictions / f"{name}.npz", probabilities=values[:, None])
        (files.predictions / f"{name}.pkl").write_bytes(b"properties")
    return files


def run(files: InputFiles, tree: dict[str, Any], *more: object) -> int:
    (files.labels.parent / "dataset.json").write_text(json.dumps(tree))
    places = ("--labels", files.labels, "--predictions", files.predictions, "--out", files.out)
    return run_cli("ingest", *places, "--images", files.labels.parent / "imagesTr", *more)


def test_classes_and_ignored_value_come_from_the_data_set(files: InputFiles) -> None:
    assert run(files, VERSION_2) == 0
    arrays = read_source(files.out)
    np.testing.assert_array_equal(arrays["predictions"], files.data.predictions)
    np.testing.assert_array_equal(arrays["labels"], files.data.labels)
    assert (arrays["images"] == 1).all()
    assert zarr.open_group(files.out, mode="r").attrs["class_names"] == ["background", "road", "car", "x"]


def test_first_version_has_numbers_as_keys(files: InputFiles) -> None:
    assert run(files, VERSION_1, "--ignore", 4) == 0
    assert zarr.open_group(files.out, mode="r").attrs["class_names"] == ["background", "road", "car", "x"]


def test_regions_are_refused(files: InputFiles, capsys: pytest.CaptureFixture[str]) -> None:
    tree = {**VERSION_2, "labels": {"background": 0, "whole": [1, 2]}}
    (files.labels.parent / "dataset.json").write_text(json.dumps(tree))
    places = ("--labels", files.labels, "--predictions", files.predictions, "--out", files.out)
    assert_ingest_fails("dataset.json has the region whole, which consists of several labels", capsys, *places)


def test_volume_is_refused(files: InputFiles, capsys: pytest.CaptureFixture[str]) -> None:
    for name in files.names:
        np.savez(files.predictions / f"{name}.npz", probabilities=np.zeros((4, 5, 8, 10), np.float32))
    places = ("--labels", files.labels, "--predictions", files.predictions, "--out", files.out)
    assert_ingest_fails(r"the shape \(4, 5, 8, 10\), but three axes are required", capsys, *places)


def test_logits_at_a_quarter_of_the_size_are_resized_as_torch_does(tmp_path: Path) -> None:
    data = make_data(images=1, height=4, width=8)
    files = InputFiles(tmp_path, data)
    files.save_predictions([np.array([[[0.0, 4.0]], [[8.0, 0.0]], [[1.0, 1.0]], [[0.0, -8.0]]], np.float32)])
    assert ingest(files, "--kind", "logits", "--resize", "predictions") == 0
    predictions = read_source(files.out)["predictions"][0]
    # torch.nn.functional.interpolate(logits, size=(4, 8), mode="bilinear", align_corners=False)
    row = np.array([0.0, 0.0, 0.5, 1.5, 2.5, 3.5, 4.0, 4.0], np.float32)
    for k, expected in enumerate((row, 8 - 2 * row, np.ones(8), -2 * row)):
        np.testing.assert_allclose(predictions[k], np.tile(expected, (4, 1)), atol=1e-6)
