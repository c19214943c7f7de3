"""Sort rows in bounded memory: DuckDB sorts runs of rows and merges them from a temporary directory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

SORT_MEMORY_BYTES = 1 << 30
"""Memory of a sort; the rest is in the temporary directory ($TMPDIR). A quarter of it is as fast, but too little for
the merge of 100 million rows."""


def sort_tables(
    tables: Iterable[pa.Table], schema: pa.Schema, by: str, rows: int, *, highest_first: bool = False
) -> Iterator[pa.Table]:
    """Sort all rows with a finite value of a column.

    Args:
        tables: Tables of one schema.
        schema: The schema.
        by: Name of a float column.
        rows: Rows of each yielded table.
        highest_first: Sort in descending order.

    Yields:
        Tables of `rows` rows, the last one shorter. Equal values keep their order.
    """
    reader = pa.RecordBatchReader.from_batches(_numbered_schema(schema), _number_rows(tables))
    with duckdb_connection() as connection:
        connection.register("unsorted", reader)
        value, order = quote_identifier(by), "DESC" if highest_first else "ASC"
        query = f"SELECT * EXCLUDE (place) FROM unsorted WHERE isfinite({value}) ORDER BY {value} {order}, place"
        pending: list[pa.Table] = []
        for batch in connection.sql(query).to_arrow_reader(rows):
            pending.append(pa.Table.from_batches([batch]).cast(schema))
            while sum(map(len, pending)) >= rows:
                merged = pa.concat_tables(pending)
                yield merged.slice(0, rows).combine_chunks()
                pending = [merged.slice(rows)]
        if sum(map(len, pending)):
            yield pa.concat_tables(pending).combine_chunks()


@contextmanager
def duckdb_connection() -> Iterator[Any]:
    """Open an isolated in-memory DuckDB with `SORT_MEMORY_BYTES` that spills to a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="masksift-") as directory:
        settings: dict[str, Any] = {
            "memory_limit": f"{SORT_MEMORY_BYTES >> 20}MiB",
            "temp_directory": directory,
            "threads": len(os.sched_getaffinity(0)),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        with duckdb.connect(":memory:", config=settings) as connection:
            connection.sql("SET enable_external_access = false")  # not a setting above: it would forbid temp_directory
            yield connection


def _numbered_schema(schema: pa.Schema) -> pa.Schema:
    return schema.append(pa.field("place", pa.int64(), nullable=False))


def _number_rows(tables: Iterable[pa.Table]) -> Iterator[pa.RecordBatch]:
    """Append the position of each row over all tables, which breaks ties."""
    done = 0
    for table in tables:
        numbers = pa.array(np.arange(done, done + len(table)))
        done += len(table)
        numbered = table.append_column(pa.field("place", pa.int64(), nullable=False), numbers)
        yield from numbered.cast(_numbered_schema(table.schema)).to_batches()


def quote_identifier(name: str) -> str:
    """Quote a name for an SQL query."""
    return '"' + name.replace('"', '""') + '"'
