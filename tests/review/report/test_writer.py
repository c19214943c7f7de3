"""Script calls of the page: exact values, no markup."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.review.report.writer import script_call
from review.report.report_files import parse_calls
from support.condensed import a_few

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@a_few
@given(number=st.integers(0, 99), value=values)
def test_call_preserves_its_arguments_without_markup(number: int, value: object) -> None:
    data = script_call("rows", number, value)
    assert data.isascii()
    assert not set(b"<>&") & set(data)
    assert data.count(b"\n") == 1
    assert parse_calls(data.decode()) == [("rows", [number, value])]


def test_nan_is_rejected() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_call("run", float("nan"))
