"""Run an Iceberg REST catalog on loopback, with the part of the specification that creates, reads and changes tables.

The tables are in an SQL catalog; the subject of the tests is the HTTP traffic of the client.
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

__all__ = ["RestCatalogServer", "run_rest_catalog"]


@dataclass
class RestCatalogServer:
    """A running server with its SQL catalog and a record of the requests: method and path, warehouses and headers."""

    url: str
    catalog: SqlCatalog
    requests: list[str] = field(default_factory=list)
    warehouses: set[str] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)


class _Handler(BaseHTTPRequestHandler):
    server_state: ClassVar[RestCatalogServer]
    lock: ClassVar[Lock]

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: tests read `requests`."""

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        address = urlsplit(self.path)
        path = tuple(address.path.strip("/").split("/"))
        with self.lock:
            self.server_state.requests.append(f"{method} {address.path}")
            self.server_state.headers.update(self.headers.items())
            self.server_state.warehouses.update(parse_qs(address.query).get("warehouse", []))
            try:
                status, answer = self._route(method, path, body)
            except (CommitFailedException, NoSuchTableError) as e:
                status = 409 if isinstance(e, CommitFailedException) else 404
                answer = {"error": {"message": str(e), "type": type(e).__name__, "code": status}}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(0 if method == "HEAD" else len(data)))
        self.end_headers()
        if method != "HEAD":
            self.wfile.write(data)

    def _route(self, method: str, path: tuple[str, ...], body: bytes) -> tuple[int, Mapping[str, Any]]:
        catalog = self.server_state.catalog
        match method, path:
            case "GET", ("v1", "config"):
                return 200, {"defaults": {}, "overrides": {}}
            case "POST", ("v1", "namespaces"):
                namespace = json.loads(body)["namespace"]
                catalog.create_namespace(tuple(namespace))
                return 200, {"namespace": namespace, "properties": {}}
            case "GET" | "HEAD", ("v1", "namespaces", namespace):
                exists = catalog.namespace_exists(namespace)
                return (
                    (200, {"namespace": [namespace], "properties": {}})
                    if exists
                    else (404, _error(f"no namespace {namespace}"))
                )
            case "POST", ("v1", "namespaces", namespace, "tables"):
                request = CreateTableRequest.model_validate({"location": None, **json.loads(body)})
                assert request.partition_spec is not None
                table = catalog.create_table(
                    (namespace, request.name), request.table_schema, request.location, request.partition_spec
                )
                return 200, _table_json(table)
            case "GET", ("v1", "namespaces", namespace, "tables", name):
                return 200, _table_json(catalog.load_table((namespace, name)))
            case "POST", ("v1", "namespaces", namespace, "tables", name):
                commit = CommitTableRequest.model_validate_json(body)
                catalog.commit_table(catalog.load_table((namespace, name)), commit.requirements, commit.updates)
                return 200, _table_json(catalog.load_table((namespace, name)))
        raise AssertionError(f"unexpected request {method} {'/'.join(path)}")


def _error(text: str) -> dict[str, Any]:
    return {"error": {"message": text, "type": "NoSuchNamespaceException", "code": 404}}


def _table_json(table: Table) -> dict[str, Any]:
    return {"metadata-location": table.metadata_location, "metadata": json.loads(table.metadata.model_dump_json())}


@contextmanager
def run_rest_catalog(directory: Path) -> Iterator[RestCatalogServer]:
    """Run the server with its tables below a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    with SqlCatalog(
        "catalog", uri=f"sqlite:///{directory}/catalog.db", warehouse=f"file://{directory}/lake"
    ) as catalog:
        handler = type("Handler", (_Handler,), {"lock": Lock()})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
            server = RestCatalogServer(f"http://127.0.0.1:{listening.server_address[1]}", catalog)
            handler.server_state = server  # type: ignore[attr-defined]
            thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield server
            finally:
                listening.shutdown()
                thread.join()
