"""Text in columns: one below the other, in any script."""

from __future__ import annotations

import pytest

from masksift.core.text import format_table, pluralize


def test_columns_stand_below_each_other() -> None:
    rows = [("class", "pixels", ""), ("road", "12,000", "x"), ("sky", "7", "")]
    assert format_table(rows) == ["  class  pixels", "  road   12,000  x", "  sky         7"]
    assert format_table(rows, left=3, indent="") == ["class  pixels", "road   12,000  x", "sky    7"]
    assert format_table([]) == []


@pytest.mark.parametrize("name", ["道路", "Straße", "e\u0301cole"])
def test_a_column_is_as_wide_as_its_letters(name: str) -> None:
    """Wide letters take two places, marks none."""
    wide = {"道路": 4, "Straße": 6, "e\u0301cole": 5}[name]
    assert format_table([(name, "1"), ("a" * 8, "2")])[0] == f"  {name}{' ' * (8 - wide)}  1"


def test_one_and_many() -> None:
    assert [pluralize(0, "image"), pluralize(1, "image"), pluralize(1200, "image")] == [
        "0 images",
        "1 image",
        "1,200 images",
    ]
