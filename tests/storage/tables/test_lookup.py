"""Selection of rows from a stream of tables."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from masksift.storage.tables.lookup import filter_ids, filter_images, filter_rows, lowest_rows

SCHEMA = pa.schema([("name", pa.string()), ("position", pa.int64()), ("score", pa.float64())])

scores = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0, float("nan"), float("inf")]))
parts = st.lists(st.lists(st.tuples(st.sampled_from("abc"), scores), max_size=5), max_size=6)


def make_tables(drawn: list[list[tuple[str, Any]]]) -> list[pa.Table]:
    tables, position = [], 0
    for part in drawn:
        rows = [{"name": name, "position": position + i, "score": score} for i, (name, score) in enumerate(part)]
        tables.append(pa.Table.from_pylist(rows, SCHEMA))
        position += len(part)
    return tables


@settings(deadline=None)
@given(parts, st.integers(1, 8))
def test_lowest_rows_equal_a_stable_sort_of_all_rows(drawn: list[list[tuple[str, Any]]], most: int) -> None:
    selected = lowest_rows(make_tables(drawn), SCHEMA, "score", most)
    rows = [row for table in make_tables(drawn) for row in table.to_pylist()]
    finite = [row for row in rows if row["score"] is not None and row["score"] < 2]
    assert selected.to_pylist() == sorted(finite, key=lambda row: row["score"])[:most]
    assert selected.schema == SCHEMA


@settings(deadline=None)
@given(parts, st.sampled_from("abcd"), st.integers(0, 9))
def test_filter_rows_returns_matching_rows_in_order(
    drawn: list[list[tuple[str, Any]]], name: str, position: int
) -> None:
    rows = [row for table in make_tables(drawn) for row in table.to_pylist()]
    selected = list(filter_rows(make_tables(drawn), {"name": name}))
    assert all(len(table) for table in selected)
    assert [row["position"] for table in selected for row in table.to_pylist()] == [
        row["position"] for row in rows if row["name"] == name
    ]
    matching = [
        row
        for table in filter_rows(make_tables(drawn), {"name": name, "position": position})
        for row in table.to_pylist()
    ]
    assert [row["position"] for row in matching] == [
        position for row in rows if (row["name"], row["position"]) == (name, position)
    ]


def test_filter_ids_finds_an_id_in_any_unicode_form() -> None:
    ids = ["ü", "u\u0308", "u", "a"]
    table = pa.table({"image_id": ids, "index": range(4)})
    for name in ids[:2]:
        assert [one["index"].to_pylist() for one in filter_ids([table, table.slice(2)], name)] == [[0, 1]]
    assert [one["index"].to_pylist() for one in filter_ids([table, table.slice(2)], "u")] == [[2], [2]]
    assert list(filter_ids([table.slice(0, 0)], "u")) == []


@settings(deadline=None)
@given(parts, st.sets(st.tuples(st.sampled_from("abcd"), st.integers(0, 9))))
def test_filter_images_returns_the_rows_of_all_wanted_images_in_order(
    drawn: list[list[tuple[str, Any]]], wanted: set[tuple[str, int]]
) -> None:
    tables = [table.rename_columns(["source", "index", "score"]) for table in make_tables(drawn)]
    selected = list(filter_images(tables, wanted))
    rows = [row for table in tables for row in table.select(["source", "index"]).to_pylist()]
    found = [row for table in selected for row in table.select(["source", "index"]).to_pylist()]
    assert found == [row for row in rows if (row["source"], row["index"]) in wanted]
    assert all(len(table) for table in selected)
