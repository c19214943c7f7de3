"""Arrow tables from rows and columns, and lists as arrays."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masksift.storage.tables.arrow import (
    bytes_array,
    integer_lists,
    joined_bytes,
    replace_column,
    table_from_columns,
    table_from_rows,
)

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("height", pa.int32()),
        pa.field("score", pa.float64()),
        pa.field("rle", pa.list_(pa.int32())),
    ]
)
ROW = {"name": "a", "index": 0, "height": 8, "score": 0.5, "rle": [1, 2]}
ROWS = st.fixed_dictionaries(
    {"name": st.text(max_size=4), "index": st.integers(-(2**63), 2**63 - 1)},
    optional={
        "height": st.integers(-(2**31), 2**31 - 1) | st.none(),
        "score": st.floats(allow_nan=False) | st.none(),
        "rle": st.lists(st.integers(0, 9), max_size=3),
    },
)


@given(rows=st.lists(ROWS, max_size=20))
@settings(max_examples=50)
def test_table_from_rows_holds_the_values_and_nulls_for_missing_keys(rows: list[dict[str, Any]]) -> None:
    table = table_from_rows(rows, SCHEMA)
    table.validate(full=True)
    assert table.schema == SCHEMA
    assert table.to_pylist() == [{name: row.get(name) for name in SCHEMA.names} for row in rows]


def test_table_from_columns_takes_arrays_of_other_dtypes_without_loss() -> None:
    columns = {
        "name": ["a", "b"],
        "index": np.array([1, 2], np.uint8),
        "height": np.array([2**31 - 1, 0], np.int64),
        "score": np.array([0.5, 0.25], np.float32),
        "rle": [np.array([1], np.int32), np.array([], np.int32)],
    }
    assert table_from_columns(columns, SCHEMA).to_pydict() == {
        "name": ["a", "b"],
        "index": [1, 2],
        "height": [2**31 - 1, 0],
        "score": [0.5, 0.25],
        "rle": [[1], []],
    }


@pytest.mark.parametrize("missing", ["name", "index"])
def test_table_from_rows_without_a_required_value_raises(missing: str) -> None:
    row = {name: value for name, value in ROW.items() if name != missing}
    with pytest.raises(ValueError, match=f"1 of 2 rows have no '{missing}'"):
        table_from_rows([ROW, row], SCHEMA)


@pytest.mark.parametrize(
    ("name", "value"),
    [("index", "zero"), ("index", 0.5), ("height", 2**40), ("height", 2**70), ("name", 1), ("score", "high")],
)
@pytest.mark.parametrize("as_array", [False, True], ids=["list", "array"])
def test_table_from_columns_with_a_value_of_another_type_raises(name: str, value: Any, as_array: bool) -> None:
    values = np.array([value]) if as_array else [value]
    with pytest.raises(
        (TypeError, ValueError, OverflowError, NotImplementedError),
        match=r"[Cc]ould not convert|truncated|not in range|too large|Failed to parse|Expected (bytes|a string)"
        r"|not implemented",
    ):
        table_from_columns({key: [entry] for key, entry in ROW.items()} | {name: values}, SCHEMA)


@given(values=st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=20), cuts=st.lists(st.integers(0, 20)))
@settings(max_examples=50)
def test_integer_lists_of_a_chunked_column_are_its_lists(values: list[list[int]], cuts: list[int]) -> None:
    whole, edges = pa.array(values, pa.list_(pa.int32())), [0, *sorted(cuts), len(values)]
    chunks = [whole[a:b] for a, b in pairwise(edges)]
    lists = [numbers.tolist() for numbers in integer_lists(pa.chunked_array(chunks, pa.list_(pa.int32())))]
    assert lists == [entry for chunk in chunks for entry in chunk.to_pylist()]


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_joined_bytes_are_those_of_the_arrays(rows: int) -> None:
    values = np.arange(24 * rows, dtype=np.uint16).reshape(rows, 2, 3, 4)
    column = pa.chunked_array([bytes_array(values[:2]), bytes_array(values[2:])])
    for one in (column, pa.chunked_array([column.combine_chunks()]), column.slice(1, 3)):
        assert joined_bytes(one).tobytes() == b"".join(one.to_pylist())
    assert joined_bytes(column[:0]).size == 0


def test_replaced_column_has_the_others_around_it() -> None:
    table = pa.table({"a": [1], "b": ["x"], "c": [True]})
    replaced = replace_column(table, "b", pa.table({"d": [2.0], "e": [None]}))
    assert replaced.to_pylist() == [{"a": 1, "d": 2.0, "e": None, "c": True}]
