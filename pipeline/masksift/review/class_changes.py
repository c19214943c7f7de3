"""Changes in class quality between two runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]


def class_changes(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Join two class quality tables by class name.

    Args:
        old: Rows of ``class_quality.parquet`` of the older run.
        new: The same of the newer run.

    Returns:
        One row per class: ``class``, ``change`` (new minus old quality, None without both), and ``pixels``,
        ``flagged`` and ``quality`` with the suffixes ``_old`` and ``_new``. Sorted by decreasing absolute change,
        rows without a change last.
    """
    sides = [dict(zip(_class_keys(rows), rows, strict=True)) for rows in (old, new)]

    def join(key: tuple[str, int]) -> Row:
        before, after = (side.get(key, {}) for side in sides)
        comparable = before.get("quality") is not None and after.get("quality") is not None
        return {
            "class": key[0],
            "change": after["quality"] - before["quality"] if comparable else None,
            **{
                f"{name}_{suffix}": row.get(name)
                for suffix, row in (("old", before), ("new", after))
                for name in ("pixels", "flagged", "quality")
            },
        }

    rows = [join(key) for key in dict.fromkeys([*sides[0], *sides[1]])]
    return sorted(rows, key=lambda row: (row["change"] is None, -abs(row["change"] or 0.0)))


def _class_keys(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """Pair each class name with its occurrence number, because names may repeat."""
    counts = Counter[str]()
    keys = []
    for row in rows:
        name = row["class_name"]
        keys.append((name, counts[name]))
        counts[name] += 1
    return keys
