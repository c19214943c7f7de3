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


def table_from_columns(columns: Mapping[str, Sequence[Any] | NDArray[Any]], schema: pa.Schema) -> pa.Table:
    """Build a table from columns by name. A null in a required column raises ValueError."""
    table = pa.Table.from_arrays([_array(columns[field.name], field.type) for field in schema], schema=schema)
    for field in schema:
        if not field.nullable and (nulls := table[field.name].null_count):
            raise ValueError(f"{nulls} of {len(table)} rows have no {field.name!r}")
    return table


def _array(values: Sequence[Any] | NDArray[Any], data_type: pa.DataType) -> pa.Array:
    if pa.types.is_integer(data_type):
        return pa.array(values).cast(data_type)  # pa.array(values, data_type) would truncate floats
    return pa.array(values, data_type)


def integer_lists(column: pa.ChunkedArray) -> Iterator[NDArray[np.int32]]:
    """Yield the lists of a column of non-null int32 lists, as views of the column."""
    for chunk in column.chunks:
        numbers = chunk.values.to_numpy()
        for start, stop in pairwise(chunk.offsets.to_numpy().tolist()):
            yield numbers[start:stop]


def count_values(column: pa.ChunkedArray) -> dict[Any, int]:
    """Count the rows of each value of a column."""
    return {entry["values"]: entry["counts"] for entry in column.value_counts().to_pylist()}
