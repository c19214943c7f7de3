"""`masksift predict` end to end: out-of-sample predictions, written arrays, resumption."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from masksift.prepare.predict import tasks
from masksift.prepare.predict.metrics import count_agreement, segmentation_metrics
from masksift.prepare.predict.trainers.pixel_mlp import PixelTrainer
from masksift.storage.manifest import unpack
from prepare.predict.helpers import (
    MEMORIZER,
    NAMES,
    make_images,
    predict,
    read_array,
    read_folds,
    read_record,
    read_source_files,
    write_images,
)
from support.cli import exit_code, run_cli
from support.results import read_files, read_rows
from support.sources import erase_chunks

IDS = [f"{video}_{i:02d}" for i, video in enumerate("aabbbbccd")]


def write_videos(path: Path) -> Path:
    """Write nine images of four videos."""
    return write_images(path, *make_images(), ids=IDS, video=np.array([ord(name[0]) for name in IDS]))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_videos(tmp_path / "a.zarr")


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source and its predictions by three models of the trainer `pixels`, not to be changed."""
    path = tmp_path_factory.mktemp("predicted")
    source = write_videos(path / "a.zarr")
    return source, predict(source, path / "out", "--folds", 3)


@pytest.fixture
def memorizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A trainer in a module of the working directory."""
    (tmp_path / "mymodels.py").write_text(MEMORIZER)
    monkeypatch.chdir(tmp_path)
    return "mymodels:Memorizer"


# ------------------------------------------------------------------------------------------------------- out of sample


@pytest.mark.parametrize("flags", [(), ("--groups", "video"), ("--group_pattern", "^([a-z])_")], ids=str)
def test_each_image_is_predicted_by_a_model_that_was_not_trained_on_it(
    flags: tuple[str, ...], source: Path, memorizer: str, tmp_path: Path
) -> None:
    """The memorizer is certain of its training images. It is certain of none of these."""
    out = predict(source, tmp_path / "out", "--trainer", memorizer, "--folds", 3, *flags)
    assert (read_array(out, "predictions") == 85).all()
    table = read_folds(out)
    assert [row["image_id"] for row in table] == IDS
    assert [row["fold"] for row in table] == read_array(out, "fold").tolist()
    assert read_array(out, "fold").dtype == np.int16
    if flags:
        assert len({row["group"] for row in table}) == len({(row["group"], row["fold"]) for row in table}) == 4


def test_models_recognize_the_images_of_the_other_folds(source: Path, memorizer: str, tmp_path: Path) -> None:
    """Proves that the test above can fail: each stored model is certain of its training images."""
    out = predict(source, tmp_path / "out", "--trainer", memorizer, "--folds", 3)
    images, folds = make_images()[0], read_array(out, "fold")
    files = sorted((out / "predict/manifest/fit").iterdir())
    assert len(files) == 3
    for fold, file in enumerate(files):
        output = pickle.loads(unpack(file.read_bytes())["model"]).predict_proba(images)
        np.testing.assert_array_equal((output[:, 0] == 1).all(axis=(1, 2)), folds != fold)


def test_labels_of_a_fold_do_not_influence_its_predictions(
    source: Path, predicted: tuple[Path, Path], tmp_path: Path
) -> None:
    """Other labels for one fold leave its bytes unchanged and change those of all other images."""
    before, in_fold = read_array(predicted[1], "predictions"), read_array(predicted[1], "fold") == 1
    labels = zarr.open_array(source / "labels", mode="r+")
    values = labels[...]
    values[in_fold] = np.where(values[in_fold] < 3, (values[in_fold] + 1) % 3, 255)
    labels[...] = values
    after = read_array(predict(source, tmp_path / "other", "--folds", 3), "predictions")
    np.testing.assert_array_equal(after[in_fold], before[in_fold])
    assert all((a != b).any() for a, b in zip(after[~in_fold], before[~in_fold], strict=True))


# ------------------------------------------------------------------------------------------------------ written source


def test_new_source_holds_predictions_labels_images_and_ids(predicted: tuple[Path, Path]) -> None:
    _, out = predicted
    images, labels = make_images()
    np.testing.assert_array_equal(read_array(out, "labels"), labels)
    np.testing.assert_array_equal(read_array(out, "images"), images)
    assert read_array(out, "image_id").tolist() == IDS
    assert zarr.open_group(out, mode="r").attrs["class_names"] == list(NAMES)
    sums = read_array(out, "predictions").sum(axis=1, dtype=int)
    assert np.abs(sums - 255).max() <= 2


def test_runs_on_predictions_and_on_evidence_are_equal(predicted: tuple[Path, Path], tmp_path: Path) -> None:
    source, predictions = predicted
    evidence = predict(source, tmp_path / "evidence", "--folds", 3, "--write", "evidence")
    runs = []
    for out in (predictions, evidence):
        assert run_cli("run", "--source", out, "--out", tmp_path / f"run-{out.name}") == 0
        runs.append([{**row, "source": ""} for row in read_rows(tmp_path / f"run-{out.name}")])
    assert runs[0] == runs[1]
    assert {row["image_id"]: row["status"] for row in runs[0]} == dict.fromkeys(IDS, "scored")
    assert "predictions" not in zarr.open_group(evidence, mode="r")
    assert read_array(evidence, "fold").tolist() == read_array(predictions, "fold").tolist()


def test_record_holds_the_metrics_of_the_models(
    predicted: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = predicted
    record, labels = read_record(out), make_images()[1]
    classes, folds = read_array(out, "predictions").argmax(axis=1), read_array(out, "fold")
    overall = segmentation_metrics(count_agreement(labels, classes, 3))
    keys = ("mean_iou", "pixel_accuracy", "pixels")
    assert [record[key] for key in keys] == [overall[key] for key in keys]
    assert record["iou"] == dict(zip(NAMES, overall["iou"], strict=True))
    for fold in record["folds"]:
        images = folds == fold["fold"]
        metrics = segmentation_metrics(count_agreement(labels[images], classes[images], 3))
        assert (fold["images"], fold["trained_on"]) == (images.sum(), (~images).sum())
        assert [fold[key] for key in keys] == [metrics[key] for key in keys]
    assert record["mean_iou"] > 0.6, "colors show the class"
    assert record["out_of_sample"] is True
    predict(source, out, "--folds", 3)
    printed = capsys.readouterr().out
    assert f"all 9 images: mean IoU {overall['mean_iou']:.3f}" in printed
    assert f"masksift run --source {out}" in printed


def test_padded_images_stay_padded_and_padding_is_ignored(tmp_path: Path, memorizer: str) -> None:
    images, labels = make_images()
    heights, widths = np.full(9, 16, np.int32), np.arange(12, 21, dtype=np.int32)
    labels[0, :, 12:] = 77
    source = write_images(tmp_path / "a.zarr", images, labels, height=heights, width=widths)
    for content in ("predictions", "evidence"):
        out = predict(source, tmp_path / content, "--trainer", memorizer, "--folds", 2, "--write", content)
        assert read_record(out)["bad_labels"] == 0
        assert read_record(out)["pixels"] == (widths * 16 - 12).sum()
        assert run_cli("run", "--source", out, "--out", tmp_path / f"run-{content}") == 0
    assert read_array(tmp_path / "predictions", "width").tolist() == widths.tolist()


def test_image_with_invalid_label_is_counted_and_quarantined_by_the_run(
    source: Path, memorizer: str, tmp_path: Path
) -> None:
    zarr.open_array(source / "labels", mode="r+")[4, 9, 9] = 77
    out = predict(source, tmp_path / "out", "--trainer", memorizer, "--folds", 2)
    assert read_record(out)["bad_labels"] == 1
    assert run_cli("run", "--source", out, "--out", tmp_path / "run", "--max_quarantined", 1) == 0
    assert [row["image_id"] for row in read_rows(tmp_path / "run") if row["status"] == "bad_labels"] == [IDS[4]]


@pytest.mark.parametrize("content", ["predictions", "evidence"])
@pytest.mark.parametrize(
    ("values", "flags"),
    [((1, 2, 3, 0), ("--label_offset", 1)), ((10, 20, 30, 40), ("--remap", "10:0,20:1,30:2", "--ignore", 40))],
)
def test_labels_with_other_numbers_become_class_numbers_of_the_new_source(
    tmp_path: Path, memorizer: str, content: str, values: tuple[int, ...], flags: tuple[object, ...]
) -> None:
    images, labels = make_images()
    stored = np.array(values, np.uint8)[np.minimum(labels, 3)]
    stored[4, 9, 9] = 77
    source = write_images(tmp_path / "a.zarr", images, stored, ids=IDS, attributes={"class_names": list(NAMES)})
    args = ("--trainer", memorizer, "--folds", 2, "--write", content)
    out = predict(source, tmp_path / "out", *args, *flags)
    assert read_record(out)["bad_labels"] == 1
    labels[4, 9, 9] = 254
    np.testing.assert_array_equal(read_array(out, "labels"), labels)
    assert run_cli("run", "--source", out, "--out", tmp_path / "run", "--max_quarantined", 1) == 0
    assert [row["image_id"] for row in read_rows(tmp_path / "run") if row["status"] == "bad_labels"] == [IDS[4]]


def test_masks_of_0_and_255_become_class_numbers_of_the_new_source(tmp_path: Path, memorizer: str) -> None:
    images, labels = make_images()
    masks = np.where(labels == 1, 255, 0).astype(np.uint8)
    source = write_images(tmp_path / "a.zarr", images, masks, attributes={"class_names": ["background", "road"]})
    out = predict(source, tmp_path / "out", "--trainer", memorizer, "--folds", 2)
    np.testing.assert_array_equal(read_array(out, "labels"), masks // 255)
    source = write_images(tmp_path / "b.zarr", images, masks > 0, attributes={"class_names": ["a", "b"]})
    out = predict(source, tmp_path / "b", "--trainer", memorizer, "--folds", 2)
    np.testing.assert_array_equal(read_array(out, "labels"), masks // 255)


def test_images_without_ids_are_named_by_source_and_index(tmp_path: Path, memorizer: str) -> None:
    source = write_images(tmp_path / "street.zarr", *make_images(images=4))
    out = predict(source, tmp_path / "out", "--trainer", memorizer, "--folds", 2)
    assert read_array(out, "image_id").tolist() == [f"street/{i}" for i in range(4)]


# ---------------------------------------------------------------------------------------------------------- resumption


def test_small_source_is_written_in_several_shards(predicted: tuple[Path, Path]) -> None:
    assert zarr.open_array(predicted[1] / "predictions", mode="r").shards[0] == 1
    assert len(list((predicted[1] / "predict/manifest/predict").iterdir())) == 9


def test_complete_prediction_changes_nothing(predicted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = predicted
    before = read_files(out)
    monkeypatch.setattr(PixelTrainer, "fit", None)
    predict(source, out, "--folds", 3)
    assert read_files(out) == before


def test_interrupted_prediction_resumes_without_repeating_finished_folds(
    source: Path, predicted: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, write, trained = PixelTrainer.fit, tasks._write_image, []

    def fit_two_folds(self, images, labels):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(len(images))
        return fit(self, images, labels)

    out = tmp_path / "out"
    args = ("predict", "--source", source, "--out", out, "--folds", "3", "--executor.kind", "serial")
    monkeypatch.setattr(PixelTrainer, "fit", fit_two_folds)
    assert exit_code(*args, "--log-format", "quiet") == 5
    monkeypatch.setattr(PixelTrainer, "fit", fit)
    written = []

    def write_five_images(context, writer, *image):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(writer.next_image)
        write(context, writer, *image)

    monkeypatch.setattr(tasks, "_write_image", write_five_images)
    assert exit_code(*args, "--log-format", "quiet") == 5
    monkeypatch.setattr(tasks, "_write_image", write)
    monkeypatch.setattr(PixelTrainer, "fit", None)
    predict(source, out, "--folds", 3)
    assert read_source_files(out) == read_source_files(predicted[1])
    keys = ("mean_iou", "folds", "iou", "pixels")
    resumed, complete = read_record(out), read_record(predicted[1])
    assert [resumed[key] for key in keys] == [complete[key] for key in keys]


def test_shards_without_task_output_are_counted_again(predicted: tuple[Path, Path], tmp_path: Path) -> None:
    source, out = predicted[0], tmp_path / "out"
    shutil.copytree(predicted[1], out)
    shutil.rmtree(out / "predict/manifest/predict")
    shutil.rmtree(out / "labels/c")
    (out / "predict/predict.json").unlink()
    predict(source, out, "--folds", 3)
    record, expected = read_record(out), read_record(predicted[1])
    assert {**record, "configuration": 0} == {**expected, "configuration": 0}
    assert read_source_files(out) == read_source_files(predicted[1])


@pytest.mark.parametrize("trainer", ["pixels", "mymodels:Memorizer"])
@pytest.mark.usefixtures("memorizer")
def test_dask_workers_write_the_same_bytes(source: Path, tmp_path: Path, trainer: str, scheduler_address: str) -> None:
    serial = predict(source, tmp_path / "serial", "--folds", 3, "--trainer", trainer)
    out = tmp_path / "dask"
    flags = ("--executor.kind", "dask", "--executor.address", scheduler_address, "--log-format", "quiet")
    assert exit_code("predict", "--source", source, "--out", out, "--folds", 3, "--trainer", trainer, *flags) == 0
    assert read_source_files(out) == read_source_files(serial)
    assert read_record(out)["folds"] == read_record(serial)["folds"]


def test_other_options_into_the_same_output_are_refused(
    predicted: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = predicted
    capsys.readouterr()
    assert run_cli("predict", "--source", source, "--out", out, "--folds", 2) == 2
    assert "folds was 3, is 2" in capsys.readouterr().err


def test_lost_images_are_reported(
    source: Path, tmp_path: Path, memorizer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    erase_chunks(source / "images", slice(0, 2))
    assert run_cli("predict", "--source", source, "--out", tmp_path / "out", "--trainer", memorizer) == 2
    assert "Images 0 to 1 cannot be read: chunk c/0/0/0/0 of" in capsys.readouterr().err
