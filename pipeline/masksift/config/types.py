"""Value types of the configuration: lists, pairs, amounts and shares, parsed from text."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
)


def _split_commas(value: Any) -> Any:
    """A flag's `a,b,c` as a list, and one number as a list of one; anything else as it is."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _one_or_more(value: Any) -> Any:
    """A flag's `a,b` as a list, and a list of one as that one."""
    listed = _split_commas(value) if isinstance(value, str) and "," in value else value
    return listed[0] if isinstance(listed, (list, tuple)) and len(listed) == 1 else listed


def _counted(value: Any) -> Any:
    """Digits as a number, so that a flag and a file say the same; other numbers as text, to be read as such."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return str(value) if isinstance(value, (bool, float)) else value


def _paired(value: Any) -> Any:
    """A flag's `7:0,8:1` as a table; anything else as it is."""
    if isinstance(value, str):
        return dict(part.split(":", 1) if ":" in part else (part, None) for part in _split_commas(value))
    return value


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    """Each once: in which order they were given says nothing."""
    return tuple(sorted(set(values)))


NonEmptyText = Annotated[str, Field(min_length=1)]

Names = Annotated[tuple[NonEmptyText, ...], BeforeValidator(_split_commas)]

OneOrMoreNames = Annotated[NonEmptyText | tuple[NonEmptyText, ...], BeforeValidator(_one_or_more)]

Integers = Annotated[tuple[int, ...], BeforeValidator(_split_commas)]

PositiveNumbers = Annotated[
    tuple[Annotated[float, Field(gt=0)], ...],
    BeforeValidator(_split_commas),
    AfterValidator(_ascending),
    Field(min_length=1),
]

Fractions = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1)], ...],
    BeforeValidator(_split_commas),
    AfterValidator(_ascending),
    Field(min_length=1),
]

IntegerMap = Annotated[dict[int, int], BeforeValidator(_paired)]

Amount = Annotated[str | int, BeforeValidator(_counted)]

Amounts = Annotated[tuple[Amount, ...], BeforeValidator(_split_commas)]
