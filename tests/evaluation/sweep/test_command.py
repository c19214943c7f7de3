"""`masksift sweep` as a whole. Its definition: what `simulate`, `run` and `evaluate` say of each setting."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluation.evaluate.helpers import measures
from evaluation.simulate.helpers import KIND_WORDS, drawing, simulate
from masksift.engine.planning import layout
from masksift.evaluation.sweep import command as line
from masksift.evaluation.sweep import condense_task as condensing
from masksift.scoring.methods import METHODS
from support.cli import error_message, exit_code, run_cli
from support.datasets import Data
from support.results import read_files
from support.sources import Source, erase_chunks, write_source

KINDS, SHARES, TEMPERATURES = ("drop", "swap"), (0.2, 0.5), (0.05, 1.0)
FEW = ("--kinds", ",".join(KINDS), "--shares", "0.5,0.2", "--softmin.temperatures", "1,0.05", "--seed", 3)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A good source that no test changes, in several blocks."""
    return write_source(tmp_path_factory.mktemp("good") / "a.zarr", images())


@pytest.fixture(scope="module")
def whole(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete sweep of it that no test changes."""
    return sweep(source, tmp_path_factory.mktemp("whole") / "out")


def images(dtype: str = "uint8", **changes: Any) -> Data:
    return drawing(**({"images": 16, "dtype": dtype} | changes))


def sweep(source: object, out: Path, *words: object) -> Path:
    assert run_cli("sweep", "--source", source, "--out", out, *FEW, *words) == 0
    return out


def table(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "sweep.parquet").to_pylist()
    return rows


def results(out: Path) -> dict[str, bytes]:
    """What does not say how long it took."""
    return {name: data for name, data in read_files(out).items() if re.match(r"sweep[.](parquet|md)|plots/", name)}


def record(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "sweep.json").read_text())
    return found


def setting_by_setting(source: object, folder: Path, kind: str, share: float, *words: object) -> dict[str, Any]:
    """The figures of one setting by the verbs that a sweep replaces, by score and measure."""
    known, run, out = folder / f"known-{kind}-{share}", folder / f"run-{kind}-{share}", folder / f"out-{kind}-{share}"
    simulate(kind, source, known, "--share", share, "--seed", 3)
    told = ("--source", source, "--labels_from", known / "labels", "--max_quarantined", "100%", *words)
    assert run_cli("run", *told, "--out", run) == 0
    assert run_cli("evaluate", run, "--truth", known, "--out", out, "--bootstrap", 0, "--at", "errors") in (0, 3)
    found = {(row["score"], row["measure"]): row for row in measures(out) if row["at"] in (None, "errors")}
    for t in TEMPERATURES[1:]:
        again = folder / f"again-{kind}-{share}"
        assert (
            run_cli(
                "score",
                run,
                "--out",
                again,
                "--softmin.temperature",
                t,
                "--methods",
                "softmin",
                "--max_quarantined",
                "100%",
            )
            == 0
        )
        out = folder / f"again-out-{kind}-{share}"
        assert run_cli("evaluate", again, "--truth", known, "--out", out, "--bootstrap", 0, "--at", "errors") in (0, 3)
        found |= {((row["score"], t), row["measure"]): row for row in measures(out) if row["at"] in (None, "errors")}
    return found


def same_figures(source: object, out: Path, folder: Path, kind: str, share: float, *words: object) -> None:
    expected = setting_by_setting(source, folder, kind, share, "--softmin.temperature", TEMPERATURES[0], *words)
    mine = [row for row in table(out) if (row["kind"], row["share"]) == (kind, share)]
    assert {row["method"] for row in mine} == set(METHODS)
    for row in mine:
        late = row["temperature"] in TEMPERATURES[1:]
        score = (row["method"], row["temperature"]) if late else row["method"]
        for column, measure in {
            "auroc": "auroc",
            "auprc": "average_precision",
            "kendall_tau": "kendall_tau",
            "precision": "precision",
            "lift": "lift",
            "recall": "recall",
        }.items():
            theirs = expected[score, measure]
            assert row[column] == theirs["value"], (kind, share, score, measure)
            assert (row["images"], row["errors"]) == (theirs["images"], theirs["errors"])


# --------------------------------------------------------------------------------------------------- the definition


@pytest.mark.parametrize(("kind", "share"), list(zip(KINDS, SHARES, strict=True)))
def test_a_setting_is_what_simulate_run_and_evaluate_say(
    kind: str, share: float, source: Source, whole: Path, tmp_path: Path
) -> None:
    same_figures(source, whole, tmp_path, kind, share)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["shift", "missing_region"])
def test_so_it_is_of_several_sources_other_parameters_and_spoilt_images(kind: str, tmp_path: Path) -> None:
    """Evidence of 8 and of 16 bits, sizes that differ, images that are quarantined, an annotator's background."""
    write_source(tmp_path / "a.zarr", images(images=9, dtype="float32"))
    spoilt = write_source(tmp_path / "b.zarr", images(images=8, seed=5, height=20))
    erase_chunks(spoilt.predictions, slice(4, 6))
    words = ("--clc.rule", "confident", "--tccp.tau", "confident", "--coco.aggregate", "min", "--tccp.lattice", 3)
    of_kind = (*KIND_WORDS[kind], "--kinds", kind, "--shares", 0.4)
    out = sweep(tmp_path / "*.zarr", tmp_path / "out", *words, *of_kind)
    same_figures(tmp_path / "*.zarr", out, tmp_path, kind, 0.4, *words)
    assert {row["images"] for row in table(out)} == {17 - 2 - 2}, "two are lost, one of each source is ignored"
    assert record(out)["counts"] == {"scored": 13, "quarantined": 4}


def test_evidence_of_sixteen_bits_alone_has_its_second_look(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", images(dtype="uint16", images=8))
    out = sweep(source, tmp_path / "out", "--kinds", "swap", "--shares", 0.5)
    same_figures(source, out, tmp_path, "swap", 0.5)


# ------------------------------------------------------------------------------------------------ what comes out of it


def test_the_table_has_a_row_a_setting_and_score(whole: Path) -> None:
    scores = [(name, t) for name in METHODS for t in (TEMPERATURES if name == "softmin" else (None,))]
    assert [(row["kind"], row["share"], row["method"], row["temperature"]) for row in table(whole)] == [
        (kind, share, *score) for kind in KINDS for share in SHARES for score in scores
    ]
    assert record(whole)["settings"] == len(table(whole)) == 36
    assert {row["errors"] for row in table(whole) if row["share"] == 0.2} == {3}


def test_the_end_says_what_is_best_and_where_the_results_lie(
    source: Source, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(source, whole)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "36 settings of 15 ranked images: 2 kinds of errors x 2 shares x 9 scores"
    assert re.fullmatch(r"best score, by AUPRC [(]mean over the shares[)]: drop \w.* [(]0[.]\d+[)], swap .*", lines[1])
    assert re.fullmatch(r"best temperature of softmin, by AUPRC .*: drop (0.05|1) [(].*[)], swap .*", lines[2])
    assert lines[3:] == ["1 images are quarantined and count nowhere", f"results: {whole}"]


def test_the_page_shows_the_table_and_the_pictures(whole: Path) -> None:
    page = (whole / "sweep.md").read_text()
    for row in table(whole):
        assert f"{row['auroc']:.3f} / {row['auprc']:.3f}" in page
    names = re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert names == ["plots/temperature.png", "plots/auroc_over_share.png", "plots/precision_over_share.png"]
    assert all((whole / name).is_file() for name in names)


def test_settings_without_an_error_say_so(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", images(images=4))
    out = sweep(source, tmp_path / "out", "--kinds", "drop", "--shares", "0.05,0.1", "--methods", "softmin,clc")
    assert {row["note"] for row in table(out)} == {"no ranked image is wrong"}
    assert {row["auroc"] for row in table(out)} == {None}
    assert "none: no ranked image is wrong." in (out / "sweep.md").read_text()
    assert not (out / "plots").exists() or list((out / "plots").iterdir()) == []


# --------------------------------------------------------------------------------------------------- twice equals once


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two images."""
    for name in ("MIN_BLOCK_BYTES", "CHUNK_BYTES"):
        monkeypatch.setattr(layout, name, 1)
    monkeypatch.setattr(layout, "TARGET_BLOCKS", 1 << 30)


def reads(stage: str, out: Path) -> dict[str, Any]:
    (found,) = [one for one in record(out)["stages"] if one["name"] == stage]
    return dict(found)


def test_any_size_of_blocks_gives_the_same(source: Source, whole: Path, tmp_path: Path, small_blocks: None) -> None:
    out = sweep(source, tmp_path / "out")
    assert (reads("condense", out)["blocks"], reads("condense", whole)["blocks"]) == (8, 1)
    assert results(out) == results(whole)


@pytest.mark.slow
def test_any_executor_gives_the_same_bits(
    source: Source, whole: Path, tmp_path: Path, scheduler_address: str, small_blocks: None
) -> None:
    words = ("--executor.kind", "dask", "--executor.address", scheduler_address, "--log-format", "quiet")
    assert exit_code("sweep", "--source", source, "--out", tmp_path / "there", *FEW, *words) == 0
    assert results(tmp_path / "there") == results(whole)


def test_predictions_and_labels_are_read_once_for_all_settings(source: Source, whole: Path) -> None:
    chunks = [path for path in source.path.rglob("c/**/*") if path.is_file()]
    stored, read = sum(path.stat().st_size for path in chunks), reads("condense", whole)["bytes_read"]
    assert stored <= read < stored + 16384, "besides: metadata"


@pytest.mark.parametrize("room", [condensing, line])
def test_what_was_interrupted_goes_on_where_it_was(
    room: Any,
    source: Source,
    whole: Path,
    tmp_path: Path,
    small_blocks: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "condense_block" if room is condensing else "score_block"
    task, done = getattr(line, name), []

    def stop_at_third(*words: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(words)
        return task(*words)

    with monkeypatch.context() as patched:
        patched.setattr(line, name, stop_at_third)
        assert run_cli("sweep", "--source", source, "--out", tmp_path / "out", *FEW) == 5
    assert "The same command goes on from there" in error_message(capsys)
    assert not (tmp_path / "out/sweep.json").exists()
    out = sweep(source, tmp_path / "out")
    stages = [reads(stage, out)["reused_blocks"] for stage in ("condense", "score")]
    assert stages == ([2, 0] if room is condensing else [8, 2])
    assert results(out) == results(whole)


def test_what_is_complete_is_left_alone(
    source: Source, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_files(whole)
    monkeypatch.setattr(line, "_score", None)
    assert exit_code("sweep", "--source", source, "--out", whole, *FEW, "--executor.kind", "serial") == 0
    assert read_files(whole) == before
    assert capsys.readouterr().err == f"{whole} is complete already: nothing to do\n"


def test_other_temperatures_and_scores_condense_nothing_again(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--methods", "softmin,tccp,iou", "--softmin.temperatures", "0.2", "--tccp.tau", 0.5, "--at", "20%")
    fresh = sweep(source, tmp_path / "fresh", *words)
    out = sweep(source, tmp_path / "out")
    shown = (out / "plots/temperature.png").exists()
    monkeypatch.setattr(condensing, "condense_chunk", None)
    sweep(source, out, *words)
    assert reads("condense", out)["reused_blocks"] == 1
    assert shown, "of the first one"
    assert results(out) == results(fresh), "the picture of several temperatures is gone"


def test_two_sweeps_are_not_mixed(source: Source, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (
            ("--shares", "0.5"),
            r"inputs or settings \(shares was \[0\.2, 0\.5\], is \[0\.5\]\)\. .*Pass another --out",
        ),
        (("--seed", 4), r"seed was 3, is 4"),
        (("--kinds", "drop"), r'kinds was \["drop", "swap"\], is \["drop"\]'),
    ):
        assert run_cli("sweep", "--source", source, "--out", whole, *FEW, *words) == 2
        assert re.search(said, error_message(capsys))
    assert run_cli("sweep", "--source", source, "--out", source, *FEW) == 2
    assert re.search(r"contains files that are not results of masksift", error_message(capsys))


# ------------------------------------------------------------------------------------------------------- what it needs


def test_workers_that_are_too_small_are_refused(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--executor.memory", "64 MiB")
    assert run_cli("sweep", "--source", source, "--out", tmp_path / "out", *FEW, *words) == 4
    assert re.search(r"needs .* a worker .*has 64\.0 MiB", error_message(capsys))
    assert not (tmp_path / "out").exists()


def test_a_sweep_needs_more_memory_than_a_run_and_more_with_each_kind(source: Source, tmp_path: Path) -> None:
    def needed(*kinds: str) -> int:
        told = {"sources": [str(source)], "out": str(tmp_path), "kinds": list(kinds)}
        return line._open(line.SweepConfig.model_validate(told))[1].memory

    assert needed("drop") < needed("drop", "swap") < needed("drop", "swap", "shift")


def test_a_source_without_predictions_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from masksift import EvidenceWriter

    data = images(images=4)
    with EvidenceWriter(
        str(tmp_path / "a.zarr"), images=4, height=24, width=32, classes=4, ignore=255, kind="probabilities"
    ) as writer:
        writer.write(data.predictions.astype(np.float32) / 255, data.labels)
    assert run_cli("sweep", "--source", tmp_path / "a.zarr", "--out", tmp_path / "out", *FEW) == 2
    assert re.search(r"holds evidence in place of predictions; .*Give a source that holds them", error_message(capsys))


def test_an_ensemble_is_refused(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = Path(shutil.copytree(source.path, tmp_path / "two.zarr"))
    shutil.copytree(two / "predictions", two / "predictions_b")
    several = ("--arrays.predictions", "predictions,predictions_b")
    assert run_cli("sweep", "--source", two, "--out", tmp_path / "out", *several, *FEW) == 2
    assert re.search(r"2 predictions of .* are given; .*Name one as --arrays\.predictions", error_message(capsys))
