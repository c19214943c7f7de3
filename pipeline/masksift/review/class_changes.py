"""The classes of two runs side by side: how the quality of each has changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]


def class_changes(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """The rows of both tables of class quality by name, those whose quality has changed most first; last those that
    have none in one of them."""
    sides = [dict(zip(_numbered([row["class_name"] for row in rows]), rows, strict=True)) for rows in (old, new)]

    def row(key: tuple[str, int]) -> Row:
        pair = [side.get(key) for side in sides]
        before, after = ({} if one is None else one for one in pair)
        known = before.get("quality") is not None and after.get("quality") is not None
        return {
            "class": key[0],
            "change": after["quality"] - before["quality"] if known else None,
            **{
                f"{name}_{side}": one.get(name)
                for side, one in (("old", before), ("new", after))
                for name in ("pixels", "flagged", "quality")
            },
        }

    rows = [row(key) for key in dict.fromkeys([*sides[0], *sides[1]])]
    return sorted(rows, key=lambda one: (one["change"] is None, -abs(one["change"] or 0.0)))


def _numbered(names: Sequence[str]) -> list[tuple[str, int]]:
    """The names, and the how manieth of its kind each is: two classes may be called the same."""
    seen = Counter[str]()
    numbered = []
    for name in names:
        numbered.append((name, seen[name]))
        seen[name] += 1
    return numbered
