"""Public functions that plan and run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import masksift
from masksift import runner
from masksift.runtime.progress import ProgressReporter
from support.run_processes import write_small_source


def make_config(path: Path) -> masksift.RunConfig:
    source = write_small_source(path / "street.zarr", images=4)
    executor = {"kind": "serial"}
    return masksift.RunConfig(sources=[str(source)], out=str(path / "out"), executor=executor)  # type: ignore[arg-type]


def test_plan_writes_nothing_and_predicts_the_fingerprint_of_the_run(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    plan = masksift.plan(config)
    assert not (tmp_path / "out").exists()
    result = masksift.run(config, ProgressReporter("quiet"))
    assert result.record["fingerprint"] == plan.fingerprint
    assert result.record["images"] == plan.images == 4


def test_run_of_a_complete_run_returns_the_same_record(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    first = masksift.run(config, ProgressReporter("quiet"))
    again = masksift.run(config, ProgressReporter("quiet"))
    assert (first.resumed, again.resumed) == (False, True)
    assert again.record == json.loads(json.dumps(first.record))


def test_run_with_little_work_uses_this_process_and_records_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_small_source(tmp_path / "street.zarr", images=4)
    config = masksift.RunConfig(sources=[str(source)], out=str(tmp_path / "out"))  # type: ignore[arg-type]
    record = masksift.run(config, ProgressReporter("auto")).record
    assert record["configuration"]["executor"]["kind"] == "auto"
    assert record["cluster"]["kind"] == "serial"
    assert 0 < record["estimated_seconds"] < 20
    assert "executor serial: about 1 second of work on one core" in capsys.readouterr().err


@pytest.mark.parametrize("compiled", [False, True])
def test_run_with_an_empty_kernel_cache_says_once_that_it_compiles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    monkeypatch.setattr(runner, "is_compiled", lambda: compiled)
    masksift.run(make_config(tmp_path), ProgressReporter("auto"))
    assert capsys.readouterr().err.count("compiling kernels, once per machine") == (0 if compiled else 1)
