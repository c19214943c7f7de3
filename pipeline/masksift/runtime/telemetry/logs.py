"""Log lines as JSON objects that say what they are of: the run and, while a task runs, its stage, source and block.

For Dask's logging configuration, of scheduler, workers and client alike: see `deploy/operations.md`.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from masksift.core.errors import MasksiftError, summarize_error

_own: ContextVar[Mapping[str, Any]] = ContextVar("masksift_log_facts", default=MappingProxyType({}))
_open: list[Mapping[str, Any]] = []
"""The facts of all threads. A task reads and writes in threads of others, which know no context of its own."""


@contextmanager
def log_context(facts: Mapping[str, Any]) -> Iterator[None]:
    """Add facts to every line that is logged inside."""
    inner = {**_own.get(), **facts}
    token = _own.set(inner)
    _open.append(inner)
    try:
        yield
    finally:
        _open.remove(inner)
        _own.reset(token)


def current_log_fields() -> Mapping[str, Any]:
    """The facts of what this thread does; of a thread that helps, those of the only task. Where several run at once in
    one process, it cannot be said which one is helped."""
    own, everything = _own.get(), list(_open)
    if own or not everything:
        return own
    last = everything[-1]
    return last if all(one.items() <= last.items() for one in everything) else own


def logger(name: str) -> logging.Logger:
    """A logger whose lines go where logging was set up to go, and nowhere else: Python's last resort would write them
    across the bar of whoever started the workers."""
    made = logging.getLogger(name)
    made.addHandler(logging.NullHandler())
    return made


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (UTC), `level`, `logger`, `message`, what the task and the record know, and of an
    error `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told: dict[str, Any] = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **current_log_fields(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            told["exception"] = _told(record.exc_info[1])
        return json.dumps(told, default=str)


def safe_error_message(error: BaseException) -> str:
    """What may be shown of an error: of ours its sentence, of a store's client what it says before it quotes its
    request, keys and all. Python's own account of an error has both whole."""
    return str(error) if isinstance(error, MasksiftError) else summarize_error(error)


def _told(error: BaseException) -> dict[str, Any]:
    """An error, where it came from, and its cause."""
    frames = traceback.extract_tb(error.__traceback__)
    told: dict[str, Any] = {
        "type": type(error).__name__,
        "message": safe_error_message(error),
        "stack": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return told if cause is None else {**told, "cause": _told(cause)}
