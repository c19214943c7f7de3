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
from support.telemetry_collectors import Told


def line(message: str = "said", **facts: Any) -> dict[str, Any]:
    """Return the formatted line of a new record."""
    record = logging.LogRecord("masksift.here", logging.WARNING, __file__, 1, message, (), sys.exc_info())
    vars(record).update(facts)
    found: dict[str, Any] = json.loads(JsonFormatter().format(record))
    return found


def test_line_has_time_level_logger_and_message() -> None:
    told = line("50 % done")
    assert told.pop("time").endswith("Z")
    assert told == {"level": "WARNING", "logger": "masksift.here", "message": "50 % done"}


def test_line_has_context_and_own_fields() -> None:
    with log_context({"run_id": "abc"}), log_context({"stage": "condense", "block": 7}):
        told = line(fields={"image": "street/3"})
    assert (told["run_id"], told["stage"], told["block"], told["image"]) == ("abc", "condense", 7, "street/3")
    assert current_log_fields() == {}


def test_multi_line_message_is_one_line() -> None:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "first\nsecond", (), None)
    assert len(JsonFormatter().format(record).splitlines()) == 1


def test_exception_field_has_stack_and_cause() -> None:
    try:
        try:
            raise OSError("disk full")
        except OSError as e:
            raise RunFailed("The run failed", "Finished tasks are kept", "Run it again") from e
    except RunFailed:
        told = line()["exception"]
    assert (told["type"], told["message"]) == ("RunFailed", "The run failed. Finished tasks are kept. Run it again.")
    assert "test_logs.py" in told["stack"][-1]
    assert (told["cause"]["type"], told["cause"]["message"]) == ("OSError", "OSError: disk full")


def test_exception_field_of_a_store_client_has_no_credentials() -> None:
    try:
        raise GenericError("Generic S3 error: no answer\n\nDebug source:\nAuthorization: AWS4 Credential=AKIA123")
    except GenericError:
        told = json.dumps(line())
    assert "no answer" in told
    assert "AKIA123" not in told


def test_helper_thread_of_the_only_task_has_its_context() -> None:
    seen: list[Any] = []

    def in_a_thread(act: Callable[[], None]) -> None:
        thread = threading.Thread(target=act)
        thread.start()
        thread.join()

    def helps() -> None:
        seen.append(dict(current_log_fields()))

    def another_task() -> None:
        with log_context({"block": 8}):
            in_a_thread(helps)

    with log_context({"run_id": "abc"}), log_context({"block": 7}):
        in_a_thread(helps)
        in_a_thread(another_task)
    assert seen == [{"run_id": "abc", "block": 7}, {}], "of two tasks at once it cannot be said which one is helped"


def test_logger_without_setup_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    logger("masksift.of-nobody").error("heard by nobody")
    assert capsys.readouterr().err == ""


def test_instrumented_task_returns_and_raises_like_its_function() -> None:
    assert InstrumentedTask(abs, "abc", "count", lambda number: {"block": number})(-3) == 3
    with pytest.raises(TypeError, match="bad operand type"):
        InstrumentedTask(abs, "abc", "count", lambda number: {})("three")


def test_instrumented_task_logs_a_failure_with_its_block(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.setFormatter(JsonFormatter())
    with pytest.raises(ZeroDivisionError, match="by zero"):
        InstrumentedTask(lambda number: 1 // number, "abc", "count", lambda number: {"block": number})(0)
    told = json.loads(caplog.text)
    assert (told["level"], told["run_id"], told["stage"], told["block"]) == ("ERROR", "abc", "count", 0)
    assert told["exception"]["type"] == "ZeroDivisionError"


def test_error_that_ends_a_run_has_the_run_id() -> None:
    with pytest.raises(KeyError, match="gone") as caught, run_telemetry("abc"):
        raise KeyError("gone")
    assert failed_run_id(caught.value) == "abc"
    assert failed_run_id(KeyError("other")) is None


@pytest.mark.parametrize("name", ["scheduler", "worker"])
def test_every_line_of_a_process_is_a_json_object(cluster: Processes, first: Told, name: str) -> None:
    told = json_lines(cluster.log(name))
    assert len(told) > 3
    assert all({"time", "level", "logger", "message"} <= one.keys() for one in told)


def test_workers_log_quarantined_images_with_reason_and_block(cluster: Processes, first: Told) -> None:
    told = [one for one in json_lines(cluster.log("worker")) if "image" in one]
    told = [one for one in told if one["run_id"] == first.record["fingerprint"]]
    found = {one["image"]: one for one in told}
    assert found.keys() == {"street/3", "street/5"}
    lost = found["street/5"]
    assert (lost["level"], lost["stage"], lost["source"], lost["status"]) == (
        "WARNING",
        "condense",
        "street",
        "missing_chunk",
    )
    assert lost["first_image"] <= 5 <= lost["last_image"]
    assert lost["message"].startswith("image street/5 is quarantined: missing_chunk (")


def test_client_lines_have_the_run_id(first: Told) -> None:
    told = json_lines(first.errors)
    assert {one["event"] for one in told} >= {"begin", "end", "warning"}
    assert all(one["run_id"] == first.record["fingerprint"] for one in told)
    assert "2 of 40 images are quarantined" in told[-1]["message"]


def test_failed_task_is_logged_by_its_worker_with_context(cluster: Processes, failed: Told) -> None:
    told = [
        one for one in json_lines(cluster.log("worker")) if one["logger"] == "masksift.runtime.telemetry.instrument"
    ]
    assert len(told) == 4
    for one in told:
        assert (one["level"], one["stage"], one["source"]) == ("ERROR", "score", "street")
        assert one["first_image"] <= 17 <= one["last_image"]
        assert one["exception"]["type"] == "DataError"
        assert "of self_confidence does not exist" in one["exception"]["message"]
    assert {one["run_id"] for one in told} == {json_lines(failed.errors)[0]["run_id"]}


def test_failed_run_ends_with_a_failed_event(failed: Told) -> None:
    *others, last = json_lines(failed.errors)
    assert (last["event"], last["exit_code"]) == ("failed", failed.code)
    assert "of self_confidence does not exist" in last["message"]
    assert last["run_id"] == others[0]["run_id"]
    assert sum("failed" in one["message"] for one in others if one.get("level") == "WARNING") == 3, (
        "what is tried again"
    )
