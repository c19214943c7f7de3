"""Stable sorting in bounded memory."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.storage.tables import sort
from masksift.storage.tables.sort import sort_tables
from support.condensed import a_few

SCHEMA = pa.schema([pa.field("image_id", pa.string(), nullable=False), pa.field('the "score"', pa.float64())])
SCORES = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan, math.inf]), st.floats(0, 1))


def make_tables(scores: list[list[float | None]]) -> list[pa.Table]:
    """Make one table per list, with the origin of each row as its id."""
    return [
        pa.table({"image_id": [f"{t}/{i}" for i in range(len(part))], 'the "score"': part}, schema=SCHEMA)
        for t, part in enumerate(scores)
    ]


@a_few
@given(scores=st.lists(st.lists(SCORES, max_size=9), max_size=4), rows=st.integers(1, 7), highest_first=st.booleans())
def test_sort_tables_equals_a_stable_sort_in_tables_of_the_given_size(
    scores: list[list[float | None]], rows: int, highest_first: bool
) -> None:
    parts = list(sort_tables(make_tables(scores), SCHEMA, 'the "score"', rows, highest_first=highest_first))
    rows_in_order = [(score, t, i) for t, part in enumerate(scores) for i, score in enumerate(part)]
    finite = [(score, t, i) for score, t, i in rows_in_order if score is not None and math.isfinite(score)]
    expected = sorted(finite, key=lambda row: (-row[0] if highest_first else row[0], *row[1:]))
    names = [name for part in parts for name in part["image_id"].to_pylist()]
    assert names == [f"{t}/{i}" for _, t, i in expected]
    assert all(part.schema == SCHEMA for part in parts)
    assert all(len(part) == rows for part in parts[:-1])


def test_sort_tables_of_more_rows_than_memory_spills_to_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sort three million rows of 70 bytes in 96 MiB, most of them with tied scores."""
    monkeypatch.setattr(sort, "SORT_MEMORY_BYTES", 96 << 20)
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
        indices = [int(name[-9:]) for name in part["image_id"].to_pylist()]
        np.testing.assert_array_equal(indices, order[done : done + len(indices)])
        done += len(indices)
    assert done == count
