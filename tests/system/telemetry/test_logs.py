"""JSON log lines of scheduler, workers and client, with their context."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from obstore.exceptions import GenericError

from masksift.core.errors import RunFailed
from masksift.runtime.telemetry import InstrumentedTask, failed_run_id, run_telemetry
from masksift.runtime.telemetry.logs import JsonFormatter, current_log_fields, log_context, logger
from support.dask_processes import Processes, json_lines
from support.telemetry_collectors import ObservedRun


def format_entry(message: str = "message", **fields: Any) -> dict[str, Any]:
    """Format a new log record and return the parsed JSON line."""
    record = logging.LogRecord("masksift.here", logging.WARNING, __file__, 1, message, (), sys.exc_info())
    vars(record).update(fields)
    entry: dict[str, Any] = json.loads(JsonFormatter().format(record))
    return entry


def test_line_has_time_level_logger_and_message() -> None:
    entry = format_entry("50 % done")
    assert entry.pop("time").endswith("Z")
    assert entry == {"level": "WARNING", "logger": "masksift.here", "message": "50 % done"}


def test_line_has_context_and_record_fields() -> None:
    with log_context({"run_id": "abc"}), log_context({"stage": "condense", "block": 7}):
        entry = format_entry(fields={"image": "street/3"})
    assert (entry["run_id"], entry["stage"], entry["block"], entry["image"]) == ("abc", "condense", 7, "street/3")
    assert current_log_fields() == {}


def test_multi_line_message_is_one_format_entry() -> None:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "first\nsecond", (), None)
    assert len(JsonFormatter().format(record).splitlines()) == 1


def test_exception_field_has_stack_and_cause() -> None:
    try:
        try:
            raise OSError("disk full")
        except OSError as e:
            raise RunFailed("The run failed", "Finished tasks are kept", "Run it again") from e
    except RunFailed:
        entry = format_entry()["exception"]
    assert (entry["type"], entry["message"]) == ("RunFailed", "The run failed. Finished tasks are kept. Run it again.")
    assert "test_logs.py" in entry["stack"][-1]
    assert (entry["cause"]["type"], entry["cause"]["message"]) == ("OSError", "OSError: disk full")


def test_exception_field_of_a_store_client_has_no_credentials() -> None:
    try:
        raise GenericError("Generic S3 error: no answer\n\nDebug source:\nAuthorization: AWS4 Credential=AKIA123")
    except GenericError:
        text = json.dumps(format_entry())
    assert "no answer" in text
    assert "AKIA123" not in text


def test_helper_thread_of_the_only_task_has_its_context() -> None:
    contexts: list[Any] = []

    def run_in_thread(function: Callable[[], None]) -> None:
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()

    def record_context() -> None:
        contexts.append(dict(current_log_fields()))

    def another_task() -> None:
        with log_context({"block": 8}):
            run_in_thread(record_context)

    with log_context({"run_id": "abc"}), log_context({"block": 7}):
        run_in_thread(record_context)
        run_in_thread(another_task)
    assert contexts == [{"run_id": "abc", "block": 7}, {}], "with two tasks the owner of a thread is unknown"


def test_logger_without_setup_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    logger("masksift.without-setup").error("message")
    assert capsys.readouterr().err == ""


def test_instrumented_task_returns_and_raises_like_its_function() -> None:
    assert InstrumentedTask(abs, "abc", "count", lambda number: {"block": number})(-3) == 3
    with pytest.raises(TypeError, match="bad operand type"):
        InstrumentedTask(abs, "abc", "count", lambda number: {})("three")


def test_instrumented_task_logs_a_failure_with_its_block(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.setFormatter(JsonFormatter())
    with pytest.raises(ZeroDivisionError, match="by zero"):
        InstrumentedTask(lambda number: 1 // number, "abc", "count", lambda number: {"block": number})(0)
    entry = json.loads(caplog.text)
    assert (entry["level"], entry["run_id"], entry["stage"], entry["block"]) == ("ERROR", "abc", "count", 0)
    assert entry["exception"]["type"] == "ZeroDivisionError"


def test_error_that_ends_a_run_has_the_run_id() -> None:
    with pytest.raises(KeyError, match="gone") as caught, run_telemetry("abc"):
        raise KeyError("gone")
    assert failed_run_id(caught.value) == "abc"
    assert failed_run_id(KeyError("other")) is None


@pytest.mark.parametrize("name", ["scheduler", "worker"])
def test_every_line_of_a_process_is_a_json_object(cluster: Processes, first: ObservedRun, name: str) -> None:
    entries = json_lines(cluster.log(name))
    assert len(entries) > 3
    assert all({"time", "level", "logger", "message"} <= entry.keys() for entry in entries)


def test_workers_log_quarantined_images_with_reason_and_block(cluster: Processes, first: ObservedRun) -> None:
    entries = {
        entry["image"]: entry
        for entry in json_lines(cluster.log("worker"))
        if "image" in entry and entry["run_id"] == first.record["fingerprint"]
    }
    assert entries.keys() == {"street/3", "street/5"}
    entry = entries["street/5"]
    assert (entry["level"], entry["stage"], entry["source"], entry["status"]) == (
        "WARNING",
        "condense",
        "street",
        "missing_chunk",
    )
    assert entry["first_image"] <= 5 <= entry["last_image"]
    assert entry["message"].startswith("image street/5 is quarantined: missing_chunk (")


def test_client_lines_have_the_run_id(first: ObservedRun) -> None:
    entries = json_lines(first.errors)
    assert {entry["event"] for entry in entries} >= {"begin", "end", "warning"}
    assert all(entry["run_id"] == first.record["fingerprint"] for entry in entries)
    assert "2 of 40 images are quarantined" in entries[-1]["message"]


def test_failed_task_is_logged_by_its_worker_with_context(cluster: Processes, failed: ObservedRun) -> None:
    run_id = json_lines(failed.errors)[0]["run_id"]
    (entry,) = [
        entry
        for entry in json_lines(cluster.log("worker"))
        if entry["logger"] == "masksift.runtime.telemetry.instrument" and entry["run_id"] == run_id
    ]
    assert (entry["level"], entry["stage"], entry["source"]) == ("ERROR", "score", "street")
    assert entry["block"] == 5
    assert entry["exception"]["type"] == "DataError"
    assert "The images of its chunk cannot be scored" in entry["exception"]["message"]


def test_failed_run_ends_with_a_failed_event(failed: ObservedRun) -> None:
    *others, last = json_lines(failed.errors)
    assert (last["event"], last["exit_code"]) == ("failed", failed.code)
    assert "The images of its chunk cannot be scored" in last["message"]
    assert last["run_id"] == others[0]["run_id"]
    assert not [entry for entry in others if entry.get("level") == "WARNING" and "failed" in entry["message"]], (
        "damaged data are not tried again"
    )
