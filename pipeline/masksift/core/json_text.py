"""Parse JSON that others wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

MAX_NESTING = 64
"""Largest depth of lists and objects. Files of masksift have ten; a thousand exhaust the stack of the interpreter."""


def parse_json(data: bytes | str) -> Any:
    """Parse JSON text.

    Args:
        data: The text.

    Returns:
        The value.

    Raises:
        ValueError: The text is not JSON, or nested too deeply.
    """
    try:
        value = json.loads(data)
    except RecursionError as e:
        raise ValueError(f"nested deeper than {MAX_NESTING} levels") from e
    check_nesting(value)
    return value


def check_nesting(value: Any) -> None:
    """Raise ValueError if lists and objects are nested too deeply to be copied, compared or written again."""
    level = [value]
    for _ in range(MAX_NESTING):
        level = [child for item in level for child in _children(item) if isinstance(child, Mapping | list | tuple)]
    if level:
        raise ValueError(f"nested deeper than {MAX_NESTING} levels")


def _children(value: Any) -> Iterable[Any]:
    """Return the items of a list or an object."""
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()
