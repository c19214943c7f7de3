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
from support.telemetry_collectors import Collector, ObservedRun, values

SpansByName = dict[str, list[tuple[Any, dict[str, Any]]]]
"""Pairs (span, resource attributes of its sender) by span name."""


def wait_for_trace(collector: Collector, run: ObservedRun) -> SpansByName:
    """Wait for the span of the run, which ends last, and return all spans of its trace."""
    until = time.monotonic() + 60
    while True:
        received = list(collector.spans)
        run_spans = [span for span, _ in received if span.name == "masksift run" and belongs_to(span, run)]
        if run_spans:
            break
        assert time.monotonic() < until, [span.name for span, _ in received]
        time.sleep(0.05)
    spans: SpansByName = {}
    for span, sender in received:
        if span.trace_id == run_spans[0].trace_id:
            spans.setdefault(span.name, []).append((span, sender))
    return spans


def belongs_to(span: Any, run: ObservedRun) -> bool:
    return bool(values(span.attributes)["masksift.run_id"] == run.record["fingerprint"])


@pytest.fixture(scope="module")
def spans(collector: Collector, first: ObservedRun) -> SpansByName:
    """Spans of the run, after those of its last tasks arrived from the workers."""
    until = time.monotonic() + 60
    while len((spans := wait_for_trace(collector, first)).get("report task", [])) < 1:
        assert time.monotonic() < until, {name: len(pairs) for name, pairs in spans.items()}
        time.sleep(0.05)
    return spans


def test_run_span_has_a_child_per_stage(spans: SpansByName, first: ObservedRun) -> None:
    ((run, _),) = spans["masksift run"]
    assert not run.parent_span_id
    for stage in first.record["stages"]:
        ((span, _),) = spans[stage["name"]]
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
def test_task_spans_are_children_of_their_stage(spans: SpansByName, task: str, stage: str) -> None:
    ((parent, _),) = spans[stage]
    assert {span.parent_span_id for span, _ in spans[task]} == {parent.span_id}


def test_block_has_a_span_of_its_worker(spans: SpansByName, first: ObservedRun) -> None:
    (_, client) = spans["masksift run"][0]
    senders = {sender["process.pid"] for _, sender in spans["condense task"]}
    assert len(senders) == 2, "both workers"
    assert client["process.pid"] not in senders
    assert client["service.name"] == "masksift"
    attributes = [values(span.attributes) for span, _ in spans["condense task"]]
    assert sorted(item["masksift.block"] for item in attributes) == list(range(first.record["blocks"]))
    assert all(item["masksift.source"] == "street" and item["masksift.bytes_read"] > 0 for item in attributes)


def test_failed_task_has_a_span_with_the_error(collector: Collector, failed: ObservedRun) -> None:
    until = time.monotonic() + 60
    while not (
        failed_spans := [span for span, _ in list(collector.spans) if span.name == "score task" and span.status.message]
    ):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert all(span.status.code == span.status.STATUS_CODE_ERROR for span in failed_spans)
    assert all("The images of its chunk cannot be scored" in span.status.message for span in failed_spans)
    assert not any(span.events for span in failed_spans), "an exception event could contain credentials"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """OpenTelemetry tracer provider that the calling program configured."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def block_fields(number: int) -> dict[str, Any]:
    return {"block": number}


def test_run_joins_the_trace_of_its_program(provider: InMemorySpanExporter) -> None:
    with (
        trace.get_tracer("nightly").start_as_current_span("nightly"),
        run_telemetry("abc"),
        tracing.stage_span("count"),
    ):
        assert InstrumentedTask(abs, "abc", "count", block_fields)(-3) == 3
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
        "from masksift.runtime.telemetry import InstrumentedTask, run_telemetry\n"
        "for _ in range(2):\n"
        "    with run_telemetry('abc'):\n"
        "        print(InstrumentedTask(abs, 'abc', 'count', lambda number: {})(-3))\n"
    )
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60
    )
    assert process.stdout.split() == ["3", "3"], process.stderr
    assert process.stderr.count("no span is sent. Install 'masksift[telemetry]'") == 1
