"""DuckDB in bounded memory, for joins of tables."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

MEMORY_BYTES = 1 << 30
"""Memory of DuckDB; the rest is in the temporary directory ($TMPDIR)."""


@contextmanager
def duckdb_connection() -> Iterator[Any]:
    """Open an isolated in-memory DuckDB with `MEMORY_BYTES` that spills to a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="masksift-") as directory:
        settings: dict[str, Any] = {
            "memory_limit": f"{MEMORY_BYTES >> 20}MiB",
            "temp_directory": directory,
            "threads": len(os.sched_getaffinity(0)),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        with duckdb.connect(":memory:", config=settings) as connection:
            connection.sql("SET enable_external_access = false")  # not a setting above: it would forbid temp_directory
            yield connection


def quote_identifier(name: str) -> str:
    """Quote a name for an SQL query."""
    return '"' + name.replace('"', '""') + '"'
