"""An Iceberg REST catalog on loopback: as much of the specification as making, reading and changing tables takes.

It keeps its tables by a catalog of its own in a database; what is under test is what a client says to it over HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from pyiceberg.catalog.rest import CreateTableRequest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.table import CommitTableRequest, Table

__all__ = ["RestServer", "rest_catalog"]


@dataclass
class RestServer:
    """Where it listens, what it keeps its tables by, and what it was asked: methods and paths, and headers by name."""

    url: str
    behind: SqlCatalog
    asked: list[str] = field(default_factory=list)
    warehouses: set[str] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)


class _Handler(BaseHTTPRequestHandler):
    server_of: ClassVar[RestServer]
    lock: ClassVar[Lock]

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests look at `asked`."""

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        address = urlsplit(self.path)
        path = tuple(address.path.strip("/").split("/"))
        with self.lock:
            self.server_of.asked.append(f"{method} {address.path}")
            self.server_of.headers.update(self.headers.items())
            self.server_of.warehouses.update(parse_qs(address.query).get("warehouse", []))
            try:
                status, told = self._of(method, path, body)
            except (CommitFailedException, NoSuchTableError) as e:
                status = 409 if isinstance(e, CommitFailedException) else 404
                told = {"error": {"message": str(e), "type": type(e).__name__, "code": status}}
        data = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(0 if method == "HEAD" else len(data)))
        self.end_headers()
        if method != "HEAD":
            self.wfile.write(data)

    def _of(self, method: str, path: tuple[str, ...], body: bytes) -> tuple[int, Mapping[str, Any]]:
        behind = self.server_of.behind
        match method, path:
            case "GET", ("v1", "config"):
                return 200, {"defaults": {}, "overrides": {}}
            case "POST", ("v1", "namespaces"):
                asked = json.loads(body)["namespace"]
                behind.create_namespace(tuple(asked))
                return 200, {"namespace": asked, "properties": {}}
            case "GET" | "HEAD", ("v1", "namespaces", namespace):
                there = behind.namespace_exists(namespace)
                return (
                    (200, {"namespace": [namespace], "properties": {}})
                    if there
                    else (404, _error(f"no namespace {namespace}"))
                )
            case "POST", ("v1", "namespaces", namespace, "tables"):
                told = CreateTableRequest.model_validate({"location": None, **json.loads(body)})
                assert told.partition_spec is not None
                made = behind.create_table(
                    (namespace, told.name), told.table_schema, told.location, told.partition_spec
                )
                return 200, _told(made)
            case "GET", ("v1", "namespaces", namespace, "tables", name):
                return 200, _told(behind.load_table((namespace, name)))
            case "POST", ("v1", "namespaces", namespace, "tables", name):
                wanted = CommitTableRequest.model_validate_json(body)
                behind.commit_table(behind.load_table((namespace, name)), wanted.requirements, wanted.updates)
                return 200, _told(behind.load_table((namespace, name)))
        raise AssertionError(f"nobody asks for {method} {'/'.join(path)}")


def _error(text: str) -> dict[str, Any]:
    return {"error": {"message": text, "type": "NoSuchNamespaceException", "code": 404}}


def _told(table: Table) -> dict[str, Any]:
    return {"metadata-location": table.metadata_location, "metadata": json.loads(table.metadata.model_dump_json())}


@contextmanager
def rest_catalog(folder: Path) -> Iterator[RestServer]:
    """The server with its tables in a folder; it ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with SqlCatalog("behind", uri=f"sqlite:///{folder}/behind.db", warehouse=f"file://{folder}/lake") as behind:
        handler = type("Handler", (_Handler,), {"lock": Lock()})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
            server = RestServer(f"http://127.0.0.1:{listening.server_address[1]}", behind)
            handler.server_of = server  # type: ignore[attr-defined]
            thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield server
            finally:
                listening.shutdown()
                thread.join()
