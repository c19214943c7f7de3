"""Text in columns, for a terminal, where some letters are two columns wide and others none."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

__all__ = ["aligned", "many"]


def aligned(rows: Sequence[Sequence[str]], left: int = 1, indent: str = "  ") -> list[str]:
    """The rows as lines: the first ``left`` columns begin, all others end one below the other."""
    if not rows:
        return []
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        indent + "  ".join(_filled(text, width, left=column < left)
                           for column, (text, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]  # fmt: skip


def many(count: int, noun: str) -> str:
    """A number of things: `1 image`, `1,200 images`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _filled(text: str, width: int, *, left: bool) -> str:
    spaces = " " * (width - cell_len(text))
    return text + spaces if left else spaces + text
