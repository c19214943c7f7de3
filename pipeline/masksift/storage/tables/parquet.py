"""Read and write Parquet tables, compressed with zstd, with statistics and the class names as metadata."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from masksift.storage.objects import ObjectDirectory

ROW_GROUP_ROWS = 1 << 17
MAX_OPEN_FILES = 8
"""Part files that are read, and held, at a time."""


def write_table(directory: ObjectDirectory, name: str, table: pa.Table, class_names: Sequence[str]) -> int:
    """Write a table as one Parquet object and return its size in bytes. Equal tables give equal bytes."""
    metadata = {**(table.schema.metadata or {}), b"masksift": json.dumps({"class_names": list(class_names)}).encode()}
    buffer = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        buffer,
        compression="zstd",
        row_group_size=ROW_GROUP_ROWS,
        write_statistics=True,
    )
    directory.write(name, buffer.getvalue())
    return buffer.tell()


def read_table(directory: ObjectDirectory, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one Parquet object. A missing one raises FileNotFoundError."""
    data = directory.read(name)
    if data is None:
        raise FileNotFoundError(f"{directory.url}/{name}")
    # pq.read_table would first import the dataset machinery: a second for one object. Arrow's threads stay unused,
    # because one that releases `data` last, while the process exits, aborts the process.
    file = pq.ParquetFile(pa.BufferReader(data))
    return file.read(columns=None if columns is None else list(columns), use_threads=False)


def class_names_of(table: pa.Table) -> tuple[str, ...]:
    """Return the class names in the metadata of a table that `write_table` wrote. Without any raises KeyError."""
    return tuple(json.loads((table.schema.metadata or {})[b"masksift"])["class_names"])


def iter_tables(
    directory: ObjectDirectory,
    names: Sequence[str],
    columns: Sequence[str] | None = None,
    at_once: int = MAX_OPEN_FILES,
) -> Iterator[pa.Table]:
    """Yield part files in order, with a few of them read ahead."""
    with ThreadPoolExecutor(at_once, thread_name_prefix="tables") as pool:
        for first in range(0, len(names), at_once):
            yield from pool.map(lambda name: read_table(directory, name, columns), names[first : first + at_once])


def list_parts(directory: ObjectDirectory, table: str) -> list[str]:
    """Return the sorted names of the part files of a complete table."""
    return [f"{table}/{name}" for name in directory.names(table) if name.endswith(".parquet")]
