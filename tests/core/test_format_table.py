"""Text in columns: one below the other, in any script."""

from __future__ import annotations

import pytest

from masksift.core.text import aligned, many


def test_columns_stand_below_each_other() -> None:
    rows = [("class", "pixels", ""), ("road", "12,000", "x"), ("sky", "7", "")]
    assert aligned(rows) == ["  class  pixels", "  road   12,000  x", "  sky         7"]
    assert aligned(rows, left=3, indent="") == ["class  pixels", "road   12,000  x", "sky    7"]
    assert aligned([]) == []


@pytest.mark.parametrize("name", ["道路", "Straße", "e\u0301cole"])
def test_a_column_is_as_wide_as_its_letters(name: str) -> None:
    """Wide letters take two places, marks none."""
    wide = {"道路": 4, "Straße": 6, "e\u0301cole": 5}[name]
    assert aligned([(name, "1"), ("a" * 8, "2")])[0] == f"  {name}{' ' * (8 - wide)}  1"


def test_one_and_many() -> None:
    assert [many(0, "image"), many(1, "image"), many(1200, "image")] == ["0 images", "1 image", "1,200 images"]
