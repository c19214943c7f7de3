"""OpenTelemetry spans: one a run, one a stage, one a task, in one trace across the cluster.

Nothing is imported, and nothing travels, unless OpenTelemetry is set up where the run is started: by
`OTEL_EXPORTER_OTLP_ENDPOINT` (OTLP over HTTP) or by a tracer provider that the program has set. What travels to a task
is a W3C `traceparent`; where its spans go, the worker's own environment says.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from masksift.core.task_result import TaskResult
from masksift.runtime.telemetry.logs import safe_error_message

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_NOTED = ("images", "bytes_read", "bytes_written", "requests", "puts", "repeated", "reused")
_run: ContextVar[Tracer | None] = ContextVar("masksift_run_tracer", default=None)

log = logging.getLogger(__name__)


@contextmanager
def run_span(run_id: str) -> Iterator[None]:
    """A run's span, a child of the one that is open, if any."""
    tracer = _tracer()
    if tracer is None:
        yield
        return
    token = _run.set(tracer)
    try:
        with _span(tracer, "masksift run", {"run_id": run_id}):
            yield
    finally:
        _run.reset(token)


@contextmanager
def stage_span(name: str) -> Iterator[None]:
    """A stage's span, inside the run's; without one it is none."""
    tracer = _run.get()
    if tracer is None:
        yield
        return
    with _span(tracer, name, {"stage": name}):
        yield


@contextmanager
def task_span(stage: str, facts: Mapping[str, Any], parent: str | None) -> Iterator[Span | None]:
    """A task's span, where its run has one and this process is set up for spans."""
    tracer = _tracer() if parent else None
    if tracer is None:
        yield None
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": parent})
    with _span(tracer, f"{stage} task", facts, context) as span:
        yield span


def set_result_attributes(span: Span | None, result: TaskResult | None) -> None:
    """Put on a task's span what it took."""
    if span is not None and result is not None:
        span.set_attributes({f"masksift.{name}": getattr(result, name) for name in _NOTED})


def traceparent() -> str | None:
    """The open span of the run, or of its stage, as it travels to tasks."""
    if _run.get() is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def _span(tracer: Tracer, name: str, facts: Mapping[str, Any], context: Context | None = None) -> Iterator[Span]:
    """A span that is current inside. Of an error it keeps what may be shown, which is less than OpenTelemetry would."""
    from opentelemetry.trace import Status, StatusCode

    attributes = {f"masksift.{key}": value for key, value in facts.items()}
    with tracer.start_as_current_span(
        name, context, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as e:
            span.set_status(Status(StatusCode.ERROR, safe_error_message(e)))
            raise


def _tracer() -> Tracer | None:
    """The tracer of this process, None where nobody has set it up for spans."""
    if (api := sys.modules.get("opentelemetry.trace")) is not None:
        provider = api.get_tracer_provider()
        if not isinstance(provider, api.ProxyTracerProvider):
            found: Tracer = provider.get_tracer("masksift", version("masksift"))
            return found
    return _exporting() if any(map(os.environ.get, _ENDPOINTS)) else None


@cache
def _exporting() -> Tracer | None:
    """A tracer whose spans go to the endpoint that the environment names; what is left goes when this process ends."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as e:
        log.warning(
            "an endpoint for spans is set (%s), and %s is not installed: no span is sent. "
            "Install 'masksift[telemetry]'",
            " or ".join(_ENDPOINTS),
            e.name,
        )
        return None
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "masksift"}
    here: dict[str, str | int] = {
        "service.version": version("masksift"),
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
    }
    provider = TracerProvider(resource=Resource.create({**named, **here}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("masksift", version("masksift"))
