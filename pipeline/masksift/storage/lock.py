"""Who is at work in an output folder: a second run that is started there while the first one lives is refused.

The sign is an object that the run puts at its beginning, renews every few seconds, and removes at its end. One that a
dead run has left is recognised: on the same machine by its process, from elsewhere by its not being renewed.
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
from masksift.storage.manifest import RUNNING
from masksift.storage.objects import ObjectDirectory

HEARTBEAT_SECONDS = 10.0
"""Seconds between two renewals."""
STALE_AFTER_SECONDS = 3.5 * HEARTBEAT_SECONDS
"""Seconds without a renewal after which a run of another machine is taken for dead."""
SETTLED = 0.5
"""Seconds after which of several runs that took over a dead one's place at once the last is known."""


class RunLock:
    """Held by a run while it works in ``folder``; ``say`` tells the user what is waited for."""

    def __init__(self, folder: ObjectDirectory, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self._payload: dict[str, Any] = {
            "token": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "born": _process_start_time(os.getpid()),
            "renewed": 0,
        }
        self._ended = threading.Event()
        self._renewal = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> Self:
        """Raises UsageError where another run is at work."""
        while not self._folder.create(RUNNING, self._bytes()):
            there = self._read()
            if there is None:
                continue  # it has ended in between
            if self._lives(there):
                raise self._refusal(there)
            self._folder.write(RUNNING, self._bytes())
            time.sleep(SETTLED)
            now = self._read() or {}
            if now.get("token") != self._payload["token"]:
                raise self._refusal(now)
            break
        self._renewal.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._renewal.join(HEARTBEAT_SECONDS)  # no longer: a store that does not answer has ended the run
        try:
            if (self._read() or {}).get("token") == self._payload["token"]:
                self._folder.remove(RUNNING)
        except MasksiftError:
            if error is None:  # else the store is what the run ends of
                raise

    def _renew(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            self._payload["renewed"] += 1
            try:
                self._folder.write(RUNNING, self._bytes())
            except (MasksiftError, OSError):  # the work itself will meet it, and say so
                continue

    def _bytes(self) -> bytes:
        return json.dumps(self._payload).encode()

    def _read(self) -> dict[str, Any] | None:
        """The sign that is there; an empty one where it is half written."""
        data = self._folder.read(RUNNING)
        if data is None:
            return None
        try:
            found = json.loads(data)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _lives(self, there: dict[str, Any]) -> bool:
        if there.get("host") == self._payload["host"]:
            return bool(_process_start_time(int(there["process"])) == there["born"])
        self._say(
            f"{self._folder.url} is marked as in use by {_who(there)}; watching for "
            f"{STALE_AFTER_SECONDS:.0f} s whether it lives"
        )
        until = time.monotonic() + STALE_AFTER_SECONDS
        while time.monotonic() < until:
            time.sleep(HEARTBEAT_SECONDS / 10)
            if self._read() != there:
                return True
        return False

    def _refusal(self, there: dict[str, Any]) -> UsageError:
        return UsageError(
            f"{self._folder.url} is in use by another run ({_who(there)})",
            "two runs at once would do each block twice",
            "Wait for it, end it, or give another --out",
        )


def _who(there: dict[str, Any]) -> str:
    return f"process {there.get('process', 'unknown')} on {there.get('host', 'an unknown machine')}"


def _process_start_time(process: int) -> int | None:
    """When a process of this machine began, milliseconds; None where there is none."""
    try:
        began: float = psutil.Process(process).create_time()
    except psutil.NoSuchProcess:
        return None
    return round(began * 1000)
