"""The page for operators: every key, field, verb and flag that it names is there."""

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
from masksift.run import run
from masksift.runtime.executors.serial import SerialExecutor
from masksift.runtime.progress import ProgressReporter
from support.run_processes import small, tables
from support.telemetry_collectors import OPERATIONS

TEXT = OPERATIONS.read_text()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run with an image that is left out."""
    folder = tmp_path_factory.mktemp("operations")
    tree = {
        "sources": [str(small(folder / "a.zarr", images=6))],
        "out": str(folder / "out"),
        "executor": {"kind": "serial"},
    }
    run(build_run_config(tree, {}), ProgressReporter("quiet"))
    return folder / "out"


def named_before(what: str) -> list[str]:
    """The words in code that stand before a phrase: `a`, `b` and `c` in ..."""
    found = re.findall(rf"((?:`\w+`(?:, | and |\s+)*)+)\s*{what}", TEXT)
    return [word for some in found for word in re.findall(r"`(\w+)`", some)]


def test_keys_of_the_record_are_there(out: Path) -> None:
    record = json.loads((out / "run.json").read_text())
    named = named_before(r"in\s+`run\.json`")
    assert set(named) == {"counts", "repeated", "requests", "puts", "projected_memory", "retries"}
    assert set(named) <= record.keys()


def test_files_in_the_results_are_there(out: Path) -> None:
    named = {name.rstrip("/") for name in re.findall(r"`OUT/([\w./]+)`", TEXT)}
    assert named == {"manifest/running.json", "manifest/plan.json", "manifest/condense", "manifest/score", "images"}
    for name in named - {"manifest/running.json"}:  # which is gone at its end
        assert (out / name).exists(), name
    assert "blocks" in json.loads((out / "manifest/plan.json").read_text())
    assert {"status", "reason"} <= set(tables(out)["images"].column_names)


def test_a_run_at_work_is_marked_where_the_page_says(
    out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = []
    whole = SerialExecutor.map

    def looks(self: SerialExecutor, *words: Any) -> Any:
        seen.append((tmp_path / "out/manifest/running.json").exists())
        return whole(self, *words)

    monkeypatch.setattr(SerialExecutor, "map", looks)
    tree = {"sources": [str(out.parent / "a.zarr")], "out": str(tmp_path / "out"), "executor": {"kind": "serial"}}
    run(build_run_config(tree, {}), ProgressReporter("quiet"))
    assert seen
    assert all(seen)
    assert not (tmp_path / "out/manifest/running.json").exists()


def test_fields_of_the_clients_lines_are_there(tmp_path: Path, out: Path) -> None:
    file = io.StringIO()
    tree = {"sources": [str(out.parent / "a.zarr")], "out": str(tmp_path / "out"), "executor": {"kind": "serial"}}
    run(build_run_config(tree, {}), ProgressReporter("json", file))
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    stages = [line["stage"] for line in lines if line["event"] == "begin"]
    assert ", ".join(f"`{name}`" for name in stages) in TEXT
    for name in ("images", "of", "done_before", "seconds_left"):
        assert f"`{name}`" in TEXT
        assert all(name in line for line in lines if "stage" in line)


def test_what_it_calls_errors_of_masksift_are() -> None:
    (named,) = re.findall(r"\(((?:`\w+`(?:, )?)+) are\)", TEXT)
    for name in re.findall(r"`(\w+)`", named):
        assert issubclass(getattr(errors, name), errors.MasksiftError)


def test_statuses_are_those_that_images_have() -> None:
    for name in ("missing_chunk", "unreadable", "bad_labels", "bad_probabilities"):
        assert f"`{name}`" in TEXT
        assert name in STATUSES


def test_verbs_and_flags_are_there(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = re.findall(r"`masksift (\w+)([^`]*)`", TEXT)
    assert {verb for verb, _ in commands} == {"check", "show", "plan"}
    for verb, words in commands:
        with pytest.raises(SystemExit, match="0"):
            main([verb, "--help"])
        shown = capsys.readouterr().out
        for flag in re.findall(r"--[\w-]+", words):
            assert flag in shown, (verb, flag)
    for flag in re.findall(r"`(--[\w.-]+)", TEXT):
        with pytest.raises(SystemExit, match="0"):
            main(["run", "--help"])
        assert flag in capsys.readouterr().out


def test_the_commands_of_the_page_do_what_it_says(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(out), "--max-quarantined", "0.1%", "--json"]) == 6
    assert "all_ignored" in capsys.readouterr().out
    assert main(["show", str(out), "a/3", "--out", str(out.parent / "3.png")]) == 0
