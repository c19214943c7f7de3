"""Names as they can be shown: an id or the name of a class may hold anything at all."""

from __future__ import annotations

import unicodedata

__all__ = ["file_name", "shown"]

_JOINERS = "\u200c\u200d"
"""No letters, but words of many scripts are not the same without them."""
_MOST_BYTES = 200
"""Of a file's name; most file systems take 255, and there is an ending to come."""


def shown(text: str) -> str:
    """The text on one line, with what cannot be seen (control characters, line ends, marks that turn the direction of
    writing) as Python writes it.

    >>> shown("a\\tb")
    'a\\\\tb'
    """
    return "".join(
        letter if letter.isprintable() or letter in _JOINERS else letter.encode("unicode_escape").decode()
        for letter in text
    )


def file_name(text: str) -> str:
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
