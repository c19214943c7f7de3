"""Observation of runs: Prometheus samples of the workers and an in-process collector of OpenTelemetry spans."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from support.dask_processes import Processes, Sample
from support.run_processes import run_command

__all__ = ["OPERATIONS", "TELEMETRY", "Collector", "ObservedRun", "collecting", "documented_config", "run_on", "values"]

DOCS = Path(__file__).parents[2] / "docs/operations"
OPERATIONS = DOCS / "runbook.md"
TELEMETRY = DOCS / "telemetry.md"


def documented_config() -> str:
    """Read the Dask configuration in the documentation, as YAML."""
    (config,) = re.findall(r"```yaml\n(.*?)```", TELEMETRY.read_text(), re.S)
    return str(config)


@dataclass
class Collector:
    """Received spans, each with the resource attributes of its sender."""

    url: str = ""
    spans: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)

    def receive(self, body: bytes) -> None:
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            sender = values(resource_spans.resource.attributes)
            self.spans += [(span, sender) for scope in resource_spans.scope_spans for span in scope.spans]


def values(attributes: Any) -> dict[str, Any]:
    """Convert attributes to a dictionary of plain values."""
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Start a collector on a free port."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.receive(self.rfile.read(int(self.headers["Content-Length"])))
            response = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(response)))
            self.end_headers()
            self.wfile.write(response)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


@dataclass
class ObservedRun:
    """Run on the cluster: source, output directory, exit code, standard error, and samples of all workers before and
    after it."""

    source: Path
    out: Path
    code: int
    errors: str
    before: Counter[Sample]
    after: Counter[Sample]

    @property
    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.out / "run.json").read_text())
        return record

    def increase(self, name: str, **labels: str) -> float:
        """Return the increase of a counter, summed over the workers."""
        sample = name, frozenset(labels.items())
        return self.after[sample] - self.before[sample]

    def grown(self, name: str) -> dict[Sample, float]:
        """Return the increases of all samples of a counter that changed."""
        return {
            key: self.after[key] - self.before[key]
            for key in self.after
            if key[0] == name and self.after[key] != self.before[key]
        }


def run_on(cluster: Processes, source: Path | str, out: Path, variables: dict[str, str], *flags: str) -> ObservedRun:
    """Run the command in another process, with JSON logs and extra environment variables."""
    before = cluster.scrape()
    args = run_command(
        source, out, "--executor.kind", "dask", "--executor.address", cluster.address, "--log-format", "json"
    )
    process = subprocess.run(
        [*args, *flags], capture_output=True, text=True, env={**os.environ, **variables}, timeout=120
    )
    return ObservedRun(Path(source), out, process.returncode, process.stderr, before, cluster.scrape())
