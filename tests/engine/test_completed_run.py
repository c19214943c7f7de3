"""Opening a completed run."""

from __future__ import annotations

import json
from pathlib import Path

from masksift.config.sections import StorageSection
from masksift.core.errors import UsageError
from masksift.engine.completed_run import open_completed_run
from support.cli import run_cli
from support.errors import raises
from support.run_processes import write_small_source


def test_run_of_an_older_record_format_is_rejected_with_its_version(tmp_path: Path) -> None:
    source = write_small_source(tmp_path / "a.zarr", images=6)
    out = tmp_path / "out"
    run_cli("run", "--source", source, "--out", out, "--report.top", 0)
    open_completed_run(str(out), StorageSection())
    record = json.loads((out / "run.json").read_text())
    record["versions"]["masksift"] = "0.2.0"
    record["condensed"] = []  # the sources of older versions, which have a table now
    (out / "run.json").write_text(json.dumps(record))
    with raises(UsageError, match=r"was made by masksift 0\.2\.0, whose records this version cannot read"):
        open_completed_run(str(out), StorageSection())


def test_damaged_record_is_a_usage_error(tmp_path: Path) -> None:
    for text in ("{", "[" * 100_000):
        (tmp_path / "run.json").write_text(text)
        with raises(UsageError, match=r"run\.json cannot be parsed"):
            open_completed_run(str(tmp_path), StorageSection())
