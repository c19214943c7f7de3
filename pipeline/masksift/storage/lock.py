"""Lock of an output directory: a second job started in a directory in use is refused.

The lock is an object that a job creates, renews every few seconds and removes at its end. A stale lock is detected by
the process identifier on the same machine, and by the missing renewal from other machines.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import psutil

from masksift.core.errors import MasksiftError, UsageError
from masksift.core.json_text import parse_json
from masksift.storage.manifest import LOCK
from masksift.storage.objects import ObjectDirectory

HEARTBEAT_SECONDS = 10.0
"""Interval between renewals."""
STALE_AFTER_SECONDS = 3.5 * HEARTBEAT_SECONDS
"""Time without a renewal after which the job of another machine counts as dead."""
TAKEOVER_SECONDS = 0.5
"""Wait after replacing a stale lock: of several jobs that do so at once, the last writer wins."""


class RunLock:
    """Context manager that holds the lock of an output directory and renews it in a background thread.

    Args:
        directory: The output directory.
        notify: Shows a message to the user while a lock of another machine is watched.
        name: Name of the lock object.
    """

    def __init__(self, directory: ObjectDirectory, notify: Callable[[str], None], name: str = LOCK) -> None:
        self._directory, self._notify, self._name = directory, notify, name
        self._payload: dict[str, Any] = {
            "token": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "born": _process_start_time(os.getpid()),
            "renewed": 0,
        }
        self._released = threading.Event()
        self._heartbeat = threading.Thread(target=self._renew, name="lock-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Acquire the lock.

        Returns:
            The lock.

        Raises:
            UsageError: Another job is active in the directory.
        """
        while not self._directory.create(self._name, self._bytes()):
            other = self._read()
            if other is None:
                continue  # released in between
            if self._is_active(other):
                raise self._in_use(other)
            self._directory.write(self._name, self._bytes())
            time.sleep(TAKEOVER_SECONDS)
            current = self._read() or {}
            if current.get("token") != self._payload["token"]:
                raise self._in_use(current)
            break
        self._heartbeat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock."""
        self._released.set()
        self._heartbeat.join(HEARTBEAT_SECONDS)  # bounded: the job may end because its store does not answer
        try:
            if (self._read() or {}).get("token") == self._payload["token"]:
                self._directory.remove(self._name)
        except MasksiftError:
            if error is None:  # otherwise the first error counts
                raise

    def _renew(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            self._payload["renewed"] += 1
            try:
                self._directory.write(self._name, self._bytes())
            except (MasksiftError, OSError):  # the job itself meets the same error and reports it
                continue

    def _bytes(self) -> bytes:
        return json.dumps(self._payload).encode()

    def _read(self) -> dict[str, Any] | None:
        """Return the stored lock, None without one, or an empty one if it is partly written."""
        data = self._directory.read(self._name)
        if data is None:
            return None
        try:
            payload = parse_json(data)
        except ValueError:
            return {}
        return payload if isinstance(payload, dict) else {}

    def _is_active(self, other: dict[str, Any]) -> bool:
        if other.get("host") == self._payload["host"]:
            return bool(_process_start_time(int(other["process"])) == other["born"])
        self._notify(
            f"{self._directory.url} is locked by {_owner(other)}; watching the lock for {STALE_AFTER_SECONDS:.0f} s"
        )
        deadline = time.monotonic() + STALE_AFTER_SECONDS
        while time.monotonic() < deadline:
            time.sleep(HEARTBEAT_SECONDS / 10)
            if self._read() != other:
                return True
        return False

    def _in_use(self, other: dict[str, Any]) -> UsageError:
        return UsageError(
            f"{self._directory.url} is in use by another run ({_owner(other)})",
            "Two runs at once would compute each block twice",
            "Wait for it, stop it, or pass another --out",
        )


def _owner(lock: dict[str, Any]) -> str:
    return f"process {lock.get('process', 'unknown')} on {lock.get('host', 'an unknown machine')}"


def _process_start_time(process: int) -> int | None:
    """Return the start time of a process of this machine in milliseconds, or None if it does not exist."""
    try:
        created: float = psutil.Process(process).create_time()
    except psutil.NoSuchProcess:
        return None
    return round(created * 1000)
