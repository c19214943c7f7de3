"""Who watches a run: Prometheus, which reads counters of the workers, and a collector of OpenTelemetry's spans."""

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

__all__ = ["OPERATIONS", "TELEMETRY", "Collector", "Told", "collecting", "documented_config", "run_on", "values"]

DOCS = Path(__file__).parents[2] / "docs/operations"
OPERATIONS = DOCS / "runbook.md"
TELEMETRY = DOCS / "telemetry.md"


def documented_config() -> str:
    """The configuration of Dask that the documentation shows, YAML."""
    (config,) = re.findall(r"```yaml\n(.*?)```", TELEMETRY.read_text(), re.S)
    return str(config)


@dataclass
class Collector:
    """What OpenTelemetry's collector would receive: spans, each with the attributes of whoever sent it."""

    url: str = ""
    spans: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)

    def receive(self, body: bytes) -> None:
        for told in ExportTraceServiceRequest.FromString(body).resource_spans:
            sender = values(told.resource.attributes)
            self.spans += [(span, sender) for scope in told.scope_spans for span in scope.spans]


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as plain values by key."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port."""
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            made.receive(self.rfile.read(int(self.headers["Content-Length"])))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *words: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Told:
    """A run on the cluster: its folder and source, what it wrote to standard error, and the samples of all workers
    before it and after it."""

    source: Path
    out: Path
    code: int
    errors: str
    before: Counter[Sample]
    after: Counter[Sample]

    @property
    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "run.json").read_text())
        return found

    def counted(self, name: str, **labels: str) -> float:
        """By how much the workers' sum of a counter has grown."""
        sample = name, frozenset(labels.items())
        return self.after[sample] - self.before[sample]

    def grown(self, name: str) -> dict[Sample, float]:
        """All samples of that name that have grown, and by how much."""
        return {
            key: self.after[key] - self.before[key]
            for key in self.after
            if key[0] == name and self.after[key] != self.before[key]
        }


def run_on(cluster: Processes, source: Path | str, out: Path, told: dict[str, str], *flags: str) -> Told:
    """The command in a process of its own, which tells its progress in JSON."""
    before = cluster.scrape()
    words = run_command(
        source, out, "--executor.kind", "dask", "--executor.address", cluster.address, "--log-format", "json"
    )
    done = subprocess.run([*words, *flags], capture_output=True, text=True, env={**os.environ, **told}, timeout=120)
    return Told(Path(source), out, done.returncode, done.stderr, before, cluster.scrape())
