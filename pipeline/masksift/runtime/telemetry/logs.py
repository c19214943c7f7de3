"""JSON log lines with the run and, inside a task, its stage, source and block.

`JsonFormatter` is meant for Dask's logging configuration of scheduler, workers and client.
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

_context_fields: ContextVar[Mapping[str, Any]] = ContextVar("masksift_log_fields", default=MappingProxyType({}))
_open_contexts: list[Mapping[str, Any]] = []
"""Contexts of all threads: the helper threads of a task have no context variable of their task."""


@contextmanager
def log_context(fields: Mapping[str, Any]) -> Iterator[None]:
    """Add fields to every line logged inside the block."""
    merged = {**_context_fields.get(), **fields}
    token = _context_fields.set(merged)
    _open_contexts.append(merged)
    try:
        yield
    finally:
        _open_contexts.remove(merged)
        _context_fields.reset(token)


def current_log_fields() -> Mapping[str, Any]:
    """Return the fields of this thread's context; in a helper thread, those of the only task.

    Returns:
        The fields; empty in a helper thread if several tasks run in this process.
    """
    fields, contexts = _context_fields.get(), list(_open_contexts)
    if fields or not contexts:
        return fields
    last = contexts[-1]
    return last if all(context.items() <= last.items() for context in contexts) else fields


def logger(name: str) -> logging.Logger:
    """Create a logger that is silent without logging setup: Python's last resort would write across the bar."""
    log = logging.getLogger(name)
    log.addHandler(logging.NullHandler())
    return log


class JsonFormatter(logging.Formatter):
    """Format a record as one JSON object: time (UTC), level, logger, message, context fields and exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a JSON line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **current_log_fields(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _exception_fields(record.exc_info[1])
        return json.dumps(line, default=str)


def safe_error_message(error: BaseException) -> str:
    """Return a message without secrets: errors of a store's client may quote a request with its keys."""
    return str(error) if isinstance(error, MasksiftError) else summarize_error(error)


def _exception_fields(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    fields: dict[str, Any] = {
        "type": type(error).__name__,
        "message": safe_error_message(error),
        "stack": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return fields if cause is None else {**fields, "cause": _exception_fields(cause)}
