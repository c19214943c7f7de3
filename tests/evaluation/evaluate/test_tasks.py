"""Pixel and region metrics: equal to whole arrays, for any executor; damaged truth."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from sklearn.metrics import average_precision_score

from evaluation.evaluate.helpers import (
    PlantedErrors,
    evaluate,
    plant_errors,
    read_metric,
    read_metrics,
    run_planted,
    write_simulation,
)
from support.cli import error_message, run_cli
from support.datasets import Array
from support.run_processes import write_dataset_source
from support.sources import erase_chunks, truncate_file

DTYPES = ("uint8", "uint16", "float16", "float32")


def read_evidence(run: Path, name: str) -> Array:
    return np.asarray(zarr.open_array(run / f"evidence/given.zarr/{name}", mode="r")[:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_pixel_metrics_equal_those_of_whole_arrays(dtype: str, tmp_path: Path) -> None:
    planted = plant_errors(dtype=dtype, images=12)
    run = run_planted(planted, tmp_path, *(["--evidence.dtype", "float32"] if dtype == "float32" else []))
    assert evaluate(run, tmp_path / "right.zarr", tmp_path / "ev") == 0
    valid, wrong, mask = planted.valid, planted.wrong, read_evidence(run, "issue_mask") > 0
    out = tmp_path / "ev"
    assert read_metric(out, "issue_mask", "pixel_precision")["value"] == (mask & wrong).sum() / mask.sum()
    assert read_metric(out, "issue_mask", "pixel_recall")["value"] == (mask & wrong).sum() / wrong.sum()
    assert read_metric(out, "issue_mask", "pixel_iou")["value"] == (mask & wrong).sum() / (mask | wrong).sum()
    assert read_metric(out, "issue_mask", "pixel_iou")["errors"] == wrong.sum()
    area = average_precision_score(wrong[valid], mask[valid])
    assert read_metric(out, "issue_mask", "pixel_average_precision")["value"] == pytest.approx(area, abs=1e-12)
    confidence = read_evidence(run, "self_confidence")
    if dtype == "float32":  # counted by its upper 16 bits
        confidence = (confidence.view(np.uint32) >> 16 << 16).view(np.float32)
    area = average_precision_score(wrong[valid], -confidence[valid].astype(np.float64))
    assert read_metric(out, "self_confidence", "pixel_average_precision")["value"] == pytest.approx(area, abs=1e-12)


def test_error_masks_and_corrected_labels_give_the_same_metrics(
    run: Path, planted: PlantedErrors, tmp_path: Path
) -> None:
    assert evaluate(run, write_simulation(tmp_path / "sim", planted), tmp_path / "a") == 0
    assert evaluate(run, run.parent / "right.zarr", tmp_path / "b") == 0
    assert read_metrics(tmp_path / "a") == read_metrics(tmp_path / "b")


def test_metrics_do_not_depend_on_executor_and_block_size(
    run: Path, planted: PlantedErrors, tmp_path: Path, scheduler_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from masksift.cli.main import main

    right = run.parent / "right.zarr"
    assert evaluate(run, right, tmp_path / "serial") == 0
    args = ["evaluate", run, "--truth", right, "--out", tmp_path / "dask", "--bootstrap", 50, "--log-format", "quiet"]
    more = ["--executor.kind", "dask", "--executor.address", scheduler_address]
    assert main([str(word) for word in (*args, *more)]) == 0
    monkeypatch.setattr("masksift.engine.planning.layout.MIN_BLOCK_BYTES", 1 << 10)
    (tmp_path / "small").mkdir()
    small = run_planted(planted, tmp_path / "small")
    assert len(list((small / "manifest/score").iterdir())) > len(list((run / "manifest/score").iterdir()))
    assert evaluate(small, right, tmp_path / "blocks") == 0
    assert read_metrics(tmp_path / "serial") == read_metrics(tmp_path / "dask") == read_metrics(tmp_path / "blocks")


def test_padding_pixels_are_not_measured(tmp_path: Path) -> None:
    """Labels differ in the padding, which is not measured."""
    planted = plant_errors(images=12)
    unpadded = np.zeros(planted.wrong.shape, bool)
    unpadded[:, :12, :15] = True
    padded = np.where(unpadded, planted.right, 1 - planted.right % 2)
    for name, labels in (("plain", planted.right), ("padded", padded)):
        group = zarr.create_group(str(tmp_path / f"{name}.zarr"))
        group.create_array("labels", data=labels.astype("uint8"), config={"write_empty_chunks": True})
    write_dataset_source(tmp_path / "given.zarr", planted.data)
    source = zarr.open_group(str(tmp_path / "given.zarr"), mode="r+")
    for name, size in (("height", 12), ("width", 15)):
        source.create_array(name, data=np.full(12, size, np.int32))
    assert run_cli("run", "--source", tmp_path / "given.zarr", "--out", tmp_path / "out") == 0
    for name in ("plain", "padded"):
        assert evaluate(tmp_path / "out", tmp_path / f"{name}.zarr", tmp_path / f"ev-{name}") == 0
    assert read_metrics(tmp_path / "ev-plain") == read_metrics(tmp_path / "ev-padded")
    assert (
        read_metric(tmp_path / "ev-plain", "issue_mask", "pixel_recall")["errors"] == (planted.wrong & unpadded).sum()
    )


def test_run_without_evidence_is_measured_by_its_masks(planted: PlantedErrors, tmp_path: Path) -> None:
    run = run_planted(planted, tmp_path, "--evidence.keep", "false")
    assert evaluate(run, tmp_path / "right.zarr", tmp_path / "ev") == 0
    assert read_metric(tmp_path / "ev", "issue_mask", "pixel_recall")["value"] > 0
    assert read_metric(tmp_path / "ev", "issue_mask", "region_recall", "IoU 0.1")["value"] > 0
    assert read_metric(tmp_path / "ev", "issue_mask", "region_average_precision", "IoU 0.1")["value"] > 0
    row = read_metric(tmp_path / "ev", "self_confidence", "pixel_average_precision")
    assert (row["value"], row["note"]) == (None, "the run kept no evidence: pixels cannot be ranked")


def test_moved_and_rescored_runs_have_the_same_metrics(planted: PlantedErrors, tmp_path: Path) -> None:
    run = run_planted(planted, tmp_path)
    right = tmp_path / "right.zarr"
    assert evaluate(run, right, tmp_path / "before") == 0
    assert run_cli("score", run, "--out", tmp_path / "again", "--max_quarantined", "100%") == 0
    assert evaluate(tmp_path / "again", right, tmp_path / "scored") == 0
    shutil.move(run, tmp_path / "moved")
    assert evaluate(tmp_path / "moved", right, tmp_path / "after") == 0
    assert read_metrics(tmp_path / "before") == read_metrics(tmp_path / "after") == read_metrics(tmp_path / "scored")


# -------------------------------------------------------------------------------------------------- what is lost


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda right: erase_chunks(right / "labels", slice(4, 6)), r"image 4: chunk c/2/0/0 of .* does not exist"),
        (lambda right: truncate_file(right / "labels/c/2/0/0", 0.5), r"image 4: chunk c/2/0/0 of .* does not decode"),
    ],
)
def test_damaged_corrected_labels_are_reported(
    damage: Callable[[Path], None],
    match: str,
    run: Path,
    right: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(right, tmp_path / "right.zarr")
    damage(tmp_path / "right.zarr")
    capsys.readouterr()
    assert evaluate(run, tmp_path / "right.zarr", tmp_path / "ev") == 2
    assert re.search(match, error_message(capsys))
    assert not (tmp_path / "ev").exists()


def test_missing_error_mask_chunk_is_reported(
    planted: PlantedErrors, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write_simulation(tmp_path / "sim", planted)
    erase_chunks(truth / "labels/given.zarr/truth", slice(5, 6))  # an image without changes
    capsys.readouterr()
    assert evaluate(run, truth, tmp_path / "ev") == 2
    assert re.search(r"truth cannot be compared \(chunk c/5/0/0 of .* does not exist\)", error_message(capsys))


def test_absent_chunk_with_ignored_fill_value_is_not_measured(
    run: Path, planted: PlantedErrors, tmp_path: Path
) -> None:
    group = zarr.create_group(str(tmp_path / "sparse.zarr"))
    shape = planted.right.shape
    array = group.create_array("labels", shape=shape, dtype="uint8", chunks=(1, *shape[1:]), fill_value=255)
    array[:8] = planted.right[:8]
    assert evaluate(run, tmp_path / "sparse.zarr", tmp_path / "ev") == 0
    assert read_metric(tmp_path / "ev", "softmin", "auroc")["errors"] == 2  # images 0 and 4
    assert read_metric(tmp_path / "ev", "issue_mask", "pixel_recall")["errors"] == planted.wrong[:8].sum()


def test_invalid_corrected_label_is_reported(
    run: Path, right: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(right, tmp_path / "right.zarr")
    zarr.open_array(tmp_path / "right.zarr/labels", mode="r+")[5, 2, 2] = 77
    capsys.readouterr()
    assert evaluate(run, tmp_path / "right.zarr", tmp_path / "ev") == 2
    assert "cannot be compared (image 5: label 77 at (y=2, x=2)" in capsys.readouterr().err


def test_evaluation_on_small_worker_is_refused(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    capsys.readouterr()
    assert evaluate(run, run.parent / "right.zarr", tmp_path / "ev", "--executor.memory", "64 MiB") == 4
    assert "Comparing the pixels needs" in error_message(capsys)
