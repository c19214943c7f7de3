"""Class names, ids and colors of public data sets, as their publishers number them."""

from __future__ import annotations


def parse(table: str) -> dict[str, tuple[int, ...]]:
    """Parse `name=1 2 3; name=4 5 6`."""
    rows = (row.partition("=") for row in table.split(";"))
    return {name.strip(): tuple(map(int, numbers.split())) for name, _, numbers in rows}


def hex_colors(text: str) -> tuple[tuple[int, int, int], ...]:
    """Parse `rrggbb rrggbb`."""
    return tuple((code >> 16, code >> 8 & 255, code & 255) for code in (int(word, 16) for word in text.split()))


def names(text: str) -> tuple[str, ...]:
    """Parse `name, other name`."""
    return tuple(name.strip() for name in text.split(","))
