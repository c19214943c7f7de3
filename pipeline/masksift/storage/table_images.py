"""Images in the cells of tables, as Hugging Face's `datasets` stores them: Parquet files, and Arrow files.

An image column is a struct of ``bytes``, an encoded image, and ``path``, its file name. The URL of a cell is
``FILE#COLUMN/ROW``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from masksift.core.errors import DataError
from masksift.storage.clients import open_filesystem
from masksift.storage.urls import local_path

PARQUET, ARROW = ".parquet", ".arrow"
ENDINGS = (PARQUET, ARROW)
LABEL_COLUMNS = ("label", "labels", "annotation", "annotations", "mask", "masks", "segmentation_mask", "semantic_mask")
IMAGE_COLUMNS = ("image", "images", "img", "picture", "rgb")
_ID_COLUMNS = ("image_id", "id", "file_name", "filename", "name")
_CELL = re.compile(r"(.+\.(?:parquet|arrow))#([^/]+)/(\d+)", re.IGNORECASE)
_GROUPS_IN_MEMORY = 4
"""Row groups of one column that a process keeps."""


def is_cell(url: str) -> bool:
    """Return whether a URL is that of a cell."""
    return _CELL.fullmatch(url) is not None


def open_cell(url: str, options: Mapping[str, Any]) -> BinaryIO:
    """Open the encoded image in a cell. An empty or absent one raises DataError."""
    match = _CELL.fullmatch(url)
    assert match is not None
    file, column, row = match[1], match[2], int(match[3])
    key = tuple(sorted((name, repr(value)) for name, value in options.items()))
    try:
        group, first = _find_group(file, row, key, _Options(options))
        data = _read_column(file, column, group, key, _Options(options))[row - first].as_py()
    except (OSError, ValueError, LookupError) as e:  # Arrow's errors are among them
        raise DataError(f"{url} cannot be read ({e})", "Save the data set again") from e
    if not data:
        raise DataError(f"{url} holds no encoded image", "Save the data set with its images embedded")
    return io.BytesIO(data)


class _Options:
    """Storage options as a cached function takes them: equal whatever they are, because their text is another key."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Options)


def image_cells(file: str, options: Mapping[str, Any], roles: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """Find the image column of a role in a table.

    Args:
        file: URL of the table.
        options: Storage options.
        roles: Usual names of the column, `LABEL_COLUMNS` or `IMAGE_COLUMNS`.

    Returns:
        The column, and the id of each row: from a column of ids, else the file name in the cell, else the row number.
        None if the table has no image column.

    Raises:
        DataError: No image column has a usual name, or the file is damaged.
    """
    try:
        schema = _schema(file, options)
        columns = [field.name for field in schema if _is_image(field.type)]
        if not columns:
            return None
        column = next((name for name in roles if name in columns), None)
        if column is None:
            raise DataError(
                f"{file} has the image columns {', '.join(columns)}, none of which is called {' or '.join(roles[:4])}",
                "Rename the column of the labels to `label`, that of the images to `image`",
            )
        return column, _row_ids(file, schema, columns, options)
    except (OSError, ValueError, LookupError) as e:
        raise DataError(f"{file} cannot be read as a table ({e})", "Save the data set again") from e


def row_group_bytes(file: str, options: Mapping[str, Any]) -> int:
    """Return the largest size in bytes of what a process keeps of a table to read its cells."""
    if file.lower().endswith(ARROW):
        return 0  # mapped from the disk
    with _open_parquet(file, options) as parquet:
        metadata = parquet.metadata
        sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    return _GROUPS_IN_MEMORY * max(sizes, default=0)


def _is_image(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return False
    names = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
    return "bytes" in names and (pa.types.is_binary(names["bytes"]) or pa.types.is_large_binary(names["bytes"]))


def _row_ids(file: str, schema: pa.Schema, columns: Sequence[str], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a unique id for each row, the same for every image column."""
    for name in _ID_COLUMNS:
        if name in schema.names and not pa.types.is_nested(schema.field(name).type):
            ids = [str(value) for value in _read_plain(file, name, options)]
            if len(set(ids)) == len(ids):
                return tuple(ids)
    for column in sorted(columns, key=lambda name: name not in IMAGE_COLUMNS):
        if schema.field(column).type.get_field_index("path") < 0:
            continue
        paths = [path and str(path).rpartition("/")[2] for path in _read_plain(file, f"{column}.path", options)]
        if all(paths) and len({*paths}) == len(paths):
            return tuple(map(str, paths))
    base = file.rpartition("/")[2].rpartition(".")[0]
    return tuple(f"{base}/{row}" for row in range(_row_count(file, options)))


def _row_count(file: str, options: Mapping[str, Any]) -> int:
    if file.lower().endswith(ARROW):
        return int(_read_arrow(file).num_rows)
    with _open_parquet(file, options) as parquet:
        return int(parquet.metadata.num_rows)


def _read_plain(file: str, column: str, options: Mapping[str, Any]) -> list[Any]:
    """Read a column, or the field ``path`` of an image column."""
    name, _, part = column.partition(".")
    if file.lower().endswith(ARROW):
        chunked = _read_arrow(file)[name]
    else:
        with _open_parquet(file, options) as parquet:
            chunked = parquet.read(columns=[column], use_threads=False)[name]
    return [value for chunk in chunked.chunks for value in (chunk.field(part) if part else chunk).to_pylist()]


def _schema(file: str, options: Mapping[str, Any]) -> pa.Schema:
    if file.lower().endswith(ARROW):
        return _read_arrow(file).schema
    with _open_parquet(file, options) as parquet:
        return parquet.schema_arrow


@lru_cache(256)
def _find_group(file: str, row: int, key: Any, options: _Options) -> tuple[int, int]:
    """Return the row group of a row, and its first row."""
    if file.lower().endswith(ARROW):
        return 0, 0
    first = 0
    for group, rows in enumerate(_group_rows(file, key, options)):
        if row < first + rows:
            return group, first
        first += rows
    raise LookupError(f"it has {first:,} rows")


@lru_cache(64)
def _group_rows(file: str, key: Any, options: _Options) -> tuple[int, ...]:
    with _open_parquet(file, options.values) as parquet:
        return tuple(parquet.metadata.row_group(i).num_rows for i in range(parquet.metadata.num_row_groups))


@lru_cache(_GROUPS_IN_MEMORY)
def _read_column(file: str, column: str, group: int, key: Any, options: _Options) -> Any:
    """Read the encoded images of a row group."""
    if file.lower().endswith(ARROW):
        table = _read_arrow(file)
    else:
        with _open_parquet(file, options.values) as parquet:
            table = parquet.read_row_group(group, columns=[f"{column}.bytes"], use_threads=False)
    chunked = table[column]
    return pa.chunked_array([chunk.field("bytes") for chunk in chunked.chunks])


@contextmanager
def _open_parquet(file: str, options: Mapping[str, Any]) -> Iterator[pq.ParquetFile]:
    filesystem, path = open_filesystem(file, options)
    with open(path, "rb") if local_path(file) else filesystem.open(path, "rb") as opened:
        yield pq.ParquetFile(opened)


@lru_cache(8)
def _read_arrow(file: str) -> pa.Table:
    """Map an Arrow stream of `save_to_disk`."""
    path = local_path(file)
    if path is None:
        raise ValueError("Arrow files are read from a local disk only; save the data set as Parquet")
    with pa.memory_map(path) as source:
        return pa.ipc.open_stream(source).read_all()
