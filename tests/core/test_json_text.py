"""JSON that others wrote: parsed, or refused with a ValueError."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.core.json_text import MAX_NESTING, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda items: st.lists(items) | st.dictionaries(st.text(), items),
    max_leaves=20,
)


@given(VALUES)
def test_json_value_round_trips(value: object) -> None:
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize("depth", [MAX_NESTING + 1, 500, 900, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deeply_nested_json_is_refused(depth: int, opening: str, closing: str) -> None:
    with pytest.raises(ValueError, match="nested deeper than 64 levels"):
        parse_json(opening * depth + "1" + closing * depth)


def test_json_at_the_limit_of_nesting_is_parsed() -> None:
    text = "[" * MAX_NESTING + "]" * MAX_NESTING
    assert json.dumps(parse_json(text)) == text


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe\xff", b"[1,]"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(data)
