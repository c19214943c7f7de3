"""`masksift predict` as a whole: each image by a model that never saw it, in a source that a run takes as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from masksift.prepare.predict import tasks as blocks
from masksift.prepare.predict.metrics import counts_of, segmentation_metrics
from masksift.prepare.predict.trainers.pixel_mlp import PixelTrainer
from prepare.predict.helpers import (
    MEMORISER,
    NAMES,
    arrays_of,
    drawn_pictures,
    folds_of,
    predict,
    record,
    result,
    write_pictures,
)
from support.cli import exit_code, run_cli
from support.results import read_files, read_rows
from support.sources import erase_chunks

IDS = [f"{video}_{i:02d}" for i, video in enumerate("aabbbbccd")]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    videos = np.array([ord(name[0]) for name in IDS])
    return write_pictures(tmp_path / "a.zarr", *drawn_pictures(), ids=IDS, video=videos)


@pytest.fixture
def memoriser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A trainer in a module of the folder that the command is typed in."""
    (tmp_path / "mymodels.py").write_text(MEMORISER)
    monkeypatch.chdir(tmp_path)
    return "mymodels:Memoriser"


# ------------------------------------------------------------------------------------------------------- out of sample


@pytest.mark.parametrize("words", [(), ("--groups", "video"), ("--group_pattern", "^([a-z])_")], ids=str)
def test_each_image_is_predicted_by_a_model_that_never_saw_it(
    words: tuple[str, ...], source: Path, memoriser: str, tmp_path: Path
) -> None:
    """A memoriser is certain of what it was fitted to: of none of these is it."""
    out = predict(source, tmp_path / "out", "--trainer", memoriser, "--folds", 3, *words)
    assert (result(out, "predictions") == 85).all()


def test_a_memoriser_is_certain_of_what_it_saw(source: Path, memoriser: str, tmp_path: Path) -> None:
    """So that the test above could fail: the models, asked for the images of the other folds, know every one."""
    out = predict(source, tmp_path / "out", "--trainer", memoriser, "--folds", 3)
    import pickle

    from masksift.storage.manifest import unpack

    pictures, folds = drawn_pictures()[0], result(out, "fold")
    files = sorted((out / "predict/manifest/fit").iterdir())
    assert len(files) == 3
    for fold, file in enumerate(files):
        answers = pickle.loads(unpack(file.read_bytes())["model"]).predict_proba(pictures)
        np.testing.assert_array_equal((answers[:, 0] == 1).all(axis=(1, 2)), folds != fold)


@pytest.mark.parametrize("words", [("--groups", "video"), ("--group_pattern", "^([a-z])_")], ids=str)
def test_a_group_is_in_one_fold(words: tuple[str, ...], source: Path, memoriser: str, tmp_path: Path) -> None:
    out = predict(source, tmp_path / "out", "--trainer", memoriser, "--folds", 3, *words)
    table = folds_of(out)
    assert [row["image_id"] for row in table] == IDS
    assert [row["fold"] for row in table] == result(out, "fold").tolist()
    homes = {row["group"]: {other["fold"] for other in table if other["group"] == row["group"]} for row in table}
    assert len(homes) == 4
    assert all(len(home) == 1 for home in homes.values())
    assert result(out, "fold").dtype == np.int16


def test_the_labels_of_a_fold_have_no_say_in_its_predictions(source: Path, tmp_path: Path) -> None:
    """Of the built-in trainer: other labels for a whole fold, the same bytes for it, others for the rest."""
    out = predict(source, tmp_path / "out", "--folds", 3)
    before, mine = result(out, "predictions"), result(out, "fold") == 1
    labels = zarr.open_array(source / "labels", mode="r+")
    changed = labels[...]
    changed[mine] = np.where(changed[mine] < 3, (changed[mine] + 1) % 3, 255)
    labels[...] = changed
    after = result(predict(source, tmp_path / "other", "--folds", 3), "predictions")
    np.testing.assert_array_equal(after[mine], before[mine])
    assert all((a != b).any() for a, b in zip(after[~mine], before[~mine], strict=True))


# ------------------------------------------------------------------------------------------------------ what comes out


def test_a_run_takes_it_as_it_is(source: Path, tmp_path: Path) -> None:
    out = predict(source, tmp_path / "out", "--folds", 3)
    pictures, labels = drawn_pictures()
    np.testing.assert_array_equal(result(out, "labels"), labels)
    np.testing.assert_array_equal(result(out, "images"), pictures)
    assert result(out, "image_id").tolist() == IDS
    assert zarr.open_group(out, mode="r").attrs["class_names"] == list(NAMES)
    sums = result(out, "predictions").sum(axis=1, dtype=int)
    assert np.abs(sums - 255).max() <= 2
    assert run_cli("run", "--source", out, "--out", tmp_path / "quality") == 0
    assert {row["image_id"]: row["status"] for row in read_rows(tmp_path / "quality")} == dict.fromkeys(IDS, "scored")


def test_evidence_is_that_of_the_predictions(source: Path, tmp_path: Path) -> None:
    for form in ("predictions", "evidence"):
        predict(source, tmp_path / form, "--folds", 3, "--write", form)
        assert run_cli("run", "--source", tmp_path / form, "--out", tmp_path / f"q-{form}") == 0
    found, wanted = (
        [{name: value for name, value in row.items() if name != "source"} for row in read_rows(tmp_path / f"q-{form}")]
        for form in ("evidence", "predictions")
    )
    assert found == wanted
    assert "predictions" not in zarr.open_group(tmp_path / "evidence", mode="r")
    assert result(tmp_path / "evidence", "fold").tolist() == result(tmp_path / "predictions", "fold").tolist()


def test_the_record_says_how_good_the_models_are(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = predict(source, tmp_path / "out", "--folds", 3)
    said, printed = record(out), capsys.readouterr().out
    labels, found = drawn_pictures()[1], result(out, "predictions").argmax(axis=1)
    folds = result(out, "fold")
    whole = segmentation_metrics(counts_of(labels, found, 3))
    assert {name: said[name] for name in ("mean_iou", "pixel_accuracy", "pixels")} == {
        name: whole[name] for name in ("mean_iou", "pixel_accuracy", "pixels")
    }
    assert said["iou"] == dict(zip(NAMES, whole["iou"], strict=True))
    for part in said["folds"]:
        mine = folds == part["fold"]
        own = segmentation_metrics(counts_of(labels[mine], found[mine], 3))
        assert (part["images"], part["trained_on"]) == (mine.sum(), (~mine).sum())
        assert (part["mean_iou"], part["pixel_accuracy"]) == (own["mean_iou"], own["pixel_accuracy"])
    assert said["mean_iou"] > 0.6, "colours tell the class"
    assert said["out_of_sample"] is True
    assert f"all 9 images: mean IoU {whole['mean_iou']:.3f}" in printed
    assert f"masksift run --source {out}" in printed


def test_padded_images_stay_padded_and_their_edges_do_not_count(tmp_path: Path, memoriser: str) -> None:
    pictures, labels = drawn_pictures()
    rows_, columns = np.full(9, 16, np.int32), np.arange(12, 21, dtype=np.int32)
    labels[0, :, 12:] = 77
    source = write_pictures(tmp_path / "a.zarr", pictures, labels, height=rows_, width=columns)
    for form in ("predictions", "evidence"):
        out = predict(source, tmp_path / form, "--trainer", memoriser, "--folds", 2, "--write", form)
        assert record(out)["bad_labels"] == 0
        assert record(out)["pixels"] == (columns * 16 - 12).sum()
        assert run_cli("run", "--source", out, "--out", tmp_path / f"q-{form}") == 0
    assert result(tmp_path / "predictions", "width").tolist() == columns.tolist()


def test_a_bad_label_is_counted_and_left_to_the_run(source: Path, memoriser: str, tmp_path: Path) -> None:
    zarr.open_array(source / "labels", mode="r+")[4, 9, 9] = 77
    out = predict(source, tmp_path / "out", "--trainer", memoriser, "--folds", 2)
    assert record(out)["bad_labels"] == 1
    assert run_cli("run", "--source", out, "--out", tmp_path / "q", "--max_quarantined", 1) == 0
    assert [row["image_id"] for row in read_rows(tmp_path / "q") if row["status"] == "bad_labels"] == [IDS[4]]


def test_images_without_names_are_called_by_their_source(tmp_path: Path, memoriser: str) -> None:
    source = write_pictures(tmp_path / "street.zarr", *drawn_pictures(images=4))
    out = predict(source, tmp_path / "out", "--trainer", memoriser, "--folds", 2)
    assert result(out, "image_id").tolist() == [f"street/{i}" for i in range(4)]


# ---------------------------------------------------------------------------------------------------- twice equals once


def test_a_small_source_lies_in_several_shards(source: Path, memoriser: str, tmp_path: Path) -> None:
    out = predict(source, tmp_path / "out", "--trainer", memoriser, "--folds", 2)
    assert zarr.open_array(out / "predictions", mode="r").shards[0] == 1
    assert len(list((out / "predict/manifest/predict").iterdir())) == 9


def test_the_same_command_again_does_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = predict(source, tmp_path / "out", "--folds", 2)
    before = read_files(out)
    monkeypatch.setattr(PixelTrainer, "fit", None)
    predict(source, out, "--folds", 2)
    assert read_files(out) == before


def test_a_killed_one_goes_on_without_fitting_what_is_fitted(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predict(source, tmp_path / "whole", "--folds", 3)
    fit, write, fitted = PixelTrainer.fit, blocks._write, []

    def stops(self, images, labels):
        if len(fitted) == 2:
            raise KeyboardInterrupt
        fitted.append(len(images))
        return fit(self, images, labels)

    monkeypatch.setattr(PixelTrainer, "fit", stops)
    out = tmp_path / "out"
    words = ("predict", "--source", source, "--out", out, "--folds", "3", "--executor.kind", "serial")
    assert exit_code(*words, "--log-format", "quiet") == 5
    monkeypatch.setattr(PixelTrainer, "fit", fit)
    written = []

    def stops_writing(job, writer, *rest):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(writer.next_image)
        write(job, writer, *rest)

    monkeypatch.setattr(blocks, "_write", stops_writing)
    assert exit_code(*words, "--log-format", "quiet") == 5
    monkeypatch.setattr(blocks, "_write", write)
    monkeypatch.setattr(PixelTrainer, "fit", None)
    predict(source, out, "--folds", 3)
    assert arrays_of(out) == arrays_of(whole)
    same = {"mean_iou", "folds", "iou", "pixels"}
    assert {name: record(out)[name] for name in same} == {name: record(whole)[name] for name in same}


def test_a_shard_whose_product_is_lost_is_not_written_again_but_counted(source: Path, tmp_path: Path) -> None:
    out = predict(source, tmp_path / "out", "--folds", 2)
    before = record(out), arrays_of(out)
    shutil.rmtree(out / "predict/manifest/predict")
    shutil.rmtree(out / "labels/c")
    (out / "predict/predict.json").unlink()
    predict(source, out, "--folds", 2)
    assert (record(out), arrays_of(out)) == before


@pytest.mark.slow
def test_workers_write_the_same_bits(source: Path, tmp_path: Path, memoriser: str, scheduler_address: str) -> None:
    for trainer in ("pixels", memoriser):
        serial = predict(source, tmp_path / f"serial-{trainer[0]}", "--folds", 3, "--trainer", trainer)
        out = tmp_path / f"dask-{trainer[0]}"
        words = ("--executor.kind", "dask", "--executor.address", scheduler_address, "--log-format", "quiet")
        assert exit_code("predict", "--source", source, "--out", out, "--folds", 3, "--trainer", trainer, *words) == 0
        assert arrays_of(out) == arrays_of(serial)
        assert record(out)["folds"] == record(serial)["folds"]


def test_another_source_under_the_same_out_is_refused(
    source: Path, tmp_path: Path, memoriser: str, capsys: pytest.CaptureFixture[str]
) -> None:
    predict(source, tmp_path / "out", "--folds", 2, "--trainer", memoriser)
    capsys.readouterr()
    assert run_cli("predict", "--source", source, "--out", tmp_path / "out", "--folds", 3, "--trainer", memoriser) == 2
    assert "holds results of other inputs or settings (folds was 2, is 3)" in capsys.readouterr().err
    erase_chunks(source / "images", slice(0, 2))
    words = ("--source", source, "--out", tmp_path / "third", "--folds", 2, "--trainer", memoriser)
    assert run_cli("predict", *words) == 2
    assert "images 0 to 1 are lost: chunk c/0/0/0/0 of" in capsys.readouterr().err
