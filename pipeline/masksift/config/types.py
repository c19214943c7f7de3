"""Value types of the configuration, parsed from flags as text or from TOML values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from masksift.core.errors import UsageError
from masksift.core.json_text import parse_json
from masksift.storage.urls import local_path


def _split_commas(value: Any) -> Any:
    """Split the text `a,b,c` into a list, and wrap a single number; return other values unchanged."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _read_names(value: Any) -> Any:
    """Read the names in a file, `FILE` or `@FILE`; split other text, and return other values unchanged."""
    if not isinstance(value, str):
        return value
    path = local_path(value.removeprefix("@"))
    is_file = path is not None and os.path.isfile(path)
    if not is_file and not value.startswith("@") and not value.lower().endswith((".txt", ".json")):
        return _split_commas(value)
    try:
        text = Path(path or value).read_text(encoding="utf-8-sig")
        is_json = value.lower().endswith(".json") or text.lstrip().startswith("[")
        names = parse_json(text) if is_json else [line.strip() for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as e:
        raise _unreadable_names(value, e.strerror if isinstance(e, OSError) and e.strerror else str(e)) from e
    if not isinstance(names, list) or not names:
        raise _unreadable_names(value, "it is not a list of names" if names else "it is empty")
    return names


def _unreadable_names(file: str, reason: str) -> UsageError:
    return UsageError(
        f"The class names in {file} cannot be read ({reason.rstrip('.')})",
        "Pass a local text file with one name per line, or a JSON list of names",
    )


def _unwrap_single(value: Any) -> Any:
    """Split the text `a,b` into a list, and unwrap a list of one."""
    items = _split_commas(value) if isinstance(value, str) and "," in value else value
    return items[0] if isinstance(items, (list, tuple)) and len(items) == 1 else items


def _normalize_amount(value: Any) -> Any:
    """Turn digits into an integer and other numbers into text, so that flags and TOML values are equal."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return str(value) if isinstance(value, (bool, float)) else value


def _split_pairs(value: Any) -> Any:
    """Split the text `7:0,8:1` into a mapping; return other values unchanged."""
    if isinstance(value, str):
        return dict(item.split(":", 1) if ":" in item else (item, None) for item in _split_commas(value))
    return value


def _normalize_window(value: Any) -> Any:
    """Turn a number into text; return other values unchanged."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _sort_unique(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted(set(values)))


NonEmptyText = Annotated[str, Field(min_length=1)]

Names = Annotated[tuple[NonEmptyText, ...], BeforeValidator(_split_commas)]

ClassNameList = Annotated[tuple[NonEmptyText, ...], BeforeValidator(_read_names)]

OneOrMoreNames = Annotated[NonEmptyText | tuple[NonEmptyText, ...], BeforeValidator(_unwrap_single)]

Integers = Annotated[tuple[int, ...], BeforeValidator(_split_commas)]

PositiveNumbers = Annotated[
    tuple[Annotated[float, Field(gt=0)], ...],
    BeforeValidator(_split_commas),
    AfterValidator(_sort_unique),
    Field(min_length=1),
]

Fractions = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1)], ...],
    BeforeValidator(_split_commas),
    AfterValidator(_sort_unique),
    Field(min_length=1),
]

Numbers = Annotated[tuple[float, ...], BeforeValidator(_split_commas)]

Window = Annotated[str, BeforeValidator(_normalize_window), Field(pattern=r"^[1-9]\d*(x[1-9]\d*)?$")]
"""Size of a window: ROWS or ROWSxCOLUMNS."""

SliceAxis = Annotated[Literal["0", "1", "2", "sagittal", "coronal", "axial"], BeforeValidator(_normalize_window)]

IntegerMap = Annotated[dict[int, int], BeforeValidator(_split_pairs)]

Amount = Annotated[str | int, BeforeValidator(_normalize_amount)]

Amounts = Annotated[tuple[Amount, ...], BeforeValidator(_split_commas)]
