"""Build Arrow tables from rows and columns, and read Arrow lists as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def table_from_rows(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Build a table from rows. A missing key is null; a null in a required column raises ValueError."""
    return table_from_columns({name: [row.get(name) for row in rows] for name in schema.names}, schema)


def table_from_columns(columns: Mapping[str, Sequence[Any] | NDArray[Any] | pa.Array], schema: pa.Schema) -> pa.Table:
    """Build a table from columns by name: sequences, arrays, masked arrays (null where masked) or Arrow arrays.

    Args:
        columns: A column for each field of the schema; others are left out.
        schema: Schema of the table.

    Returns:
        The table.

    Raises:
        ValueError: If a required column has a null.
    """
    table = pa.Table.from_arrays([_array(columns[field.name], field.type) for field in schema], schema=schema)
    for field in schema:
        if not field.nullable and (nulls := table[field.name].null_count):
            raise ValueError(f"{nulls} of {len(table)} rows have no {field.name!r}")
    return table


def _array(values: Sequence[Any] | NDArray[Any] | pa.Array, data_type: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values.cast(data_type)
    if pa.types.is_integer(data_type):
        return pa.array(values).cast(data_type)  # pa.array(values, data_type) would truncate floats
    return pa.array(values, data_type)


def take(values: Any, positions: NDArray[np.int64]) -> pa.Array:
    """Return the values of a sequence or an array at some positions."""
    return pa.array(values).take(pa.array(positions))


def concatenate(columns: Sequence[NDArray[Any]]) -> pa.Array:
    """Concatenate arrays; a masked value becomes null."""
    return pa.concat_arrays([pa.array(column) for column in columns])


def list_array(values: NDArray[Any], ends: NDArray[np.int64]) -> pa.Array:
    """Return an array of lists from the values of all lists and the end of each list in them."""
    return pa.ListArray.from_arrays(pa.array(np.append(0, ends), pa.int32()), pa.array(values))


def bytes_array(values: NDArray[Any]) -> pa.Array:
    """Return the bytes of each of the arrays (n, ...)."""
    ends = np.arange(len(values) + 1, dtype=np.int64) * (values.nbytes // max(1, len(values)))
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(values))]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(values), buffers)


def joined_bytes(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Return the bytes of all values of a column of `bytes_array`, uint8; a view if the column is one array."""
    parts = []
    for chunk in filter(len, column.chunks):
        _, ends, data = chunk.buffers()
        first, last = np.frombuffer(ends, np.int64)[[chunk.offset, chunk.offset + len(chunk)]]
        parts.append(np.frombuffer(data, np.uint8)[first:last])
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.uint8), *parts])


def replace_column(table: pa.Table, name: str, columns: pa.Table) -> pa.Table:
    """Put the columns of a second table in the place of a column."""
    place = table.schema.get_field_index(name)
    arrays = [*table.columns[:place], *columns.columns, *table.columns[place + 1 :]]
    schema = table.schema.remove(place)
    for number, field in enumerate(columns.schema):
        schema = schema.insert(place + number, field)
    return pa.table(arrays, schema=schema)


def integer_lists(column: pa.ChunkedArray) -> Iterator[NDArray[np.int32]]:
    """Yield the lists of a column of non-null int32 lists, as views of the column."""
    for chunk in column.chunks:
        numbers = chunk.values.to_numpy()
        for start, stop in pairwise(chunk.offsets.to_numpy().tolist()):
            yield numbers[start:stop]


def count_values(column: pa.ChunkedArray) -> dict[Any, int]:
    """Count the rows of each value of a column."""
    return {entry["values"]: entry["counts"] for entry in column.value_counts().to_pylist()}
