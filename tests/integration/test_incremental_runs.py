"""Runs with a base: unchanged sources are reused, and the results equal one run over all sources."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from masksift.core.errors import UsageError
from masksift.storage.sources.fingerprint import content_hash
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from support.cli import error_message, run_cli
from support.results import read_rows
from support.sources import Source, make_data, write_source

SCORES = ("ccp", "tccp", "cil", "softmin", "clc", "iou", "coco", "class_agreement", "combined")
TABLES = ("thresholds.parquet", "class_pairs.parquet", "class_quality.parquet", "place_knots.parquet")
DTYPES = {"uint8": (), "float16": (), "float32": ("--evidence.dtype", "float32")}


def write_day(folder: Path, number: int, **changes: Any) -> Source:
    """Write the source of one day, with its own images."""
    return write_source(folder / f"dt=2026-11-{number:02d}", make_data(images=4, seed=number, **changes))


def run(folder: Path, days: list[int], out: str, *flags: object) -> Path:
    """Run over the sources of some days."""
    sources = [arg for number in days for arg in ("--source", folder / f"dt=2026-11-{number:02d}")]
    assert run_cli("run", *sources, "--out", folder / out, *flags) == 0
    return folder / out


def record(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "run.json").read_text())
    return found


def evidence_runs(out: Path) -> list[str]:
    """Return the name of the run that holds the evidence of each source."""
    return [Path(json.loads(row["location"])["out"]).name for row in read_rows(out, "sources.parquet")]


def find_stage(out: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(find_stage for find_stage in record(out)["stages"] if find_stage["name"] == name)
    return found


def assert_same_results(one: Path, other: Path, days: list[int]) -> None:
    """Compare all rows, numbers and masks of two runs over some days."""
    for table in ("images", "ranking", *TABLES):
        assert pq.read_table(one / table).to_pylist() == pq.read_table(other / table).to_pylist(), table
    for number in days:
        name = f"evidence/dt=2026-11-{number:02d}.zarr/issue_mask"
        first, second = (np.asarray(zarr.open_array(out / name, mode="r")[:]) for out in (one, other))
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("dtype", DTYPES)
def test_run_with_a_base_equals_one_run_over_all_sources(tmp_path: Path, dtype: str) -> None:
    for number in (1, 2, 3):
        write_day(tmp_path, number, dtype=dtype)
    yesterday = run(tmp_path, [1, 2], "yesterday", *DTYPES[dtype])
    today = run(tmp_path, [1, 2, 3], "today", "--base", yesterday, *DTYPES[dtype])
    at_once = run(tmp_path, [1, 2, 3], "at-once", *DTYPES[dtype])
    assert_same_results(today, at_once, [1, 2, 3])
    assert record(today)["kept_sources"] == 2
    assert find_stage(today, "condense")["blocks"] < find_stage(at_once, "condense")["blocks"]
    assert find_stage(today, "condense")["bytes_read"] < find_stage(at_once, "condense")["bytes_read"] / 2, (
        "the new day alone"
    )
    assert sorted(path.name for path in (today / "evidence" / "dt=2026-11-01.zarr").iterdir()) == [
        "issue_mask",
        "zarr.json",
    ]


def test_base_with_removed_and_reordered_sources_is_reused(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_day(tmp_path, number)
    first = run(tmp_path, [2, 3], "first")
    second = run(tmp_path, [1, 3], "second", "--base", first)
    assert_same_results(second, run(tmp_path, [1, 3], "at-once"), [1, 3])
    assert record(second)["kept_sources"] == 1


def test_base_may_have_a_base_itself(tmp_path: Path) -> None:
    days: list[int] = []
    base: Path | None = None
    for number in (1, 2, 3):
        days.append(number)
        write_day(tmp_path, number, dtype="uint8" if number == 2 else "float16")
        base = run(tmp_path, days, f"out{number}", *(("--base", base) if base else ()))
    assert base is not None
    assert_same_results(base, run(tmp_path, days, "at-once"), days)
    locations = evidence_runs(base)
    assert locations == ["out1", "out2", "out3"]
    again = tmp_path / "again"
    assert run_cli("score", base, "--out", again) == 0
    assert_same_results(again, base, days)


@pytest.mark.parametrize("array", ["predictions", "labels"])
def test_changed_source_is_condensed_again_and_no_other(tmp_path: Path, array: str) -> None:
    days = [write_day(tmp_path, number) for number in (1, 2)]
    base = run(tmp_path, [1, 2], "base")
    other = write_day(tmp_path / "other", 9)
    place = (0,) * (4 if array == "predictions" else 3)
    shutil.copyfile(other.chunk_file(array, *place), days[1].chunk_file(array, *place))
    found = run(tmp_path, [1, 2], "found", "--base", base)
    assert_same_results(found, run(tmp_path, [1, 2], "at-once"), [1, 2])
    assert record(found)["kept_sources"] == 1
    assert evidence_runs(found) == ["base", "found"]


def test_changed_chunk_changes_the_content_hash(tmp_path: Path) -> None:
    source = write_day(tmp_path, 1)
    spec = open_source(str(source), Overrides(), {})
    arrays = [spec.predictions, spec.labels]
    before = content_hash(arrays, {})
    assert content_hash(arrays, {}) == before
    file = source.chunk_file("labels", 1, 0, 0)
    data = bytearray(file.read_bytes())
    file.write_bytes(data)
    assert content_hash(arrays, {}) != before, "a rewritten file has another modification time"
    middle = content_hash(arrays, {})
    file.unlink()
    assert content_hash(arrays, {}) not in (before, middle)


@pytest.mark.parametrize("flags", [("--tccp.lattice", 2), ("--ignore", "255,3")])
def test_evidence_of_other_options_is_not_reused(tmp_path: Path, flags: tuple[object, ...]) -> None:
    write_day(tmp_path, 1)
    base = run(tmp_path, [1], "base")
    found = run(tmp_path, [1], "found", "--base", base, *flags)
    assert record(found)["kept_sources"] == 0
    assert_same_results(found, run(tmp_path, [1], "at-once", *flags), [1])


def test_evidence_of_another_dtype_is_not_reused(tmp_path: Path) -> None:
    write_day(tmp_path, 1, dtype="float32")
    base = run(tmp_path, [1], "base")
    assert record(run(tmp_path, [1], "found", "--base", base, "--evidence.dtype", "float32"))["kept_sources"] == 0


def test_evidence_is_reused_for_other_methods_and_temperatures(tmp_path: Path) -> None:
    write_day(tmp_path, 1)
    base = run(tmp_path, [1], "base", "--methods", "softmin")
    flags = ("--softmin.temperature", "0.3")
    found = run(tmp_path, [1], "found", "--base", base, *flags)
    assert record(found)["kept_sources"] == 1
    assert_same_results(found, run(tmp_path, [1], "at-once", *flags), [1])


def test_base_without_evidence_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_day(tmp_path, 1)
    base = run(tmp_path, [1], "base", "--evidence.keep", "false")
    capsys.readouterr()
    args = ("--source", tmp_path / "dt=2026-11-01", "--out", tmp_path / "out", "--base", base)
    assert run_cli("run", *args) == UsageError.exit_code
    assert "was run with evidence.keep = false" in error_message(capsys)


def test_base_without_reusable_sources_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    for number in (1, 2):
        write_day(tmp_path, number)
    today = run(tmp_path, [2], "today")
    before = (today / "run.json").read_bytes()
    run(tmp_path, [2], "today", "--base", run(tmp_path, [1], "yesterday"))
    assert (today / "run.json").read_bytes() == before


def test_base_with_reusable_sources_changes_the_fingerprint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_day(tmp_path, 1)
    base, out = run(tmp_path, [1], "base"), run(tmp_path, [1], "out")
    capsys.readouterr()
    args = ("--source", tmp_path / "dt=2026-11-01", "--out", out, "--base", base)
    assert run_cli("run", *args) == UsageError.exit_code
    assert "out holds results of other inputs or settings (base was not set, is" in error_message(capsys)


def test_evidence_of_another_version_is_condensed_again(tmp_path: Path) -> None:
    write_day(tmp_path, 1)
    base = run(tmp_path, [1], "base")
    base_record = record(base)
    base_record["versions"]["masksift"] = "0.0.1"
    (base / "run.json").write_text(json.dumps(base_record))
    assert record(run(tmp_path, [1], "found", "--base", base))["kept_sources"] == 0


@pytest.mark.parametrize("key", ["--base", "--thresholds_from"])
def test_incomplete_base_is_rejected(tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_day(tmp_path, 1)
    args = ("--source", tmp_path / "dt=2026-11-01", "--out", tmp_path / "out", key, tmp_path / "nothing")
    assert run_cli("run", *args) == UsageError.exit_code
    assert "nothing holds no complete run" in error_message(capsys)


# ----------------------------------------------------------------------------------------------------- thresholds_from


@pytest.mark.parametrize("dtype", DTYPES)
def test_thresholds_from_another_run_are_used(tmp_path: Path, dtype: str) -> None:
    """A day that was in the base gets the same scores without the other days."""
    for number in (1, 2):
        write_day(tmp_path, number, dtype=dtype)
    whole = run(tmp_path, [1, 2], "whole", *DTYPES[dtype])
    alone = run(tmp_path, [2], "alone", "--thresholds_from", whole, *DTYPES[dtype])
    columns = (*SCORES, "flagged_pixels", "status", "worst_given", "worst_pixels", "worst_class", "worst_class_z")
    expected = [[row[name] for name in columns] for row in read_rows(whole) if row["dt"] == "2026-11-02"]
    assert any(row["worst_class"] is not None for row in read_rows(whole))
    assert [[row[name] for name in columns] for row in read_rows(alone)] == expected
    thresholds = [pq.read_table(out / "thresholds.parquet").to_pylist() for out in (whole, alone)]
    for one, other in zip(*thresholds, strict=True):
        for name in ("confident_threshold", "decision_threshold", "agreement_center", "label_agreement_spread"):
            assert one[name] == other[name]
        assert one["pixels"] > other["pixels"], "the pixels are those of this run"
    again = tmp_path / "again"
    assert run_cli("score", alone, "--out", again) == 0
    assert [[row[name] for name in columns] for row in read_rows(again)] == expected


@pytest.mark.parametrize("lost", ["agreement", "predicted_pixels"])
def test_thresholds_from_a_run_without_class_agreement_or_totals_are_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lost: str
) -> None:
    write_day(tmp_path, 1)
    whole = run(tmp_path, [1], "whole")
    table = pq.read_table(whole / "thresholds.parquet")
    pq.write_table(
        table.select([name for name in table.column_names if lost not in name]), whole / "thresholds.parquet"
    )
    capsys.readouterr()
    args = ("--source", tmp_path / "dt=2026-11-01", "--out", tmp_path / "out", "--thresholds_from", whole)
    assert run_cli("run", *args) == UsageError.exit_code
    assert "It lacks the usual agreement of classes and the totals with which regions are compared" in error_message(
        capsys
    )


def test_thresholds_from_a_run_without_the_combined_score_are_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_day(tmp_path, 1)
    whole = run(tmp_path, [1], "whole", "--methods", "softmin,clc")
    capsys.readouterr()
    args = ("--source", tmp_path / "dt=2026-11-01", "--out", tmp_path / "out", "--thresholds_from", whole)
    assert run_cli("run", *args) == UsageError.exit_code
    message = error_message(capsys)
    assert "has no score 'combined', by whose rankings the images of this run would be placed" in message
    assert "Pass --methods softmin,clc, or run it again with all scores" in message
    assert run_cli("run", *args, "--methods", "softmin,clc") == 0


def test_thresholds_from_a_run_with_other_classes_are_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_day(tmp_path, 1)
    whole = run(tmp_path, [1], "whole", "--classes", "a,b,c,d")
    capsys.readouterr()
    args = ("--source", tmp_path / "dt=2026-11-01", "--out", tmp_path / "out", "--thresholds_from", whole)
    assert run_cli("run", *args) == UsageError.exit_code
    assert "has the classes a, b, c, d, this run class 0" in error_message(capsys)
