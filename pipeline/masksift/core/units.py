"""Parse and format amounts of memory and shares of a whole."""

from __future__ import annotations

import re
from fractions import Fraction

from masksift.core.errors import UsageError


def parse_bytes(text: str | int) -> int:
    """Bytes of a number or of words such as `4 GiB`, `4GB`, `512 MiB`.

    >>> parse_bytes("4 GiB")
    4294967296
    """
    found = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?)(i?)B?\s*", str(text), flags=re.IGNORECASE)
    if not found or found[1].count(".") > 1 or found[1] == ".":
        raise ValueError(f"{text!r} is no amount of memory; give one such as '4 GiB'")
    power = " KMGT".index(found[2].upper() or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def parse_amount(key: str, value: str | int, whole: int, things: str) -> Fraction:
    """How many of ``whole`` things an amount is: a whole number, or a share such as `0.1%`. Raises UsageError.

    >>> amount_of("max_quarantined", "0.5%", 1000, "images")
    Fraction(5, 1)
    """
    text = str(value).strip()
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(%?)", text)
    if not found or (not found[2] and "." in found[1]):
        raise UsageError(
            f"{key} is {text!r}, which is no number of {things} and no share",
            "what is too much is not known",
            f"Give a whole number of {things}, or a share such as '0.1%'",
        )
    return Fraction(found[1]) * whole / 100 if found[2] else Fraction(found[1])


def format_bytes(count: int) -> str:
    """Bytes for people, in binary units.

    >>> format_bytes(6_549_825_126)
    '6.1 GiB'
    """
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
