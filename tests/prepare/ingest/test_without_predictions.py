"""`masksift ingest` without predictions: a source of images and labels for `masksift predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from masksift.core.errors import DataError
from masksift.prepare.writers import base
from masksift.prepare.writers.predictions import PredictionWriter
from prepare.ingest.helpers import (
    NAMES,
    InputFiles,
    assert_ingest_fails,
    fail_at_fourth_image,
    read_record,
    read_source,
    save_image,
)
from support.cli import exit_code, run_cli
from support.errors import raises
from support.results import read_files

CLASSES = ",".join(NAMES)


@pytest.fixture
def inputs(tmp_path: Path) -> InputFiles:
    """Label files, and an RGB image for each."""
    inputs = InputFiles(tmp_path)
    for name, image in zip(inputs.names, _images(), strict=True):
        save_image(tmp_path / "images" / f"{name}.png", image)
    return inputs


def _images() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (5, 8, 10, 3), dtype=np.uint8)


def _args(inputs: InputFiles, *more: object) -> list[object]:
    images = inputs.labels.parent / "images"
    return ["--labels", inputs.labels, "--images", images, "--out", inputs.out, "--ignore", 255, *more]


def _ingest(inputs: InputFiles, *more: object) -> int:
    return exit_code("ingest", *_args(inputs, *more), "--executor", "serial", "--log-format", "quiet")


def test_ingest_without_predictions_writes_images_and_labels(
    inputs: InputFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ingest(inputs, "--classes", CLASSES) == 0
    arrays, group = read_source(inputs.out), zarr.open_group(inputs.out, mode="r")
    assert sorted(arrays) == ["image_id", "images", "labels"]
    np.testing.assert_array_equal(arrays["images"], _images())
    np.testing.assert_array_equal(arrays["labels"], inputs.data.labels)
    assert arrays["image_id"].tolist() == inputs.names
    assert group.attrs.asdict() == {"class_names": list(NAMES), "ignore": [255]}
    assert capsys.readouterr().out.splitlines() == [
        "5 images of 8 x 10, 4 classes, no predictions",
        "labels and images: by path",
        f"source: {inputs.out}",
        f"next: masksift predict --source {inputs.out} --out URL",
    ]


def test_predict_takes_what_ingest_without_predictions_wrote(inputs: InputFiles, tmp_path: Path) -> None:
    assert _ingest(inputs, "--classes", CLASSES) == 0
    flags = ("--folds", 2, "--executor", "serial", "--log-format", "quiet")
    assert run_cli("predict", "--source", inputs.out, "--out", tmp_path / "predicted", *flags) == 0
    np.testing.assert_array_equal(read_source(tmp_path / "predicted")["labels"], inputs.data.labels)


def test_ingest_without_predictions_pads_images_of_different_sizes(inputs: InputFiles, tmp_path: Path) -> None:
    save_image(inputs.labels / "scene_02.png", inputs.data.labels[2, :6, :7])
    save_image(tmp_path / "images" / "scene_02.png", _images()[2, :6, :7])
    assert _ingest(inputs, "--classes", CLASSES, "--pad") == 0
    arrays = read_source(inputs.out)
    assert (arrays["height"].tolist(), arrays["width"].tolist()) == ([8, 8, 6, 8, 8], [10, 10, 7, 10, 10])
    assert (arrays["labels"][2, 6:] == 255).all()
    np.testing.assert_array_equal(arrays["images"][2, :6, :7], _images()[2, :6, :7])


def test_ingest_without_predictions_leaves_out_a_label_without_an_image(inputs: InputFiles, tmp_path: Path) -> None:
    (tmp_path / "images" / "scene_02.png").rename(tmp_path / "images" / "other.png")
    assert _ingest(inputs, "--classes", CLASSES) == 3
    assert "scene_02" not in read_source(inputs.out)["image_id"].tolist()
    assert read_record(inputs.out)["unmatched"] == {"labels": ["scene_02.png"], "images": ["other.png"]}


def test_failed_ingest_without_predictions_resumes_and_writes_the_same_bytes(
    inputs: InputFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "SHARD_BYTES", 2 * 8 * 10 * 3)
    assert _ingest(inputs, "--classes", CLASSES) == 0
    expected = read_files(inputs.out)
    inputs.out, written = tmp_path / "again.zarr", fail_at_fourth_image(monkeypatch)
    assert _ingest(inputs, "--classes", CLASSES) == 5
    assert _ingest(inputs, "--classes", CLASSES) == 0
    assert written == [*inputs.names[:4], *inputs.names[2:]], "the first shard is not written again"
    assert read_files(inputs.out) == expected


def test_ingest_without_predictions_recognizes_masks_of_0_and_255(inputs: InputFiles) -> None:
    for name, label in zip(inputs.names, inputs.data.labels, strict=True):
        save_image(inputs.labels / f"{name}.png", np.where(label % 2 == 0, 0, 255).astype(np.uint8))
    images = inputs.labels.parent / "images"
    args = ("--labels", inputs.labels, "--images", images, "--out", inputs.out, "--classes", "off,on")
    assert exit_code("ingest", *args, "--executor", "serial", "--log-format", "quiet") == 0
    np.testing.assert_array_equal(read_source(inputs.out)["labels"], inputs.data.labels % 2)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "There are no predictions, and the number of classes is unknown"),
        (("--classes", CLASSES, "--kind", "logits"), "kind is set, but there are no predictions"),
        (("--classes", CLASSES, "--resize", "labels"), "resize is set, but there are no predictions"),
    ],
)
def test_ingest_without_predictions_and_unusable_options_fails(
    inputs: InputFiles, capsys: pytest.CaptureFixture[str], more: tuple[object, ...], message: str
) -> None:
    assert_ingest_fails(message, capsys, *_args(inputs, *more))


def test_ingest_without_predictions_and_images_fails(
    inputs: InputFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_ingest_fails("predictions and images are missing", capsys, "--labels", inputs.labels, "--out", inputs.out)
    np.save(tmp_path / "labels.npy", inputs.data.labels)
    args = ("--labels", tmp_path / "labels.npy", "--images", tmp_path / "images", "--out", inputs.out)
    assert_ingest_fails("labels.npy holds 5 images without names.*images. Pass --ids", capsys, *args)


def test_ingest_without_predictions_and_another_image_size_fails(
    inputs: InputFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(tmp_path / "images" / "scene_02.png", _images()[2, :6])
    assert_ingest_fails(
        "Label .*scene_02.png is 8 x 10, its image .* is 6 x 10", capsys, *_args(inputs, "--classes", CLASSES)
    )


def test_writer_with_predictions_the_source_does_not_have_fails(tmp_path: Path) -> None:
    labels, pictures = np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 4, 3), np.uint8)
    shape = {"images": 1, "height": 4, "width": 4, "classes": 2}
    writer = PredictionWriter(str(tmp_path / "a"), predictions=False, pictures=True, **shape)
    with raises(DataError, match="received predictions, but the writer has predictions=False"):
        writer.write(np.zeros((1, 2, 4, 4), np.float32), labels, pictures=pictures)
    with raises(DataError, match=r"holds labels of \(4, 4\), but received shape \(1, 3, 4\)"):
        writer.write(None, labels[:, :3], pictures=pictures)
    with raises(DataError, match="received no predictions, but the writer has predictions=True"):
        PredictionWriter(str(tmp_path / "b"), **shape).write(None, labels)
