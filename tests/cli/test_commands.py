"""Commands `score` and `plan`, and exit codes and streams of real processes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from support.cli import error_message, exit_code, run_cli
from support.errors import assert_sentences
from support.results import read_files, read_rows
from support.sources import Source, erase_chunks, make_data, truncate_file, write_source

OTHER_OPTIONS = (
    "--softmin.temperature",
    "0.5",
    "--clc.rule",
    "confident",
    "--tccp.tau",
    "confident",
    "--coco.aggregate",
    "min",
)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return write_source(tmp_path / "scenes.zarr", ids=[f"scene {i}" for i in range(8)], label_chunks=(1, 8, 10))


@pytest.fixture
def base(source: Source, tmp_path: Path) -> Path:
    """Return a completed run."""
    assert run_cli("run", "--source", source, "--out", tmp_path / "base") == 0
    return tmp_path / "base"


def test_score_equals_a_run_without_reading_predictions(source: Source, base: Path, tmp_path: Path) -> None:
    assert run_cli("run", "--source", source, "--out", tmp_path / "whole", *OTHER_OPTIONS) == 0
    shutil.rmtree(source.predictions)
    assert run_cli("score", base, "--out", tmp_path / "again", *OTHER_OPTIONS) == 0
    for table in ("images", "ranking", "class_pairs.parquet", "class_quality.parquet", "thresholds.parquet"):
        assert read_rows(tmp_path / "again", table) == read_rows(tmp_path / "whole", table)
    assert read_rows(tmp_path / "again") != read_rows(base)
    masks = [
        zarr.open_group(tmp_path / out / "evidence/scenes.zarr", mode="r")["issue_mask"] for out in ("whole", "again")
    ]
    np.testing.assert_array_equal(masks[0][...], masks[1][...])  # type: ignore[index]
    assert sorted(zarr.open_group(tmp_path / "again/evidence/scenes.zarr", mode="r").array_keys()) == ["issue_mask"]
    record = json.loads((tmp_path / "again/run.json").read_text())
    assert [stage["name"] for stage in record["stages"]] == ["thresholds", "score", "rank", "report"]
    (row,) = read_rows(tmp_path / "again", "sources.parquet")
    assert (record["sources"], row["evidence"], row["kept"]) == (1, str(base / "evidence/scenes.zarr"), True)


@pytest.mark.parametrize("rank_by", [(), ("--rank-by", "clc")])
def test_score_leaves_the_original_run_unchanged(base: Path, tmp_path: Path, rank_by: tuple[str, ...]) -> None:
    before = read_files(base)
    assert run_cli("score", base, "--out", tmp_path / "again", "--methods", "clc", *rank_by) == 0
    assert read_files(base) == before
    assert set(read_rows(tmp_path / "again", "ranking")[0]) >= {"clc", "score"}
    assert "softmin" not in read_rows(tmp_path / "again", "ranking")[0]


def test_score_twice_changes_nothing(base: Path, tmp_path: Path) -> None:
    args = ("score", base, "--out", tmp_path / "again", *OTHER_OPTIONS)
    assert run_cli(*args) == 0
    before = read_files(tmp_path / "again")
    assert run_cli(*args) == 0
    assert read_files(tmp_path / "again") == before


def test_score_into_the_original_run_exits_with_2(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_files(base)
    capsys.readouterr()
    assert run_cli("score", base, *OTHER_OPTIONS) == 2
    assert "--out is required: scoring must not overwrite the original run. Pass --out URL." in error_message(capsys)
    assert run_cli("score", base, "--out", base, *OTHER_OPTIONS) == 2
    assert re.search("base holds results of other inputs or settings", error_message(capsys))
    assert read_files(base) == before


def test_score_of_an_incomplete_run_exits_with_2(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    for text in (None, '{"version": "of another tool"}'):
        (base / "run.json").unlink()
        if text is not None:
            (base / "run.json").write_text(text)
        assert run_cli("score", base, "--out", tmp_path / "again") == 2
        assert re.search(r"base contains no completed run\. Pass the URL of a completed run", error_message(capsys))
        (base / "run.json").write_text("{}")
    assert not (tmp_path / "again").exists()


def test_score_does_not_inherit_the_executor(base: Path, tmp_path: Path) -> None:
    record = json.loads((base / "run.json").read_text())
    record["configuration"]["executor"] |= {"kind": "dask", "address": "tcp://gone:8786"}
    (base / "run.json").write_text(json.dumps(record))
    assert run_cli("score", base, "--out", tmp_path / "again", *OTHER_OPTIONS) == 0


def test_score_keeps_quarantined_images(tmp_path: Path) -> None:
    source = write_source(tmp_path / "scenes.zarr")
    erase_chunks(source.predictions, slice(2, 4))
    for verb, args in (
        ("run", ("--source", source, "--out", tmp_path / "base")),
        ("score", (tmp_path / "base", *OTHER_OPTIONS)),
    ):
        out = ("--out", tmp_path / "again") if verb == "score" else ()
        assert run_cli(verb, *args, *out) == 3
    first, again = read_rows(tmp_path / "base"), read_rows(tmp_path / "again")
    assert [(row["status"], row["reason"]) for row in again] == [(row["status"], row["reason"]) for row in first]
    assert [row["status"] for row in again].count("missing_chunk") == 2


def test_score_with_lost_labels_exits_with_2(
    source: Source, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    erase_chunks(source.labels, slice(5, 6))
    assert run_cli("score", base, "--out", tmp_path / "again", *OTHER_OPTIONS) == 2
    assert re.search(
        r"The labels of image 5 of .*scenes.zarr have changed .*c/5/0/0 .* does not exist", error_message(capsys)
    )


@pytest.mark.parametrize("loss", ["absent", "cut"])
def test_score_with_lost_evidence_exits_with_2(
    loss: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    chunk = next(path for path in (base / "evidence/scenes.zarr/predicted_class/c").rglob("*") if path.is_file())
    if loss == "absent":
        chunk.unlink()
    else:
        truncate_file(chunk, 0.5)
    assert run_cli("score", base, "--out", tmp_path / "again", *OTHER_OPTIONS) == 2
    assert re.search(r"Evidence at .*base/evidence/scenes.zarr is damaged: .*predicted_class", error_message(capsys))


def test_run_without_kept_evidence_has_the_same_tables_and_masks(
    source: Source, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lean"
    args = ("--source", source, "--out", out, "--evidence.keep", "false")
    assert run_cli("run", *args) == 0
    for table in ("images", "ranking", "thresholds.parquet", "class_pairs.parquet", "class_quality.parquet"):
        assert read_rows(out, table) == read_rows(base, table)
    kept = zarr.open_group(out / "evidence" / "scenes.zarr", mode="r")
    assert sorted(kept.array_keys()) == ["issue_mask"]
    np.testing.assert_array_equal(
        kept["issue_mask"][:], zarr.open_group(base / "evidence" / "scenes.zarr", mode="r")["issue_mask"][:]
    )
    capsys.readouterr()
    assert run_cli("score", out, "--out", tmp_path / "again") == 2
    assert "was run with evidence.keep = false. There is no evidence to score." in error_message(capsys)


@pytest.mark.parametrize("plane", ["predicted_class", "self_confidence"])
def test_score_with_damaged_evidence_exits_with_2(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], plane: str
) -> None:
    array = zarr.open_array(base / "evidence" / "scenes.zarr" / plane, mode="r+")
    bits = np.array(array[2:3]).view("u1" if plane == "predicted_class" else "u2")
    bits[0, 3, 4] = 200 if plane == "predicted_class" else 0x7000
    array[2:3] = bits.view(array.dtype)
    capsys.readouterr()
    assert run_cli("score", base, "--out", tmp_path / "again") == 2
    assert "The evidence is damaged, and its images cannot be scored." in error_message(capsys)


def test_run_removes_evidence_that_a_killed_run_left(source: Source, base: Path, tmp_path: Path) -> None:
    out = tmp_path / "lean"
    args = ("--source", source, "--out", out, "--evidence.keep", "false")
    assert run_cli("run", *args) == 0
    shutil.copytree(
        base / "evidence" / "scenes.zarr" / "self_confidence", out / "evidence" / "scenes.zarr" / "self_confidence"
    )
    assert run_cli("run", *args) == 0
    assert sorted(zarr.open_group(out / "evidence" / "scenes.zarr", mode="r").array_keys()) == ["issue_mask"]


def test_plan_prints_text(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("plan", "--source", source, "--out", tmp_path / "out", "--executor.memory", "4 GiB")
    assert exit_code(*args) == 0
    text = capsys.readouterr().out
    assert "scenes: 8 images of 8 x 10, 4 classes, float32 probabilities, labels uint8, ignore [255]" in text
    for line in (
        r"images +8 in 1 blocks?$",
        r"to read +\d.* decoded, \d+ objects$",
        r"to write +\d.* before compression, \d+ objects$",
        r"memory +\d+\.\d MiB per worker \(condensing \d.*, scoring \d.*, ranking \d.*, report \d.*\); limit 4\.0 GiB$",
        r"fingerprint +[0-9a-f]{12}$",
    ):
        assert re.search(line, text, re.MULTILINE), line


def test_plan_json_equals_the_run_record(
    source: Source, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert exit_code("plan", "--source", source, "--out", tmp_path / "out", "--executor.kind", "serial", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    record = json.loads((base / "run.json").read_text())
    assert plan["images"] == 8
    assert plan["pixels"] == 8 * 80
    assert plan["memory"] == max(plan[f"memory_{name}"] for name in ("condense", "score", "report"))
    assert (plan["fingerprint"], plan["memory"], plan["blocks"]) == (
        record["fingerprint"],
        record["projected_memory"],
        record["blocks"],
    )


def test_plan_reads_no_chunk_and_writes_nothing(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("plan", "--source", source, "--out", tmp_path / "out", "--executor.kind", "serial", "--json")
    assert exit_code(*args) == 0
    first = json.loads(capsys.readouterr().out)
    shutil.rmtree(source.predictions / "c")
    shutil.rmtree(source.labels / "c")
    assert exit_code(*args) == 0
    second = json.loads(capsys.readouterr().out)
    for plan in (first, second):  # the plans differ only in the listing of the deleted chunks
        del plan["fingerprint"], plan["identity"]["sources"]["fields"]["content_hashes"]["content"]
    assert second == first
    assert not (tmp_path / "out").exists()


def test_processes_have_the_documented_exit_codes_and_streams(tmp_path: Path) -> None:
    source = write_source(tmp_path / "scenes.zarr", make_data(images=2))
    erase_chunks(source.predictions, slice(0, 2))
    run = ("run", "--source", str(source), "--executor.kind", "serial", "--log-format", "json", "--out")
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "masksift", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for args in (
            ("--version",),
            ("run", "--sorce", str(source)),
            (*run, str(tmp_path / "refused"), "--executor.memory", "1 MiB"),
            (*run, str(tmp_path / "out")),
        )
    ]
    printed = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 2, 4, 3]
    assert re.fullmatch(r"masksift \d+\.\d+\.\d+\n", printed[0][0])
    assert [out for out, _ in printed[1:3]] == ["", ""]
    assert printed[0][1] == ""
    usage_error, memory_error = (error for _, error in printed[1:3])
    assert usage_error.count("\n") == memory_error.count("\n") == 1
    assert_sentences(usage_error.removeprefix("masksift: ").strip())
    failed = json.loads(memory_error)
    assert (failed["event"], failed["exit_code"]) == ("failed", 4)
    assert_sentences(failed["message"])
    out, (*lines, last) = printed[3][0], printed[3][1].splitlines()
    facts = [json.loads(line) for line in lines]
    assert [fact["stage"] for fact in facts if fact["event"] == "end"] == [
        "condense",
        "thresholds",
        "score",
        "rank",
        "report",
    ]
    assert json.loads(last)["event"] == "warning"
    assert_sentences(json.loads(last)["message"])
    assert out == (
        "0 of 2 images scored, 0 pixels flagged\n2 quarantined: missing_chunk\n"
        f"  2, for example scenes/0: chunk c/0/0/0/0 of {tmp_path}/scenes.zarr/predictions does not exist\n"
        "    The predictions of these images were not written. Let the writer finish, or write them again.\n"
        f"results: {tmp_path / 'out'}\nreport: {tmp_path / 'out'}/report/index.html\n"
    )
