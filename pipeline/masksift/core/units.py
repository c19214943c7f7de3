"""Parse and format memory sizes and counts."""

from __future__ import annotations

import re
from fractions import Fraction

from masksift.core.errors import UsageError


def parse_bytes(text: str | int) -> int:
    """Parse a memory size such as `4 GiB`, `4GB` or `512 MiB` into bytes.

    >>> parse_bytes("4 GiB")
    4294967296

    Args:
        text: The size; a plain number is a number of bytes.

    Returns:
        The size in bytes.

    Raises:
        ValueError: The text is not a memory size.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([KMGT]?)(i?)B?\s*", str(text), flags=re.IGNORECASE | re.ASCII)
    if not match:
        raise ValueError(f"{text!r} is not a memory size such as '4 GiB'")
    power = " KMGT".index(match[2].upper() or " ")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def parse_amount(key: str, value: str | int, whole: int, things: str) -> Fraction:
    """Parse a count, or a percentage of a whole.

    >>> parse_amount("max_quarantined", "0.5%", 1000, "images")
    Fraction(5, 1)

    Args:
        key: Configuration key, for the error.
        value: A whole number, or a percentage such as `0.1%`.
        whole: Number that is 100 %.
        things: Plural noun of what is counted, for the error.

    Returns:
        The count, which a percentage may make fractional.

    Raises:
        UsageError: The value is neither a whole number nor a percentage.
    """
    text = str(value).strip()
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(%?)", text)
    if not match or (not match[2] and "." in match[1]):
        raise UsageError(
            f"{key} must be a number of {things} or a percentage of them, got {text!r}",
            f"Pass a whole number of {things}, or a percentage such as '0.1%'",
        )
    return Fraction(match[1]) * whole / 100 if match[2] else Fraction(match[1])


def format_bytes(count: int) -> str:
    """Format a number of bytes in binary units, such as `6.1 GiB`."""
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, 4)
    return f"{count / 1024**power:.1f} {' KMGT'[power]}iB"
