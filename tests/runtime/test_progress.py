"""What a run says while it runs: lines, a bar on a terminal, JSON lines for machines; from the first stage on."""

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
from masksift.run import run
from masksift.runtime import progress
from masksift.runtime.progress import ProgressReporter
from support.sources import erase_chunks, write_source


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until a test moves its one hand."""
    hand = [100.0]
    still = SimpleNamespace(monotonic=lambda: hand[0], strftime=time.strftime, gmtime=time.gmtime)
    monkeypatch.setattr(progress, "time", still)
    return hand


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def result(images: int, scored: int | None = None, **facts: Any) -> TaskResult:
    counts = {"scored": images if scored is None else scored, "missing_chunk": 0 if scored is None else images - scored}
    return TaskResult(0, images, images * 100, counts, bytes_read=3_000_000, bytes_written=1_000_000, **facts)


def parsed(file: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.getvalue().splitlines()]


# ------------------------------------------------------------------------------------------------------- lines


def test_a_stage_ends_with_one_line(clock: list[float]) -> None:
    file = io.StringIO()
    with ProgressReporter(file=file).stage("condense", 2000) as stage:
        for _ in range(2):
            clock[0] += 2
            stage.advance(result(1000))
    assert file.getvalue() == "condense   2,000/2,000 images, 500.0 images/s, 2.0 MB/s, 0 quarantined\n"


def test_quarantined_images_are_shown_so_far_and_at_the_end(clock: list[float]) -> None:
    file = io.StringIO()
    with ProgressReporter(file=file).stage("condense", 20) as stage:
        clock[0] += 10
        stage.advance(result(5, scored=2))
        clock[0] += 10
        stage.advance(result(15, scored=14))
    first, last = file.getvalue().splitlines()
    assert first == "condense   5/20 images, 0.5 images/s, 0.4 MB/s, 3 quarantined, 30.0 s left"
    assert last == "condense   20/20 images, 1.0 images/s, 0.4 MB/s, 4 quarantined"


def test_a_line_every_few_seconds_and_no_more(clock: list[float]) -> None:
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


def test_blocks_that_were_done_before_do_not_count_in_the_rates(clock: list[float]) -> None:
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


def test_a_stage_without_images_has_its_time(clock: list[float]) -> None:
    file = io.StringIO()
    with ProgressReporter(file=file).stage("thresholds"):
        clock[0] += 1.23
    assert file.getvalue() == "thresholds 1.2 s\n"


def test_a_stage_that_fails_has_no_last_line() -> None:
    for form in (ProgressReporter(file=(file := io.StringIO())), ProgressReporter(file=Terminal())):
        with pytest.raises(RuntimeError, match="disk full"), form.stage("condense", 3):
            raise RuntimeError("disk full")
    assert file.getvalue() == ""


def test_quiet_says_nothing() -> None:
    file = io.StringIO()
    report = ProgressReporter("quiet", file)
    report.message("worker w has numpy 1")
    with report.stage("condense", 1) as stage:
        stage.advance(result(1))
    assert file.getvalue() == ""


# --------------------------------------------------------------------------------------------------- JSON lines


def test_every_line_for_machines_is_json_with_a_time_and_an_event(clock: list[float]) -> None:
    file = io.StringIO()
    report = ProgressReporter("json", file)
    report.message("worker w has numpy 1: tolerated")
    with report.stage("condense", 20) as stage:
        clock[0] += 6
        stage.advance(result(5, scored=2))
        clock[0] += 1
        stage.advance(result(15))
    told = parsed(file)
    assert [fact["event"] for fact in told] == ["message", "begin", "progress", "end"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", fact["time"]) for fact in told)
    assert told[0]["message"] == "worker w has numpy 1: tolerated"
    assert {k: v for k, v in told[2].items() if k not in ("time", "event")} == {
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
    assert (told[1]["images"], told[1]["seconds_left"]) == (0, None)
    assert (told[3]["images"], told[3]["quarantined"], told[3]["seconds_left"]) == (20, 3, 0.0)


# ---------------------------------------------------------------------------------------------------- a terminal


def test_on_a_terminal_there_is_a_bar_that_goes_and_a_line_that_stays(clock: list[float]) -> None:
    file = Terminal()
    with ProgressReporter(file=file).stage("condense", 20) as stage:
        clock[0] += 2
        stage.advance(result(5, scored=2))
    assert re.search(r"condense .*5/20", file.getvalue())
    assert "3 quarantined" in file.getvalue()
    assert file.getvalue().endswith("condense   5/20 images, 2.5 images/s, 2.0 MB/s, 3 quarantined, 6.0 s left\n")


def test_json_and_quiet_are_meant_on_a_terminal_too() -> None:
    file = Terminal()
    with ProgressReporter("json", file).stage("rank"):
        pass
    assert [fact["event"] for fact in parsed(file)] == ["begin", "end"]


# -------------------------------------------------------------------------------------------------------- a run


@pytest.mark.parametrize("form", ["auto", "json"])
def test_a_run_is_told_from_its_first_stage_to_its_last(tmp_path: Path, form: Any) -> None:
    source, file = write_source(tmp_path / "a.zarr"), io.StringIO()
    erase_chunks(source.predictions, slice(2, 4))
    config = build_run_config(
        {"sources": [str(source)], "out": str(tmp_path / "out"), "executor": {"kind": "serial"}}, {}
    )
    run(config, ProgressReporter(form, file))
    stages = ["condense", "thresholds", "score", "rank", "report"]
    if form == "json":
        told = [fact for fact in parsed(file) if "stage" in fact]
        assert [(fact["stage"], fact["event"]) for fact in told if fact["event"] != "progress"] == [
            (stage, event) for stage in stages for event in ("begin", "end")
        ]
        assert [fact["quarantined"] for fact in told if fact["event"] == "end"] == [2, 0, 2, 0, 0]
    else:
        lines = file.getvalue().splitlines()
        assert [line.split()[0] for line in lines[:5]] == stages
        assert ["2 quarantined" in line for line in lines] == [True, False, True, False, False, False]
        assert "the report shows the planes alone" in lines[5]

    again = io.StringIO()
    run(config, ProgressReporter(form, again))
    assert "is complete already: nothing to do" in again.getvalue()
