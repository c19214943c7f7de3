"""Write a configuration as a command line, for messages that propose a command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel


def command_line(command: str, flags: Mapping[str, Any], sources: Sequence[str] = ()) -> str:
    """Write a command for a shell.

    Args:
        command: Name of the command.
        flags: Values by dotted key.
        sources: Values of the flag `--source`.

    Returns:
        The text, quoted where a shell needs it.
    """
    words = ["masksift", command, *(word for source in sources for word in ("--source", source))]
    for key, value in flags.items():
        words += [f"--{key}", _flag_text(value)]
    return shlex.join(words)


def set_flags(model: BaseModel) -> dict[str, Any]:
    """Return the values of the keys of a configuration that were set, by dotted key, as a flag takes them."""
    tree = model.model_dump(mode="json", exclude_unset=True)
    flags: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(getattr(model, key), BaseModel):
            flags |= {f"{key}.{name}": item for name, item in value.items()}
        else:
            flags[key] = value
    return {key: value for key, value in flags.items() if value is not None}


def _flag_text(value: Any) -> str:
    """Write a value as a flag takes it."""
    if isinstance(value, (list, tuple)):
        texts = [str(item) for item in value]
        # names may hold a comma
        return json.dumps(texts, ensure_ascii=False) if any("," in text for text in texts) else ",".join(texts)
    if isinstance(value, Mapping):
        if all(str(key).lstrip("-").isdecimal() for key in value):
            return ",".join(f"{key}:{item}" for key, item in value.items())
        return "{" + ", ".join(f"{json.dumps(key)} = {json.dumps(item)}" for key, item in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)
