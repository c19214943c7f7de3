"""Text for people: names escaped for display, file names, columns aligned by display width."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence

from rich.cells import cell_len

_JOINERS = "\u200c\u200d"
"""No letters, but words of many scripts are not the same without them."""
_MOST_BYTES = 200
"""Of a file's name; most file systems take 255, and there is an ending to come."""


def escape_unprintable(text: str) -> str:
    """The text on one line, with what cannot be seen (control characters, line ends, marks that turn the direction of
    writing) as Python writes it.

    >>> shown("a\\tb")
    'a\\\\tb'
    """
    return "".join(
        letter if letter.isprintable() or letter in _JOINERS else letter.encode("unicode_escape").decode()
        for letter in text
    )


def safe_file_name(text: str) -> str:
    """A name for a file, of letters and digits of any script, `-`, `_`, and `.` inside; `_` stands for all else.

    >>> file_name("../site=a/frame 7.png")
    'site_a_frame_7.png'
    """
    plain = unicodedata.normalize("NFC", text)
    kept = "".join(
        letter if letter.isalnum() or letter in "-_." or unicodedata.category(letter)[0] == "M" else "_"
        for letter in plain
    )
    kept = kept.encode(errors="replace")[:_MOST_BYTES].decode(errors="ignore")
    return kept.strip("._") or "image"


def format_table(rows: Sequence[Sequence[str]], left: int = 1, indent: str = "  ") -> list[str]:
    """The rows as lines: the first ``left`` columns begin, all others end one below the other."""
    if not rows:
        return []
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        indent
        + "  ".join(
            _filled(text, width, left=column < left)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def pluralize(count: int, noun: str) -> str:
    """A number of things: `1 image`, `1,200 images`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _filled(text: str, width: int, *, left: bool) -> str:
    spaces = " " * (width - cell_len(text))
    return text + spaces if left else spaces + text


def closest_match(word: str, words: Iterable[str]) -> str:
    """The word most like another one, as a whole or in its last dotted part: `temprature` -> `softmin.temperature`."""

    def likeness(known: str) -> tuple[float, float]:
        whole = difflib.SequenceMatcher(None, word, known).ratio()
        last = difflib.SequenceMatcher(None, word.rsplit(".", 1)[-1], known.rsplit(".", 1)[-1]).ratio()
        return max(whole, last), whole

    return max(words, key=likeness)
