"""Sorting the rows of a table."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.storage.tables.sort import sort_rows
from support.condensed import a_few

SCHEMA = pa.schema([pa.field("image_id", pa.string(), nullable=False), pa.field('the "score"', pa.float64())])
SCORES = st.one_of(st.none(), st.sampled_from([-0.0, 0.0, 0.25, 0.5, 1.0, math.nan, math.inf]), st.floats(0, 1))


@a_few
@given(scores=st.lists(SCORES, max_size=20), highest_first=st.booleans(), limit=st.none() | st.integers(0, 9))
def test_sort_rows_equals_a_stable_sort_of_the_finite_values(
    scores: list[float | None], highest_first: bool, limit: int | None
) -> None:
    table = pa.table({"image_id": [str(i) for i in range(len(scores))], 'the "score"': scores}, schema=SCHEMA)
    keys, ordered = sort_rows(table, 'the "score"', highest_first=highest_first, limit=limit)
    sign = -1 if highest_first else 1
    finite = [(sign * score, i) for i, score in enumerate(scores) if score is not None and math.isfinite(score)]
    expected = sorted(finite)[:limit]
    assert ordered["image_id"].to_pylist() == [str(i) for _, i in expected]
    assert keys.tolist() == [key for key, _ in expected]
    assert ordered.schema == SCHEMA


@pytest.mark.parametrize("highest_first", [False, True])
def test_sort_rows_without_rows_keeps_the_schema(highest_first: bool) -> None:
    keys, ordered = sort_rows(SCHEMA.empty_table(), 'the "score"', highest_first=highest_first)
    assert (keys.tolist(), len(ordered), ordered.schema) == ([], 0, SCHEMA)
    np.testing.assert_array_equal(keys, np.empty(0))
