"""A call of the page's program says what it was given, whatever the text, and is no markup."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.review.report.writer import script_call
from review.report.report_files import calls
from support.condensed import a_few

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@a_few
@given(number=st.integers(0, 99), told=values)
def test_what_it_says_is_what_it_was_given(number: int, told: object) -> None:
    data = script_call("rows", number, told)
    assert data.isascii()
    assert not set(b"<>&") & set(data)
    assert data.count(b"\n") == 1
    assert calls(data.decode()) == [("rows", [number, told])]


def test_what_is_no_json_is_no_call() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_call("run", float("nan"))
