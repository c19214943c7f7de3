"""Turn pydantic validation errors into one readable sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from masksift.config.sections import dotted_keys
from masksift.core.errors import UsageError
from masksift.core.text import closest_match

_EXPECTED_TYPES = {
    "tuple_type": "a list",
    "too_short": "a list that is not empty",
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a table of keys",
}
"""Expected value by pydantic's error type, in the terms of a TOML file."""


def explain_validation_error(model: type[BaseModel], e: ValidationError) -> UsageError:
    """Describe the first error, with all accepted types of its key."""
    errors = e.errors(include_url=False)
    error = errors[0]
    keys = dotted_keys(model)
    sections = tuple(dict.fromkeys(key.split(".")[0] for key in keys if "." in key))
    key = _dotted_key(keys, error)
    if error["type"] == "extra_forbidden":
        return UsageError(f"Unknown key {key!r}", f"Did you mean {closest_match(key, [*keys, *sections])!r}?")
    if error["type"] == "missing":
        flag = "--source" if key == "sources" else f"--{key}"
        return UsageError(f"{flag} is required", f"Pass {flag} URL")
    if key in sections:
        return not_a_table_error(model, key, error["input"])
    expected = dict.fromkeys(_expected(other) for other in errors if _dotted_key(keys, other) == key)
    return UsageError(
        f"{key} must be {', or '.join(expected)}, got {_format_value(error['input'])}", "Correct the value"
    )


def not_a_table_error(model: type[BaseModel], name: str, value: Any) -> UsageError:
    """Describe a section that has a plain value."""
    keys = ", ".join(key for key in dotted_keys(model) if key.startswith(f"{name}."))
    return UsageError(f"{name} must be a table of keys, got {_format_value(value)}", f"Set {keys}")


def _dotted_key(keys: Iterable[str], error: Any) -> str:
    """Return the key of an error, without the types of a union that pydantic appends to its location."""
    names = {name for key in keys for name in key.split(".")}
    return ".".join(str(name) for name in error["loc"] if str(name) in names or error["type"] == "extra_forbidden")


def _expected(error: Any) -> str:
    if error["type"] in _EXPECTED_TYPES:
        return _EXPECTED_TYPES[error["type"]]
    message = re.sub(r"^Input should be |, unable to .*$|, got .*$", "", str(error["msg"]))
    return re.sub(r"^a valid |^(?=greater|less)", lambda match: "a " if match[0] else "a number ", message)


def _format_value(value: Any) -> str:
    """Format a value as in a TOML file: `'a'`, `[1, 2]`, `true`."""
    if isinstance(value, bool):
        return str(value).lower()
    return "a table" if isinstance(value, Mapping) else repr(value)
