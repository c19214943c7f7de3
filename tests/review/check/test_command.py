"""`masksift check`: limits, exit codes and summary."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from masksift.core.errors import UsageError
from masksift.review.check.config import CheckConfig
from review.helpers import read_record, run_sources
from support.cli import error_message, exit_code
from support.errors import raises
from support.results import read_rows
from support.sources import erase_chunks, make_data, write_source

CLASSES = ("--classes", "road,sky,car,tree")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An old run, and a new run with permuted labels and two missing images."""
    directory = tmp_path_factory.mktemp("check")
    data = make_data(seed=1)
    write_source(directory / "a.zarr", data, ids=[f"scene-{i}" for i in range(8)])
    run_sources(directory / "old", directory / "a.zarr", args=CLASSES)
    data.labels[:] = data.labels[[1, 2, 3, 4, 5, 6, 7, 0]]
    source = write_source(directory / "b.zarr", data, ids=[f"scene-{i}" for i in range(8)])
    erase_chunks(source.predictions, slice(2, 4))
    run_sources(directory / "new", directory / "b.zarr", args=CLASSES)
    return directory


def check_json(capsys: pytest.CaptureFixture[str], code: int, *args: object) -> dict[str, Any]:
    capsys.readouterr()
    assert exit_code("check", *args, "--json") == code
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def quality(out: Path) -> dict[str, tuple[int, int]]:
    """Flagged pixels and pixels by class."""
    return {
        row["class_name"]: (row["flagged"], row["pixels"])
        for row in pq.read_table(out / "class_quality.parquet").to_pylist()
    }


def test_max_flagged_accepts_share_and_number(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = runs / "new"
    flagged, pixels = read_record(out)["flagged_pixels"], sum(pixels for _, pixels in quality(out).values())
    assert flagged > 1
    (limit,) = check_json(capsys, 0, out, "--max-flagged", flagged)["limits"]
    assert limit == {"limit": "max_flagged", "allowed": str(flagged), "found": flagged, "of": pixels, "passed": True}
    assert not check_json(capsys, 6, out, "--max-flagged", flagged - 1)["passed"]
    assert check_json(capsys, 0, out, "--max-flagged", "100%")["passed"]
    assert not check_json(capsys, 6, out, "--max-flagged", f"{99 * flagged / pixels:.6f}%")["passed"]


def test_limit_in_percent_is_exact() -> None:
    """In floating point 0.07 x 100 is 7.000000000000001."""
    config = CheckConfig(run="r", max_drop_in_class_quality="7%")
    assert config.max_drop() == Fraction(7, 100)


def test_max_quarantined_counts_and_lists_images(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = runs / "new"
    result = check_json(capsys, 6, out, "--max-quarantined", "0")
    assert (result["limits"][0]["found"], result["limits"][0]["of"]) == (2, 8)
    assert result["counts"] == {"missing_chunk": 2, "scored": 6}
    quarantined = [row for row in read_rows(out, "images") if row["status"] != "scored"]
    names = ("image_id", "source", "index", "status", "reason")
    assert result["quarantined"] == [{name: row[name] for name in names} for row in quarantined]
    assert check_json(capsys, 0, out, "--max-quarantined", "25%")["passed"]
    assert len(check_json(capsys, 0, out, "--max-quarantined", "2", "--top", 1)["quarantined"]) == 1
    assert check_json(capsys, 0, runs / "old", "--max-quarantined", 0)["quarantined"] == []


def test_result_contains_facts_of_the_run_record(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, run_record = check_json(capsys, 0, runs / "new", "--max-quarantined", "100%"), read_record(runs / "new")
    for name in ("fingerprint", "started", "finished", "seconds", "images", "flagged_pixels", "bytes_read", "retries"):
        assert result[name] == run_record[name], name


def test_largest_drop_in_class_quality_decides(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = quality(runs / "old"), quality(runs / "new")
    drops = {name: Fraction(*new[name]) - Fraction(*old[name]) for name in old}
    worst = max(drops, key=lambda name: drops[name])
    assert drops[worst] > 0
    args = (runs / "new", "--base", runs / "old", "--max-drop-in-class-quality")
    result = check_json(capsys, 6, *args, "0%")
    assert (result["limits"][0]["class"], result["limits"][0]["found"]) == (worst, float(drops[worst]))
    assert {row["class"] for row in result["classes"]} == {name for name in drops if drops[name] > 0}
    assert result["classes"][0]["class"] == worst
    result = check_json(capsys, 0, *args, "100%")
    assert (result["classes"], result["base"]) == ([], str(runs / "old"))
    result = check_json(capsys, 0, runs / "old", "--base", runs / "old", "--max-drop-in-class-quality", 0)
    assert result["limits"][0]["found"] == 0
    capsys.readouterr()
    assert exit_code("check", runs / "old", "--base", runs / "old", "--max-drop-in-class-quality", 0) == 0
    assert re.search(r"  no class dropped; (road|sky|car|tree) gained least, 0.00 points\n", capsys.readouterr().out)


def test_base_of_the_run_is_the_default(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run_sources(tmp_path / "out", runs / "a.zarr", args=("--base", runs / "old", *CLASSES))
    assert check_json(capsys, 0, out, "--max-drop-in-class-quality", "5%")["base"] == str(runs / "old")
    assert exit_code("check", runs / "new", "--max-drop-in-class-quality", "5%") == 2
    assert f"The run at {runs}/new has no base to compare class quality with." in error_message(capsys)


def test_summary_lists_limits_classes_and_quarantined_images(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    args = (
        "--base",
        runs / "old",
        "--max-flagged",
        "100%",
        "--max-quarantined",
        "0",
        "--max-drop-in-class-quality",
        "0.01%",
        "--top",
        "1",
    )
    assert exit_code("check", runs / "new", *args) == 6
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[:3]] == [
        ["passed", "max_flagged", "100%"],
        ["FAILED", "max_quarantined", "0"],
        ["FAILED", "max_drop_in_class_quality", "0.01%"],
    ]
    assert lines[1].endswith("2 of 8 images quarantined (25.00 %)")
    assert re.search(r"  (road|sky|car|tree) dropped by \d+\.\d\d points, the largest drop$", lines[2])
    assert lines[3] == f"classes that dropped by more since {runs}/old:"
    assert lines[-3] == "quarantined:"
    assert lines[-2].startswith("  scene-2  b/2  missing_chunk  chunk ")
    assert lines[-1] == "  and 1 more"


def test_run_without_labeled_pixels_passes_limits_of_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data()
    data.labels[:] = 255
    out = run_sources(tmp_path / "out", write_source(tmp_path / "a.zarr", data))
    assert check_json(capsys, 0, out, "--max-flagged", "0%")["limits"][0]["of"] == 0
    capsys.readouterr()
    assert exit_code("check", out, "--max-flagged", "0%") == 0
    assert capsys.readouterr().out.startswith("passed  max_flagged  0%  0 of 0 labeled pixels flagged\n")
    assert exit_code("check", out, "--base", out, "--max-drop-in-class-quality", "0") == 2
    assert f"No class has labeled pixels in both {out} and {out}" in error_message(capsys)


def test_check_without_run_or_limit_fails(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("check", tmp_path, "--max-flagged", "2%") == 2
    assert f"{tmp_path} holds no complete run" in error_message(capsys)
    assert exit_code("check", runs / "new") == 2
    assert "No limit is set." in error_message(capsys)
    assert exit_code("check", runs / "new", "--max-flagged", "2%", "--base", runs / "old") == 2
    assert "but no limit uses it." in error_message(capsys)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("max_flagged", "0.02", "must be a number of pixels or a percentage of them, got '0.02'"),
        ("max_quarantined", "few", "must be a number of images or a percentage of them, got 'few'"),
        ("max_drop_in_class_quality", "5", "must be a percentage, got '5'"),
        ("max_drop_in_class_quality", "-1%", "must be a number of points or a percentage of them, got '-1%'"),
    ],
)
def test_invalid_limit_is_rejected(key: str, value: str, message: str) -> None:
    with raises(UsageError, f"{key} {message}"):
        CheckConfig(run="r", **{key: value})  # type: ignore[arg-type]
