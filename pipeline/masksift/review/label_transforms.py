"""Say in words how the labels of an image seem to be misplaced as a whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from masksift.core.text import pluralize

_WORDS = {
    "flip(lr)": "mirrored left to right",
    "flip(ud)": "mirrored top to bottom",
    "rotate(180)": "rotated by 180 degrees",
}


def transform_words(row: Mapping[str, Any]) -> str:
    """Return what the labels of an image look like, empty if they seem to be in place.

    Args:
        row: Row of the table of images.
    """
    transform = row["suspected_transform"]
    if transform is None:
        return ""
    if transform in _WORDS:
        return _WORDS[transform]
    numbers = [int(number) for number in re.findall(r"[+-]?\d+", transform)]
    if transform.startswith("neighbor"):
        return f"like those of image {row['index'] + numbers[0]}"
    dy, dx = numbers
    parts = [
        f"{pluralize(abs(pixels), unit)} {back if pixels < 0 else forth}"
        for pixels, unit, back, forth in ((dy, "row", "up", "down"), (dx, "column", "left", "right"))
        if pixels
    ]
    return f"rolled by about {' and '.join(parts)}"


def transform_text(row: Mapping[str, Any]) -> str:
    """Return a sentence about the labels of an image, empty if they seem to be in place."""
    words = transform_words(row)
    return f"labels look {words}" if words else ""
