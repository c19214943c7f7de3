"""Rows sorted in bounded memory, whatever their number: DuckDB sorts runs and merges them from a temporary folder."""

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
"""Bytes that a sort may hold; what is more goes to the temporary folder ($TMPDIR). A quarter of it is as fast, but too
little for the merge of a hundred million rows."""


def sort_tables(
    tables: Iterable[pa.Table], schema: pa.Schema, by: str, rows: int, *, highest_first: bool = False
) -> Iterator[pa.Table]:
    """All rows of the ``tables`` (of one ``schema``) that have a finite value in the column ``by``, the lowest first,
    or the highest.

    They come in tables of so many ``rows``, the last one shorter. Equal values keep their order.
    """
    reader = pa.RecordBatchReader.from_batches(_placed(schema), _numbered(tables))
    with duckdb_connection() as connection:
        connection.register("unsorted", reader)
        value, order = quote_identifier(by), "DESC" if highest_first else "ASC"
        query = f"SELECT * EXCLUDE (place) FROM unsorted WHERE isfinite({value}) ORDER BY {value} {order}, place"
        kept: list[pa.Table] = []
        for batch in connection.sql(query).to_arrow_reader(rows):
            kept.append(pa.Table.from_batches([batch]).cast(schema))
            while sum(map(len, kept)) >= rows:
                whole = pa.concat_tables(kept)
                yield whole.slice(0, rows).combine_chunks()
                kept = [whole.slice(rows)]
        if sum(map(len, kept)):
            yield pa.concat_tables(kept).combine_chunks()


@contextmanager
def duckdb_connection() -> Iterator[Any]:
    """A DuckDB connection: it holds so much `SORT_MEMORY_BYTES`, has all else in a temporary folder, opens no
    other file and no address, and answers in the order that a query asks for and in no other."""
    with tempfile.TemporaryDirectory(prefix="masksift-") as folder:
        settings: dict[str, Any] = {
            "memory_limit": f"{SORT_MEMORY_BYTES >> 20}MiB",
            "temp_directory": folder,
            "threads": len(os.sched_getaffinity(0)),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        with duckdb.connect(":memory:", config=settings) as connection:
            connection.sql("SET enable_external_access = false")  # not among the settings: the folder is set by then
            yield connection


def _placed(schema: pa.Schema) -> pa.Schema:
    return schema.append(pa.field("place", pa.int64(), nullable=False))


def _numbered(tables: Iterable[pa.Table]) -> Iterator[pa.RecordBatch]:
    """The rows with their place in the whole, by which ties are broken."""
    done = 0
    for table in tables:
        places = pa.array(np.arange(done, done + len(table)))
        done += len(table)
        whole = table.append_column(pa.field("place", pa.int64(), nullable=False), places)
        yield from whole.cast(_placed(table.schema)).to_batches()


def quote_identifier(name: str) -> str:
    """A name as a query has it."""
    return '"' + name.replace('"', '""') + '"'
