"""Rows found among many, part by part: the same as if all had been in one table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from masksift.storage.tables.lookup import filter_rows, lowest_rows

SCHEMA = pa.schema([("name", pa.string()), ("place", pa.int64()), ("score", pa.float64())])

scores = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0, float("nan"), float("inf")]))
parts = st.lists(st.lists(st.tuples(st.sampled_from("abc"), scores), max_size=5), max_size=6)


def tables(drawn: list[list[tuple[str, Any]]]) -> list[pa.Table]:
    made, place = [], 0
    for part in drawn:
        rows = [{"name": name, "place": place + i, "score": score} for i, (name, score) in enumerate(part)]
        made.append(pa.Table.from_pylist(rows, SCHEMA))
        place += len(part)
    return made


@settings(deadline=None)
@given(parts, st.integers(1, 8))
def test_the_lowest_are_those_of_a_stable_sort_of_all(drawn: list[list[tuple[str, Any]]], most: int) -> None:
    found = lowest_rows(tables(drawn), SCHEMA, "score", most)
    every = [row for table in tables(drawn) for row in table.to_pylist()]
    finite = [row for row in every if row["score"] is not None and row["score"] < 2]
    assert found.to_pylist() == sorted(finite, key=lambda row: row["score"])[:most]
    assert found.schema == SCHEMA


@settings(deadline=None)
@given(parts, st.sampled_from("abcd"), st.integers(0, 9))
def test_rows_that_match_are_found_in_their_order(drawn: list[list[tuple[str, Any]]], name: str, place: int) -> None:
    every = [row for table in tables(drawn) for row in table.to_pylist()]
    found = list(filter_rows(tables(drawn), {"name": name}))
    assert all(len(table) for table in found)
    assert [row["place"] for table in found for row in table.to_pylist()] == [
        row["place"] for row in every if row["name"] == name
    ]
    both = [row for table in filter_rows(tables(drawn), {"name": name, "place": place}) for row in table.to_pylist()]
    assert [row["place"] for row in both] == [place for row in every if (row["name"], row["place"]) == (name, place)]
