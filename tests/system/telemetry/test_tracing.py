"""Trace of a run: spans of the run, its stages and its tasks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from masksift.runtime.telemetry import InstrumentedTask, run_telemetry, tracing
from support.telemetry_collectors import Collector, Told, values

Found = dict[str, list[tuple[Any, dict[str, Any]]]]
"""Spans, each with what is known of its sender, by name."""


def spans_of(collector: Collector, told: Told) -> Found:
    """The spans of the trace that the run's own span is in, when that has come: it ends last."""
    until = time.monotonic() + 60
    while True:
        received = list(collector.spans)
        mine = [span for span, _ in received if span.name == "masksift run" and is_of(span, told)]
        if mine:
            break
        assert time.monotonic() < until, [span.name for span, _ in received]
        time.sleep(0.05)
    found: Found = {}
    for span, sender in received:
        if span.trace_id == mine[0].trace_id:
            found.setdefault(span.name, []).append((span, sender))
    return found


def is_of(span: Any, told: Told) -> bool:
    return bool(values(span.attributes)["masksift.run_id"] == told.record["fingerprint"])


@pytest.fixture(scope="module")
def found(collector: Collector, first: Told) -> Found:
    """Those of the run, once those of its last tasks have come from the workers too."""
    until = time.monotonic() + 60
    while (
        len((found := spans_of(collector, first)).get("report task", [])) < 1
        or len(found["pairs task"]) < first.record["blocks"]
    ):
        assert time.monotonic() < until, {name: len(some) for name, some in found.items()}
        time.sleep(0.05)
    return found


def test_run_span_has_a_child_per_stage(found: Found, first: Told) -> None:
    ((run, _),) = found["masksift run"]
    assert not run.parent_span_id
    for stage in first.record["stages"]:
        ((span, _),) = found[stage["name"]]
        assert span.parent_span_id == run.span_id
        assert (
            run.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano <= run.end_time_unix_nano
        )


@pytest.mark.parametrize(
    ("task", "stage"),
    [
        ("condense task", "condense"),
        ("statistics task", "thresholds"),
        ("score task", "score"),
        ("report task", "report"),
    ],
)
def test_task_spans_are_children_of_their_stage(found: Found, task: str, stage: str) -> None:
    ((parent, _),) = found[stage]
    assert {span.parent_span_id for span, _ in found[task]} == {parent.span_id}


def test_block_has_a_span_of_its_worker(found: Found, first: Told) -> None:
    (_, client) = found["masksift run"][0]
    senders = {sender["process.pid"] for _, sender in found["condense task"]}
    assert len(senders) == 2, "both workers"
    assert client["process.pid"] not in senders
    assert client["service.name"] == "masksift"
    told = [values(span.attributes) for span, _ in found["condense task"]]
    assert sorted(one["masksift.block"] for one in told) == list(range(first.record["blocks"]))
    assert all(one["masksift.source"] == "street" and one["masksift.bytes_read"] > 0 for one in told)


def test_failed_task_has_a_span_with_the_error(collector: Collector, failed: Told) -> None:
    until = time.monotonic() + 60
    while (
        len(bad := [span for span, _ in list(collector.spans) if span.name == "score task" and span.status.message]) < 4
    ):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert all(span.status.code == span.status.STATUS_CODE_ERROR for span in bad)
    assert all("of self_confidence does not exist" in span.status.message for span in bad)
    assert not any(span.events for span in bad), "what Python would show of an error may hold keys"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """A program that has set up OpenTelemetry itself."""
    kept, made = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", made)
    yield kept
    made.shutdown()


def numbered(number: int) -> dict[str, Any]:
    return {"block": number}


def test_run_joins_the_trace_of_its_program(provider: InMemorySpanExporter) -> None:
    with (
        trace.get_tracer("nightly").start_as_current_span("nightly"),
        run_telemetry("abc"),
        tracing.stage_span("count"),
    ):
        assert InstrumentedTask(abs, "abc", "count", numbered)(-3) == 3
    task, stage, run, nightly = provider.get_finished_spans()
    assert [span.name for span in (task, stage, run, nightly)] == ["count task", "count", "masksift run", "nightly"]
    for child, parent in ((task, stage), (stage, run), (run, nightly)):
        assert child.parent is not None
        assert child.parent.span_id == parent.context.span_id
    assert dict(task.attributes or {}) == {"masksift.run_id": "abc", "masksift.stage": "count", "masksift.block": -3}


def test_stage_outside_a_run_has_no_span(provider: InMemorySpanExporter) -> None:
    with tracing.stage_span("simulate"):
        assert tracing.traceparent() is None
    assert provider.get_finished_spans() == ()


def test_endpoint_without_opentelemetry_warns_once() -> None:
    script = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from masksift.runtime.telemetry import InstrumentedTask as Watched, run_telemetry\n"
        "for _ in range(2):\n"
        "    with run_telemetry('abc'):\n"
        "        print(Watched(abs, 'abc', 'count', lambda number: {})(-3))\n"
    )
    told = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=told, timeout=60)
    assert done.stdout.split() == ["3", "3"], done.stderr
    assert done.stderr.count("no span is sent. Install 'masksift[telemetry]'") == 1
