"""Names of any kind, as they are shown and as files are called after them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.core.text import escape_unprintable, safe_file_name

ANY = st.text(st.characters(codec=None), max_size=300)


@pytest.mark.parametrize("text", ["frame 7", "道路", "мост", "الطريق", "सड़क", "می‌خواهم", "a/b=c", "<b>$x$</b>", "😀"])
def test_words_of_any_script_stay_as_they_are(text: str) -> None:
    assert escape_unprintable(text) == text


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\tb\nc", "a\\tb\\nc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff", "\\udcff"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, seen: str) -> None:
    assert escape_unprintable(text) == seen


@given(ANY)
def test_what_is_shown_is_one_line_that_can_be_encoded(text: str) -> None:
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
def test_a_file_is_called_after_an_id(text: str, name: str) -> None:
    assert safe_file_name(text) == name


@given(ANY)
def test_a_file_s_name_leads_nowhere_else_and_is_not_too_long(text: str) -> None:
    name = safe_file_name(text)
    assert name
    assert not set(name) & set('/\\:*?"<>|\0\n\r\t ')
    assert not name.startswith(".")
    assert len(name.encode()) <= 200
