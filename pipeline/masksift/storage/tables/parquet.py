"""Parquet tables: their schemas, and how they are written and read.

Every table is zstd-compressed, with statistics, and carries the class names in its metadata (key `masksift`, JSON).
"""

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
"""Parts that are asked for at a time."""


def write_table(folder: ObjectDirectory, name: str, table: pa.Table, class_names: Sequence[str]) -> int:
    """Put a table as one Parquet object; answers its bytes. The same table gives the same bytes."""
    metadata = {**(table.schema.metadata or {}), b"masksift": json.dumps({"class_names": list(class_names)}).encode()}
    buffer = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        buffer,
        compression="zstd",
        row_group_size=ROW_GROUP_ROWS,
        write_statistics=True,
    )
    folder.write(name, buffer.getvalue())
    return buffer.tell()


def read_table(folder: ObjectDirectory, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one Parquet object. Raises FileNotFoundError where there is none."""
    data = folder.read(name)
    if data is None:
        raise FileNotFoundError(f"{folder.url}/{name}")
    # pq.read_table would import the whole dataset machinery first: a second, for one object. The calling thread reads
    # alone: a thread of Arrow's own that let go of ``data`` last, while the process ends, would abort it.
    file = pq.ParquetFile(pa.BufferReader(data))
    return file.read(columns=None if columns is None else list(columns), use_threads=False)


def iter_tables(
    folder: ObjectDirectory, names: Sequence[str], columns: Sequence[str] | None = None, at_once: int = MAX_OPEN_FILES
) -> Iterator[pa.Table]:
    """The named parts, one after the other, a few of them asked for (and held) at a time."""
    with ThreadPoolExecutor(at_once, thread_name_prefix="tables") as pool:
        for first in range(0, len(names), at_once):
            yield from pool.map(lambda name: read_table(folder, name, columns), names[first : first + at_once])


def list_parts(folder: ObjectDirectory, table: str) -> list[str]:
    """The names of the parts of a table that is whole, in order."""
    return [f"{table}/{name}" for name in folder.names(table) if name.endswith(".parquet")]
