"""Text for people: escaped names, file names, tables aligned by display width."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence

_JOINERS = "\u200c\u200d"
"""Zero-width joiners, which the words of many scripts need."""
_MAX_FILE_NAME_BYTES = 200
"""Most file systems allow 255 bytes, and a suffix is added to the name."""


def escape_unprintable(text: str) -> str:
    r"""Return the text on one line, with control characters and direction marks escaped: a tab becomes `\t`."""
    return "".join(
        char if char.isprintable() or char in _JOINERS else char.encode("unicode_escape").decode() for char in text
    )


def safe_file_name(text: str) -> str:
    """Return a file name with letters and digits of any script, `-`, `_` and inner `.`; other characters become `_`."""
    name = "".join(
        char if char.isalnum() or char in "-_." or unicodedata.category(char)[0] == "M" else "_"
        for char in unicodedata.normalize("NFC", text)
    )
    name = name.encode(errors="replace")[:_MAX_FILE_NAME_BYTES].decode(errors="ignore")
    return name.strip("._") or "image"


def format_table(rows: Sequence[Sequence[str]], left: int = 1, indent: str = "  ") -> list[str]:
    """Format rows as lines: the first ``left`` columns are aligned left, the others right."""
    from rich.cells import cell_len

    if not rows:
        return []
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        pads = [" " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True)]
        cells = [text + pad if i < left else pad + text for i, (text, pad) in enumerate(zip(row, pads, strict=True))]
        lines.append(indent + "  ".join(cells).rstrip())
    return lines


def truncate(text: str, width: int) -> str:
    """Cut a text to a display width, with an ellipsis in place of the rest."""
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1).rstrip()}…"


def pluralize(count: int, noun: str) -> str:
    """Format a count with its noun: `1 image`, `1,200 images`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def closest_match(word: str, candidates: Iterable[str]) -> str:
    """Return the candidate most similar to a word, compared whole or by the last dotted part."""

    def similarity(candidate: str) -> tuple[float, float]:
        whole = difflib.SequenceMatcher(None, word, candidate).ratio()
        last = difflib.SequenceMatcher(None, word.rsplit(".", 1)[-1], candidate.rsplit(".", 1)[-1]).ratio()
        return max(whole, last), whole

    return max(candidates, key=similarity)


def duplicates(names: Iterable[str]) -> dict[str, list[int]]:
    """Return the names that occur several times, with their positions."""
    positions: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        positions.setdefault(name, []).append(position)
    return {name: places for name, places in positions.items() if len(places) > 1}
