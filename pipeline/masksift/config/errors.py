"""Turn pydantic validation errors into one readable sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from masksift.config.sections import (
    dotted_keys,
)
from masksift.core.errors import UsageError
from masksift.core.text import closest_match


def explain(model: type[BaseModel], e: ValidationError) -> UsageError:
    """The first error, in this project's words; all that is said of its key where it may be of several types."""
    error = e.errors(include_url=False)[0]
    keys = dotted_keys(model)
    sections = tuple(dict.fromkeys(key.split(".")[0] for key in keys if "." in key))
    key = _key(keys, error)
    if error["type"] == "extra_forbidden":
        return UsageError(
            f"there is no key {key!r}",
            "a misspelt key would be a setting that does nothing",
            f"Did you mean {closest_match(key, [*keys, *sections])!r}?",
        )
    if error["type"] == "missing":
        flag = "--source URL" if key == "sources" else f"--{key} URL"
        return UsageError(
            f"{key!r} is not given", "there is no run without it", f"Give {flag}, or the key in a TOML file"
        )
    if key in sections:
        return missing_table_error(model, key, error["input"])
    wanted = dict.fromkeys(_wanted(other) for other in e.errors(include_url=False) if _key(keys, other) == key)
    return UsageError(f"{key} is {_shown(error['input'])}", f"it should be {', or '.join(wanted)}", "Mend that value")


def _key(keys: Iterable[str], error: Any) -> str:
    words = {word for key in keys for word in key.split(".")}
    return ".".join(str(part) for part in error["loc"] if str(part) in words or error["type"] == "extra_forbidden")


def _wanted(error: Any) -> str:
    """What pydantic says that an input should be, in the words of a TOML file."""
    if error["type"] in _TYPES:
        return _TYPES[error["type"]]
    said = re.sub(r"^Input should be |, unable to parse.*$|, got .*$", "", str(error["msg"]))
    return re.sub(r"^a valid |^(?=greater|less)", lambda found: "a " if found[0] else "a number ", said)


def _shown(value: Any) -> str:
    """A value as a TOML file has it, more or less: `'a'`, `[1, 2]`, `true`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    return repr(value)


def missing_table_error(model: type[BaseModel], name: str, value: Any) -> UsageError:
    keys = ", ".join(key for key in dotted_keys(model) if key.startswith(f"{name}."))
    return UsageError(f"{name} is {_shown(value)}", "it should be a table of keys", f"Give {keys}")


_TYPES = {
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
}
