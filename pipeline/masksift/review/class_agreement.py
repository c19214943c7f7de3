"""Say in words which class of an image agrees less than usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from masksift.core.text import escape_unprintable

LESS, MUCH_LESS = 2.0, 4.0
"""Distance from the usual agreement, in spreads, from which a class agrees less and much less."""


def class_below_usual(row: Mapping[str, Any]) -> tuple[int, bool] | None:
    """Return the class of an image that agrees less than usual, and whether much less; None if all agree as usual.

    Args:
        row: Row of the table of images.
    """
    z = row["worst_class_z"]
    return None if z is None or z < LESS else (row["worst_class"], z >= MUCH_LESS)


def agreement_text(row: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """Return a sentence about the class of an image that agrees less than usual, empty if all agree as usual."""
    found = class_below_usual(row)
    if found is None:
        return ""
    name = escape_unprintable(class_names[found[0]])
    return f"{name} agrees {'much ' if found[1] else ''}less than in the other images"
