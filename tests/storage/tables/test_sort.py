"""Rows sorted in bounded memory: the same order as sorting them in memory, ties included."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.storage.tables import sort as ordering
from masksift.storage.tables.sort import sort_tables
from support.condensed import a_few

SCHEMA = pa.schema([pa.field("image_id", pa.string(), nullable=False), pa.field('the "score"', pa.float64())])
SCORES = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan, math.inf]), st.floats(0, 1))


def tables(scores: list[list[float | None]]) -> list[pa.Table]:
    """A table a list; every row knows where it came from."""
    return [
        pa.table({"image_id": [f"{t}/{i}" for i in range(len(part))], 'the "score"': part}, schema=SCHEMA)
        for t, part in enumerate(scores)
    ]


@a_few
@given(scores=st.lists(st.lists(SCORES, max_size=9), max_size=4), rows=st.integers(1, 7), highest_first=st.booleans())
def test_any_rows_come_in_order_and_in_parts(scores: list[list[float | None]], rows: int, highest_first: bool) -> None:
    parts = list(sort_tables(tables(scores), SCHEMA, 'the "score"', rows, highest_first=highest_first))
    place = [(score, t, i) for t, part in enumerate(scores) for i, score in enumerate(part)]
    known = [(score, t, i) for score, t, i in place if score is not None and math.isfinite(score)]
    wanted = sorted(known, key=lambda row: (-row[0] if highest_first else row[0], *row[1:]))
    found = [name for part in parts for name in part["image_id"].to_pylist()]
    assert found == [f"{t}/{i}" for _, t, i in wanted]
    assert all(part.schema == SCHEMA for part in parts)
    assert all(len(part) == rows for part in parts[:-1])


def test_more_rows_than_memory_go_through_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three million rows of 70 bytes in 96 MiB, most of them tied."""
    monkeypatch.setattr(ordering, "SORT_MEMORY_BYTES", 96 << 20)
    rng = np.random.default_rng(0)
    count, each = 3_000_000, 100_000
    scores = np.round(rng.random(count), 6)

    def stream() -> object:
        for start in range(0, count, each):
            names = [f"a/rather/long/name/of/an/image/{i:09d}" for i in range(start, start + each)]
            yield pa.table({"image_id": names, 'the "score"': scores[start : start + each]}, schema=SCHEMA)

    order = np.lexsort((np.arange(count), scores))
    done = 0
    for part in sort_tables(stream(), SCHEMA, 'the "score"', 1 << 20):
        found = [int(name[-9:]) for name in part["image_id"].to_pylist()]
        np.testing.assert_array_equal(found, order[done : done + len(found)])
        done += len(found)
    assert done == count
