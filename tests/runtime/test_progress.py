"""Progress output: lines, a bar on a terminal, JSON lines."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from masksift.config.load import build_run_config
from masksift.core.task_result import TaskResult
from masksift.runner import run
from masksift.runtime import progress
from masksift.runtime.progress import ProgressReporter
from support.sources import erase_chunks, write_source


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the clock with one that only tests advance."""
    seconds = [100.0]
    stopped = SimpleNamespace(monotonic=lambda: seconds[0], strftime=time.strftime, gmtime=time.gmtime)
    monkeypatch.setattr(progress, "time", stopped)
    return seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def result(images: int, scored: int | None = None, **fields: Any) -> TaskResult:
    counts = {"scored": images if scored is None else scored, "missing_chunk": 0 if scored is None else images - scored}
    return TaskResult(0, images, images * 100, counts, bytes_read=3_000_000, bytes_written=1_000_000, **fields)


def parse_lines(file: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.getvalue().splitlines()]


def test_stage_ends_with_one_line(clock: list[float]) -> None:
    file = io.StringIO()
    with ProgressReporter(file=file).stage("condense", 2000) as stage:
        for _ in range(2):
            clock[0] += 2
            stage.advance(result(1000))
    assert file.getvalue() == "condense   2,000/2,000 images, 500.0 images/s, 2.0 MB/s, 0 quarantined\n"


def test_lines_count_quarantined_images(clock: list[float]) -> None:
    file = io.StringIO()
    with ProgressReporter(file=file).stage("condense", 20) as stage:
        clock[0] += 10
        stage.advance(result(5, scored=2))
        clock[0] += 10
        stage.advance(result(15, scored=14))
    first, last = file.getvalue().splitlines()
    assert first == "condense   5/20 images, 0.5 images/s, 0.4 MB/s, 3 quarantined, 30.0 s left"
    assert last == "condense   20/20 images, 1.0 images/s, 0.4 MB/s, 4 quarantined"


def test_lines_are_written_every_few_seconds(clock: list[float]) -> None:
    file = io.StringIO()
    with ProgressReporter(file=file).stage("score", 1000) as stage:
        for _ in range(1000):
            clock[0] += 0.1
            stage.advance(result(1))
    lines = file.getvalue().splitlines()
    assert 15 <= len(lines) <= 21
    assert all(
        re.fullmatch(r"score +[\d,]+/1,000 images, 10.0 images/s, .* quarantined(, .* s left)?", x) for x in lines
    )


def test_rates_ignore_reused_blocks(clock: list[float]) -> None:
    file = io.StringIO()
    with ProgressReporter(file=file).stage("condense", 20) as stage:
        stage.advance(result(10, reused=True))
        clock[0] += 5
        stage.advance(result(5))
        clock[0] += 5
        stage.advance(result(5))
    middle, last = file.getvalue().splitlines()
    assert middle == "condense   15/20 images, 1.0 images/s, 0.8 MB/s, 0 quarantined, 10 done before, 5.0 s left"
    assert last == "condense   20/20 images, 1.0 images/s, 0.8 MB/s, 0 quarantined, 10 done before"


def test_stage_without_images_shows_its_time(clock: list[float]) -> None:
    file = io.StringIO()
    with ProgressReporter(file=file).stage("thresholds"):
        clock[0] += 1.23
    assert file.getvalue() == "thresholds 1.2 s\n"


def test_failed_stage_has_no_last_line() -> None:
    for form in (ProgressReporter(file=(file := io.StringIO())), ProgressReporter(file=Terminal())):
        with pytest.raises(RuntimeError, match="disk full"), form.stage("condense", 3):
            raise RuntimeError("disk full")
    assert file.getvalue() == ""


def test_quiet_writes_nothing() -> None:
    file = io.StringIO()
    report = ProgressReporter("quiet", file)
    report.message("worker w has numpy 1")
    with report.stage("condense", 1) as stage:
        stage.advance(result(1))
    assert file.getvalue() == ""


def test_json_lines_have_time_and_event(clock: list[float]) -> None:
    file = io.StringIO()
    report = ProgressReporter("json", file)
    report.message("worker w has numpy 1: tolerated")
    with report.stage("condense", 20) as stage:
        clock[0] += 6
        stage.advance(result(5, scored=2))
        clock[0] += 1
        stage.advance(result(15))
    lines = parse_lines(file)
    assert [line["event"] for line in lines] == ["message", "begin", "progress", "end"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["time"]) for line in lines)
    assert lines[0]["message"] == "worker w has numpy 1: tolerated"
    assert {k: v for k, v in lines[2].items() if k not in ("time", "event")} == {
        "stage": "condense",
        "images": 5,
        "of": 20,
        "quarantined": 3,
        "done_before": 0,
        "images_per_second": 0.8,
        "megabytes_per_second": 0.7,
        "seconds": 6.0,
        "seconds_left": 18.0,
    }
    assert (lines[1]["images"], lines[1]["seconds_left"]) == (0, None)
    assert (lines[3]["images"], lines[3]["quarantined"], lines[3]["seconds_left"]) == (20, 3, 0.0)


def test_terminal_shows_a_bar_and_keeps_the_last_line(clock: list[float]) -> None:
    file = Terminal()
    with ProgressReporter(file=file).stage("condense", 20) as stage:
        clock[0] += 2
        stage.advance(result(5, scored=2))
    assert re.search(r"condense .*5/20", file.getvalue())
    assert "3 quarantined" in file.getvalue()
    assert file.getvalue().endswith("condense   5/20 images, 2.5 images/s, 2.0 MB/s, 3 quarantined, 6.0 s left\n")


def test_json_on_a_terminal_writes_json() -> None:
    file = Terminal()
    with ProgressReporter("json", file).stage("rank"):
        pass
    assert [line["event"] for line in parse_lines(file)] == ["begin", "end"]


@pytest.mark.parametrize("form", ["auto", "json"])
def test_run_reports_all_stages_in_order(tmp_path: Path, form: Any) -> None:
    source, file = write_source(tmp_path / "a.zarr"), io.StringIO()
    erase_chunks(source.predictions, slice(2, 4))
    config = build_run_config(
        {"sources": [str(source)], "out": str(tmp_path / "out"), "executor": {"kind": "serial"}}, {}
    )
    run(config, ProgressReporter(form, file))
    stages = ["condense", "thresholds", "score", "rank", "report"]
    if form == "json":
        lines = [line for line in parse_lines(file) if "stage" in line]
        assert [(line["stage"], line["event"]) for line in lines if line["event"] != "progress"] == [
            (stage, event) for stage in stages for event in ("begin", "end")
        ]
        assert [line["quarantined"] for line in lines if line["event"] == "end"] == [2, 0, 2, 0, 0]
    else:
        lines = file.getvalue().splitlines()
        assert [line.split()[0] for line in lines[:5]] == stages
        assert ["2 quarantined" in line for line in lines] == [True, False, True, False, False, False]
        assert "the report shows the planes without images" in lines[5]

    again = io.StringIO()
    run(config, ProgressReporter(form, again))
    assert "is complete already: nothing to do" in again.getvalue()
