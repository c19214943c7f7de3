"""OpenTelemetry spans of a run, its stages and its tasks, in one trace across the cluster.

Without OpenTelemetry setup at the client nothing is imported or sent. Setup is an endpoint in
`OTEL_EXPORTER_OTLP_ENDPOINT` (OTLP over HTTP) or a tracer provider of the program. Tasks receive a W3C `traceparent`;
the environment of each worker decides where its spans go.
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
_RESULT_FIELDS = ("images", "bytes_read", "bytes_written", "requests", "puts", "repeated", "reused")
_run_tracer: ContextVar[Tracer | None] = ContextVar("masksift_run_tracer", default=None)

log = logging.getLogger(__name__)


@contextmanager
def run_span(run_id: str) -> Iterator[None]:
    """Open the span of a run, as a child of the program's current span."""
    tracer = _tracer()
    if tracer is None:
        yield
        return
    token = _run_tracer.set(tracer)
    try:
        with _span(tracer, "masksift run", {"run_id": run_id}):
            yield
    finally:
        _run_tracer.reset(token)


@contextmanager
def stage_span(name: str) -> Iterator[None]:
    """Open the span of a stage; without a run span do nothing."""
    tracer = _run_tracer.get()
    if tracer is None:
        yield
        return
    with _span(tracer, name, {"stage": name}):
        yield


@contextmanager
def task_span(stage: str, fields: Mapping[str, Any], parent: str | None) -> Iterator[Span | None]:
    """Open the span of a task if its run is traced and this process is set up for traces."""
    tracer = _tracer() if parent else None
    if tracer is None:
        yield None
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": parent})
    with _span(tracer, f"{stage} task", fields, context) as span:
        yield span


def set_result_attributes(span: Span | None, result: TaskResult | None) -> None:
    """Add the counters of a task to its span."""
    if span is not None and result is not None:
        span.set_attributes({f"masksift.{name}": getattr(result, name) for name in _RESULT_FIELDS})


def traceparent() -> str | None:
    """Return the W3C trace parent of the current span of a run, for its tasks."""
    if _run_tracer.get() is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def _span(tracer: Tracer, name: str, fields: Mapping[str, Any], context: Context | None = None) -> Iterator[Span]:
    """Open a span. Errors are recorded without secrets, unlike by OpenTelemetry itself."""
    from opentelemetry.trace import Status, StatusCode

    attributes = {f"masksift.{key}": value for key, value in fields.items()}
    with tracer.start_as_current_span(
        name, context, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as e:
            span.set_status(Status(StatusCode.ERROR, safe_error_message(e)))
            raise


def _tracer() -> Tracer | None:
    """Return the tracer of this process, if it is set up for traces."""
    if (api := sys.modules.get("opentelemetry.trace")) is not None:
        provider = api.get_tracer_provider()
        if not isinstance(provider, api.ProxyTracerProvider):
            tracer: Tracer = provider.get_tracer("masksift", version("masksift"))
            return tracer
    return _create_exporting_tracer() if any(map(os.environ.get, _ENDPOINTS)) else None


@cache
def _create_exporting_tracer() -> Tracer | None:
    """Create a tracer that sends spans to the endpoint of the environment, the last ones at process exit."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as e:
        log.warning(
            "%s is set, but %s is not installed: no span is sent. Install 'masksift[telemetry]'",
            " or ".join(_ENDPOINTS),
            e.name,
        )
        return None
    attributes: dict[str, str | int] = {
        "service.version": version("masksift"),
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
    }
    if not os.environ.get("OTEL_SERVICE_NAME"):
        attributes["service.name"] = "masksift"
    provider = TracerProvider(resource=Resource.create(attributes))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("masksift", version("masksift"))
