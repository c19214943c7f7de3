"""Read and write Parquet tables, compressed with zstd, with statistics and the class names as metadata."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from masksift.storage.objects import ObjectDirectory

ROW_GROUP_ROWS = 1 << 17
LOOKUP_GROUP_ROWS = 1 << 12
"""Rows of a row group in tables of which single rows are read: such a read fetches one group and the footer."""
MAX_OPEN_FILES = 8
"""Part files that are read, and held, at a time."""


def write_table(
    directory: ObjectDirectory,
    name: str,
    table: pa.Table,
    class_names: Sequence[str],
    group_rows: int = ROW_GROUP_ROWS,
) -> int:
    """Write a table as one Parquet object and return its size in bytes. Equal tables give equal bytes."""
    metadata = {**(table.schema.metadata or {}), b"masksift": json.dumps({"class_names": list(class_names)}).encode()}
    buffer = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        buffer,
        compression="zstd",
        row_group_size=group_rows,
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


def read_rows(
    directory: ObjectDirectory, name: str, rows: Sequence[int], columns: Sequence[str] | None = None
) -> pa.Table:
    """Read single rows of a Parquet object, and no more of it than the row groups that hold them.

    Args:
        directory: Directory of the object.
        name: Name of the object. A missing one raises FileNotFoundError.
        rows: Positions of the rows, which may repeat.
        columns: Names of the columns, or None for all.

    Returns:
        The rows, in the given order.
    """
    reader, wanted = _ObjectReader(directory, name), np.asarray(rows)
    with pq.ParquetFile(pa.PythonFile(reader, mode="r")) as file:
        metadata = file.metadata
        sizes = np.array([metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)])
        ends = np.cumsum(sizes)
        groups, inverse = np.unique(np.searchsorted(ends, wanted, side="right"), return_inverse=True)
        tables = []
        for group in groups.tolist():
            reader.fetch(*_byte_range(metadata.row_group(group), columns))
            tables.append(file.read_row_group(group, None if columns is None else list(columns), use_threads=False))
    starts = np.cumsum([0, *sizes[groups]])[:-1] - (ends - sizes)[groups]
    return pa.concat_tables(tables).take(wanted + starts[inverse])


def _byte_range(group: Any, columns: Sequence[str] | None) -> tuple[int, int]:
    """Return the bytes of a row group from the first to the last of some columns."""
    chunks = [group.column(number) for number in range(group.num_columns)]
    chunks = [one for one in chunks if columns is None or one.path_in_schema.split(".")[0] in columns]
    starts = [one.dictionary_page_offset or one.data_page_offset for one in chunks]
    return min(starts), max(start + one.total_compressed_size for start, one in zip(starts, chunks, strict=True))


class _ObjectReader(io.RawIOBase):
    """Seekable file over an object, which requests one byte range after another and keeps the last one."""

    def __init__(self, directory: ObjectDirectory, name: str) -> None:
        super().__init__()
        self._directory, self._name, self._position = directory, name, 0
        self._size = directory.size(name)
        self._start, self._data = 0, b""

    def fetch(self, start: int, stop: int) -> None:
        """Request the bytes [start, stop), for the next reads."""
        self._start, self._data = start, self._directory.read_range(self._name, start, stop)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        start, stop = self._position, self._size if size is None or size < 0 else self._position + size
        stop = min(stop, self._size)
        if start >= stop:
            return b""
        if start < self._start or stop > self._start + len(self._data):
            self.fetch(start, stop)
        self._position = stop
        return self._data[start - self._start : stop - self._start]


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
