"""Text helpers: escaping, file names, tables and counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.core.text import escape_unprintable, format_table, pluralize, safe_file_name

ANY_TEXT = st.text(st.characters(codec=None), max_size=300)


@pytest.mark.parametrize("text", ["frame 7", "道路", "мост", "الطريق", "सड़क", "می‌خواهم", "a/b=c", "<b>$x$</b>", "😀"])
def test_escape_unprintable_keeps_words_of_any_script(text: str) -> None:
    assert escape_unprintable(text) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\tb\nc", "a\\tb\\nc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff", "\\udcff"),
    ],
)
def test_escape_unprintable_escapes_control_and_direction_characters(text: str, escaped: str) -> None:
    assert escape_unprintable(text) == escaped


@given(ANY_TEXT)
def test_escape_unprintable_returns_one_encodable_line_and_is_idempotent(text: str) -> None:
    assert len(escape_unprintable(text).splitlines()) <= 1
    escape_unprintable(text).encode()
    assert escape_unprintable(escape_unprintable(text)) == escape_unprintable(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("scene_0043", "scene_0043"),
        ("s.zarr/7", "s.zarr_7"),
        ("../../etc/passwd", "etc_passwd"),
        ("a b:c*?", "a_b_c"),
        ("街/東 1", "街_東_1"),
        ("सड़क", "सड़क"),
        (".hidden", "hidden"),
        ("", "image"),
        ("...", "image"),
    ],
)
def test_safe_file_name_of_an_image_id_keeps_its_safe_part(text: str, name: str) -> None:
    assert safe_file_name(text) == name


@given(ANY_TEXT)
def test_safe_file_name_has_no_separator_and_at_most_200_bytes(text: str) -> None:
    name = safe_file_name(text)
    assert name
    assert not set(name) & set('/\\:*?"<>|\0\n\r\t ')
    assert not name.startswith(".")
    assert len(name.encode()) <= 200


def test_format_table_aligns_columns() -> None:
    rows = [("class", "pixels", ""), ("road", "12,000", "x"), ("sky", "7", "")]
    assert format_table(rows) == ["  class  pixels", "  road   12,000  x", "  sky         7"]
    assert format_table(rows, left=3, indent="") == ["class  pixels", "road   12,000  x", "sky    7"]
    assert format_table([]) == []


@pytest.mark.parametrize("name", ["道路", "Straße", "e\u0301cole"])
def test_format_table_aligns_by_display_width(name: str) -> None:
    """East Asian letters take two columns, combining marks none."""
    wide = {"道路": 4, "Straße": 6, "e\u0301cole": 5}[name]
    assert format_table([(name, "1"), ("a" * 8, "2")])[0] == f"  {name}{' ' * (8 - wide)}  1"


def test_pluralize_adds_s_unless_the_count_is_one() -> None:
    assert [pluralize(0, "image"), pluralize(1, "image"), pluralize(1200, "image")] == [
        "0 images",
        "1 image",
        "1,200 images",
    ]
