"""Convert between NumPy arrays and Arrow columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def table_from_rows(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of a schema. Raises ValueError where a row lacks what may not be null."""
    return table_from_columns({name: [row.get(name) for row in rows] for name in schema.names}, schema)


def table_from_columns(columns: Mapping[str, Sequence[Any] | NDArray[Any]], schema: pa.Schema) -> pa.Table:
    """Columns of one length, by name, as a table of a schema. Raises ValueError where one lacks what may not be
    null."""
    arrays = [column(columns[field.name], field.type) for field in schema]
    for field, values in zip(schema, arrays, strict=True):
        if not field.nullable and values.null_count:
            raise ValueError(f"{values.null_count} of {len(values)} rows have no {field.name!r}")
    return pa.Table.from_arrays(arrays, schema=schema)


def column(values: Sequence[Any] | NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Values, None for null, as a column of strings (2 GiB of text at most), of numbers, or of lists of these, none of
    them null. Raises TypeError, ValueError or OverflowError where a value is not of that kind."""
    if pa.types.is_list(kind):
        ends = np.cumsum([0, *map(len, values)])
        numbers = np.concatenate(values) if len(values) and isinstance(values[0], np.ndarray) else list(chain(*values))
        flat = column(numbers, kind.value_type)
        return pa.ListArray.from_arrays(column(ends, pa.int32()), flat, type=kind)
    if isinstance(values, np.ndarray):
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(_as(values, kind))])
    known = np.array([value is not None for value in values], bool)
    if pa.types.is_string(kind):
        if not all(isinstance(value, str | None) for value in values):
            raise TypeError(
                f"a column of strings cannot hold {next(v for v in values if not isinstance(v, str | None))!r}"
            )
        texts = [b"" if value is None else value.encode() for value in values]
        offsets = np.cumsum([0, *map(len, texts)])
        if offsets[-1] > np.iinfo(np.int32).max:
            raise ValueError(f"{offsets[-1]} bytes of text are too many for one column of strings")
        data = [pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(b"".join(texts))]
    else:
        data = [pa.py_buffer(_as(np.array([0 if value is None else value for value in values]), kind))]
    return pa.Array.from_buffers(kind, len(values), [_bits(known), *data])


def floats(values: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column of float64 as numbers, NaN where it is null."""
    return np.concatenate([np.empty(0), *map(_floats, values.chunks)])


def _floats(chunk: pa.Array) -> NDArray[np.float64]:
    known, data = chunk.buffers()
    span = slice(chunk.offset, chunk.offset + len(chunk))
    numbers = np.frombuffer(data, np.float64)[span]
    if known is None:
        return numbers
    return np.where(np.unpackbits(np.frombuffer(known, np.uint8), bitorder="little")[span], numbers, np.nan)


def integer_lists(values: pa.ChunkedArray) -> Iterator[NDArray[np.int32]]:
    """A column of lists of int32, none of them null, list by list: views of the column."""
    for chunk in values.chunks:
        if not len(chunk):
            continue
        ends = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        data = chunk.values.buffers()[1]  # none where all lists are empty
        numbers = np.empty(0, np.int32) if data is None else np.frombuffer(data, np.int32)[chunk.values.offset :]
        for start, stop in pairwise(ends.tolist()):
            yield numbers[start:stop]


def _as(numbers: NDArray[Any], kind: pa.DataType) -> NDArray[Any]:
    """Numbers as those of a column, without loss."""
    cast = np.ascontiguousarray(numbers, dtype=kind.to_pandas_dtype())
    if not np.array_equal(cast, numbers, equal_nan=cast.dtype.kind == "f"):
        raise ValueError(f"a column of {kind} cannot hold {numbers[cast != numbers][0]!r}")
    return cast


def _bits(known: NDArray[np.bool_]) -> pa.Buffer | None:
    return None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
