"""Operations page: every key, field, verb and flag that it names exists."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from masksift.cli.main import main
from masksift.config.load import build_run_config
from masksift.core import errors
from masksift.core.status import STATUSES
from masksift.runner import run
from masksift.runtime.executors.serial import SerialExecutor
from masksift.runtime.progress import ProgressReporter
from support.run_processes import read_tables, write_small_source
from support.telemetry_collectors import OPERATIONS

TEXT = OPERATIONS.read_text()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Completed run with a quarantined image."""
    folder = tmp_path_factory.mktemp("operations")
    tree = {
        "sources": [str(write_small_source(folder / "a.zarr", images=6))],
        "out": str(folder / "out"),
        "executor": {"kind": "serial"},
    }
    run(build_run_config(tree, {}), ProgressReporter("quiet"))
    return folder / "out"


def code_before(phrase: str) -> list[str]:
    """Code spans in front of a phrase: `a`, `b` and `c` in ..."""
    found = re.findall(rf"((?:`\w+`(?:, | and |\s+)*)+)\s*{phrase}", TEXT)
    return [word for some in found for word in re.findall(r"`(\w+)`", some)]


def test_record_keys_exist(out: Path) -> None:
    record = json.loads((out / "run.json").read_text())
    named = code_before(r"in\s+`run\.json`")
    assert set(named) == {"counts", "repeated", "requests", "puts", "projected_memory", "retries"}
    assert set(named) <= record.keys()


def test_result_files_exist(out: Path) -> None:
    named = {name.rstrip("/") for name in re.findall(r"`OUT/([\w./]+)`", TEXT)}
    assert named == {"manifest/running.json", "manifest/plan.json", "manifest/condense", "manifest/score", "images"}
    for name in named - {"manifest/running.json"}:  # which is gone at its end
        assert (out / name).exists(), name
    assert "blocks" in json.loads((out / "manifest/plan.json").read_text())
    assert {"status", "reason"} <= set(read_tables(out)["images"].column_names)


def test_lock_file_of_a_running_run_exists(out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = []
    whole = SerialExecutor.map

    def check_lock(self: SerialExecutor, *args: Any, **options: Any) -> Any:
        seen.append((tmp_path / "out/manifest/running.json").exists())
        return whole(self, *args, **options)

    monkeypatch.setattr(SerialExecutor, "map", check_lock)
    tree = {"sources": [str(out.parent / "a.zarr")], "out": str(tmp_path / "out"), "executor": {"kind": "serial"}}
    run(build_run_config(tree, {}), ProgressReporter("quiet"))
    assert seen
    assert all(seen)
    assert not (tmp_path / "out/manifest/running.json").exists()


def test_log_fields_of_the_client_exist(tmp_path: Path, out: Path) -> None:
    file = io.StringIO()
    tree = {"sources": [str(out.parent / "a.zarr")], "out": str(tmp_path / "out"), "executor": {"kind": "serial"}}
    run(build_run_config(tree, {}), ProgressReporter("json", file))
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    stages = [line["stage"] for line in lines if line["event"] == "begin"]
    assert ", ".join(f"`{name}`" for name in stages) in TEXT
    for name in ("images", "of", "done_before", "seconds_left"):
        assert f"`{name}`" in TEXT
        assert all(name in line for line in lines if "stage" in line)


def test_error_names_exist() -> None:
    (named,) = re.findall(r"other than ((?:`\w+`(?:, | or )?)+)", TEXT)
    for name in re.findall(r"`(\w+)`", named):
        assert issubclass(getattr(errors, name), errors.MasksiftError)


def test_statuses_equal_those_of_images() -> None:
    for name in ("missing_chunk", "unreadable", "bad_labels", "bad_probabilities"):
        assert f"`{name}`" in TEXT
        assert name in STATUSES


def test_verbs_and_flags_exist(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = re.findall(r"`masksift (\w+)([^`]*)`", TEXT)
    assert {verb for verb, _ in commands} == {"check", "show", "plan"}
    for verb, args in commands:
        with pytest.raises(SystemExit, match="0"):
            main([verb, "--help"])
        shown = capsys.readouterr().out
        for flag in re.findall(r"--[\w-]+", args):
            assert flag in shown, (verb, flag)
    for flag in re.findall(r"`(--[\w.-]+)", TEXT):
        with pytest.raises(SystemExit, match="0"):
            main(["run", "--help"])
        assert flag in capsys.readouterr().out


def test_commands_of_the_page_work(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(out), "--max-quarantined", "0.1%", "--json"]) == 6
    assert "all_ignored" in capsys.readouterr().out
    assert main(["show", str(out), "a/3", "--out", str(out.parent / "3.png")]) == 0
