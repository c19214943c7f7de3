"""`masksift sweep`: equality with `simulate`, `run` and `evaluate`, outputs, resuming, errors."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluation.evaluate.helpers import read_metrics
from evaluation.simulate.helpers import TYPE_ARGS, make_images, simulate
from masksift.engine.planning import layout
from masksift.evaluation.sweep import command, condense_task
from masksift.evaluation.sweep.config import SweepConfig
from masksift.scoring.methods import score_names
from support.cli import error_message, exit_code, run_cli
from support.datasets import Data
from support.results import read_files
from support.sources import Source, erase_chunks, write_source

TYPES, SHARES, TEMPERATURES = ("drop", "swap"), (0.2, 0.5), (0.05, 1.0)
OPTIONS = ("--kinds", ",".join(TYPES), "--shares", "0.5,0.2", "--softmin.temperatures", "1,0.05", "--seed", 3)
METRICS = {
    "auroc": "auroc",
    "auprc": "average_precision",
    "kendall_tau": "kendall_tau",
    "precision": "precision",
    "lift": "lift",
    "recall": "recall",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Valid source; no test changes it."""
    return write_source(tmp_path_factory.mktemp("source") / "a.zarr", sweep_images())


@pytest.fixture(scope="module")
def completed(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Completed sweep of the source; no test changes it."""
    return sweep(source, tmp_path_factory.mktemp("completed") / "out")


def sweep_images(dtype: str = "uint8", **changes: Any) -> Data:
    return make_images(**({"images": 16, "dtype": dtype} | changes))


def sweep(source: object, out: Path, *args: object) -> Path:
    assert run_cli("sweep", "--source", source, "--out", out, *OPTIONS, *args) == 0
    return out


def read_table(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "sweep.parquet").to_pylist()
    return rows


def read_region_table(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "sweep_regions.parquet").to_pylist()
    return rows


def read_results(out: Path) -> dict[str, bytes]:
    """Result files without timings."""
    pattern = re.compile(r"sweep(_regions)?[.](parquet|md)|plots/")
    return {name: data for name, data in read_files(out).items() if pattern.match(name)}


def read_record(out: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((out / "sweep.json").read_text())
    return record


def read_stage(out: Path, name: str) -> dict[str, Any]:
    (stage,) = [stage for stage in read_record(out)["stages"] if stage["name"] == name]
    return dict(stage)


def evaluate_setting(source: object, folder: Path, error_type: str, share: float, *args: object) -> dict[Any, Any]:
    """Metrics by (score, temperature) and metric, from the commands that a sweep replaces."""
    truth, run = folder / "truth", folder / "run"
    simulate(error_type, source, truth, "--share", share, "--seed", 3)
    quarantine = ("--max_quarantined", "100%")
    first, other = TEMPERATURES
    labels = ("--labels_from", truth / "labels", "--softmin.temperature", first)
    assert run_cli("run", "--source", source, *labels, *quarantine, *args, "--out", run) == 0
    again = ("--softmin.temperature", other, "--methods", "softmin,class_agreement,worst_region,combined")
    assert run_cli("score", run, "--out", folder / "again", *again, *quarantine) == 0
    metrics = {}
    for temperature, path in ((first, run), (other, folder / "again")):
        out = folder / f"evaluation-{temperature}"
        options = ("--truth", truth, "--out", out, "--bootstrap", 0, "--at", "errors")
        assert run_cli("evaluate", path, *options) in (0, 3)
        for row in read_metrics(out):
            key = (row["score"], temperature if row["score"] in ("softmin", "combined") else None), row["measure"]
            if row["score"].startswith("regions by "):  # the other run has no omissions
                metrics.setdefault((*key, row["at"]), row)
            elif row["at"] in (None, "errors"):
                metrics[key] = row
    return metrics


def assert_equal_metrics(source: object, out: Path, folder: Path, error_type: str, share: float, *args: object) -> None:
    expected = evaluate_setting(source, folder, error_type, share, *args)
    rows = [row for row in read_table(out) if (row["kind"], row["share"]) == (error_type, share)]
    assert {row["method"] for row in rows} == set(score_names())
    for row in rows:
        for column, metric in METRICS.items():
            other = expected[(row["method"], row["temperature"]), metric]
            assert row[column] == other["value"], (error_type, share, row["method"], metric)
            assert (row["images"], row["errors"]) == (other["images"], other["errors"])
    regions = [row for row in read_region_table(out) if (row["kind"], row["share"]) == (error_type, share)]
    orders = {key: row for key, row in expected.items() if key[0][0].startswith("regions by ")}
    assert len(regions) == len(orders) == 3 * 9
    assert {row["value"] for row in regions} != {None}
    for row in regions:
        other = orders[(row["score"], None), row["measure"], row["at"]]
        assert row["value"] == other["value"], (error_type, share, row["score"], row["measure"], row["at"])
        assert (row["images"], row["errors"], row["note"]) == (other["images"], other["errors"], other["note"])


# --------------------------------------------------------------------------------- equality with the separate commands


@pytest.mark.parametrize(("error_type", "share"), list(zip(TYPES, SHARES, strict=True)))
def test_sweep_setting_equals_simulate_run_and_evaluate(
    error_type: str, share: float, source: Source, completed: Path, tmp_path: Path
) -> None:
    assert_equal_metrics(source, completed, tmp_path, error_type, share)


@pytest.mark.parametrize("error_type", ["shift", "missing_region"])
def test_sweep_of_mixed_and_damaged_sources_equals_separate_commands(error_type: str, tmp_path: Path) -> None:
    """Evidence of 8 and of 16 bits, different image sizes, quarantined images, and a background class."""
    write_source(tmp_path / "a.zarr", sweep_images(images=9, dtype="float32"))
    damaged = write_source(tmp_path / "b.zarr", sweep_images(images=8, seed=5, height=20))
    erase_chunks(damaged.predictions, slice(4, 6))
    args = ("--clc.rule", "confident", "--tccp.tau", "confident", "--coco.aggregate", "min", "--tccp.lattice", 3)
    errors = (*TYPE_ARGS[error_type], "--kinds", error_type, "--shares", 0.4)
    out = sweep(tmp_path / "*.zarr", tmp_path / "out", *args, *errors)
    assert_equal_metrics(tmp_path / "*.zarr", out, tmp_path, error_type, 0.4, *args)
    assert {row["images"] for row in read_table(out)} == {17 - 2 - 2}, "two damaged, one ignored in each source"
    assert read_record(out)["counts"] == {"scored": 13, "quarantined": 4}


def test_sweep_of_16_bit_evidence_equals_separate_commands(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", sweep_images(dtype="uint16", images=8))
    out = sweep(source, tmp_path / "out", "--kinds", "swap", "--shares", 0.5)
    assert_equal_metrics(source, out, tmp_path, "swap", 0.5)


# -------------------------------------------------------------------------------------------------------------- outputs


def test_sweep_table_has_one_row_per_setting_and_score(completed: Path) -> None:
    scores = [
        (name, t) for name in score_names() for t in (TEMPERATURES if name in ("softmin", "combined") else (None,))
    ]
    table = read_table(completed)
    assert [(row["kind"], row["share"], row["method"], row["temperature"]) for row in table] == [
        (error_type, share, *score) for error_type in TYPES for share in SHARES for score in scores
    ]
    assert read_record(completed)["settings"] == len(table) == 52
    assert {row["errors"] for row in table if row["share"] == 0.2} == {3}


def test_completed_sweep_is_left_unchanged_and_prints_its_summary(
    source: Source, completed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_files(completed)
    monkeypatch.setattr(command, "_compute_scores", None)
    capsys.readouterr()
    assert exit_code("sweep", "--source", source, "--out", completed, *OPTIONS, "--executor.kind", "serial") == 0
    assert read_files(completed) == before
    printed = capsys.readouterr()
    assert printed.err == f"{completed} is complete already: nothing to do\n"
    lines = printed.out.splitlines()
    assert lines[0] == "52 settings of 15 ranked images: 2 error types x 2 shares x 13 scores"
    assert re.fullmatch(r"best score, by AUPRC [(]mean over the shares[)]: drop \w.* [(]0[.]\d+[)], swap .*", lines[1])
    assert re.fullmatch(r"best temperature of softmin, by AUPRC .*: drop (0.05|1) [(].*[)], swap .*", lines[2])
    assert re.fullmatch(r"best order, by AUPRC .*: drop regions by \w+ [(].*[)], swap .*", lines[3])
    assert lines[4:] == ["1 images are quarantined and not measured", f"results: {completed}"]


def test_sweep_report_contains_all_values_and_plots(completed: Path) -> None:
    page = (completed / "sweep.md").read_text()
    for row in read_table(completed):
        assert f"{row['auroc']:.3f} / {row['auprc']:.3f}" in page
    names = re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert names == ["plots/temperature.png", "plots/auroc_over_share.png", "plots/precision_over_share.png"]
    assert all((completed / name).is_file() for name in names)


def test_sweep_setting_without_errors_reports_the_reason(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", sweep_images(images=4))
    out = sweep(source, tmp_path / "out", "--kinds", "drop", "--shares", "0.05,0.1", "--methods", "softmin,clc")
    assert {row["note"] for row in read_table(out)} == {"no ranked image is wrong"}
    assert {row["auroc"] for row in read_table(out)} == {None}
    assert "none: no ranked image is wrong." in (out / "sweep.md").read_text()
    assert not (out / "plots").exists() or list((out / "plots").iterdir()) == []


# ----------------------------------------------------------------------------------------- blocks, executors, resuming


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two images."""
    for name in ("MIN_BLOCK_BYTES", "CHUNK_BYTES"):
        monkeypatch.setattr(layout, name, 1)
    monkeypatch.setattr(layout, "TARGET_BLOCKS", 1 << 30)


def test_sweep_on_dask_with_small_blocks_gives_the_same_bytes(
    source: Source, completed: Path, tmp_path: Path, scheduler_address: str, small_blocks: None
) -> None:
    args = ("--executor.kind", "dask", "--executor.address", scheduler_address, "--log-format", "quiet")
    assert exit_code("sweep", "--source", source, "--out", tmp_path / "out", *OPTIONS, *args) == 0
    assert (read_stage(tmp_path / "out", "condense")["blocks"], read_stage(completed, "condense")["blocks"]) == (8, 1)
    assert read_results(tmp_path / "out") == read_results(completed)


def test_sweep_reads_predictions_and_labels_once_for_all_settings(source: Source, completed: Path) -> None:
    chunks = [path for path in source.path.rglob("c/**/*") if path.is_file()]
    stored, read = sum(path.stat().st_size for path in chunks), read_stage(completed, "condense")["bytes_read"]
    assert stored <= read < stored + 16384, "the rest is metadata"


@pytest.mark.parametrize(("task_name", "reused"), [("condense_block", [2, 0]), ("score_block", [8, 2])])
def test_interrupted_sweep_resumes_with_the_same_bytes(
    task_name: str,
    reused: list[int],
    source: Source,
    completed: Path,
    tmp_path: Path,
    small_blocks: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    task, calls = getattr(command, task_name), []

    def interrupt_third(*args: Any) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(args)
        return task(*args)

    with monkeypatch.context() as patched:
        patched.setattr(command, task_name, interrupt_third)
        assert run_cli("sweep", "--source", source, "--out", tmp_path / "out", *OPTIONS) == 5
    assert "Run the same command again" in error_message(capsys)
    assert not (tmp_path / "out/sweep.json").exists()
    out = sweep(source, tmp_path / "out")
    assert [read_stage(out, stage)["reused_blocks"] for stage in ("condense", "score")] == reused
    assert read_results(out) == read_results(completed)


def test_sweep_with_other_score_options_reuses_the_evidence(
    source: Source, completed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("--methods", "softmin,tccp,iou", "--softmin.temperatures", "0.2", "--tccp.tau", 0.5, "--at", "20%")
    fresh = sweep(source, tmp_path / "fresh", *args)
    out = Path(shutil.copytree(completed, tmp_path / "out"))
    assert (out / "plots/temperature.png").exists()
    monkeypatch.setattr(condense_task, "condense_chunk", None)
    sweep(source, out, *args)
    assert read_stage(out, "condense")["reused_blocks"] == 1
    assert read_results(out) == read_results(fresh), "the plot over several temperatures is removed"


def test_sweep_into_other_results_is_refused(
    source: Source, completed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for args, match in (
        (
            ("--shares", "0.5"),
            r"inputs or settings \(shares was \[0\.2, 0\.5\], is \[0\.5\]\)\. .*Pass another --out",
        ),
        (("--seed", 4), r"seed was 3, is 4"),
        (("--kinds", "drop"), r'kinds was \["drop", "swap"\], is \["drop"\]'),
    ):
        assert run_cli("sweep", "--source", source, "--out", completed, *OPTIONS, *args) == 2
        assert re.search(match, error_message(capsys))
    assert run_cli("sweep", "--source", source, "--out", source, *OPTIONS) == 2
    assert re.search(r"is the input", error_message(capsys))


# --------------------------------------------------------------------------------------------------------------- errors


def test_sweep_on_small_workers_is_refused(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--executor.memory", "64 MiB")
    assert run_cli("sweep", "--source", source, "--out", tmp_path / "out", *OPTIONS, *args) == 4
    assert re.search(r"needs .* per worker .*has 64\.0 MiB", error_message(capsys))
    assert not (tmp_path / "out").exists()


def test_sweep_memory_grows_with_the_number_of_error_types(source: Source, tmp_path: Path) -> None:
    def planned_memory(*error_types: str) -> int:
        keys = {"sources": [str(source)], "out": str(tmp_path), "kinds": list(error_types)}
        return command._open_and_plan(SweepConfig.model_validate(keys))[1].memory

    assert planned_memory("drop") < planned_memory("drop", "swap") < planned_memory("drop", "swap", "shift")


def test_sweep_of_evidence_source_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from masksift import EvidenceWriter

    data, size = sweep_images(images=4), {"images": 4, "height": 24, "width": 32, "classes": 4}
    with EvidenceWriter(str(tmp_path / "a.zarr"), **size, ignore=255, kind="probabilities") as writer:
        writer.write(data.predictions.astype(np.float32) / 255, data.labels)
    assert run_cli("sweep", "--source", tmp_path / "a.zarr", "--out", tmp_path / "out", *OPTIONS) == 2
    assert re.search(r"holds evidence instead of predictions\. .*Use a source with", error_message(capsys))


def test_sweep_of_ensemble_is_refused(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ensemble = Path(shutil.copytree(source.path, tmp_path / "ensemble.zarr"))
    shutil.copytree(ensemble / "predictions", ensemble / "predictions_b")
    members = ("--arrays.predictions", "predictions,predictions_b")
    assert run_cli("sweep", "--source", ensemble, "--out", tmp_path / "out", *members, *OPTIONS) == 2
    assert re.search(r"ensemble of 2 prediction arrays\. .*Name one with --arrays", error_message(capsys))
