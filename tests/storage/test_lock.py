"""Output lock: one run at a time works in a directory, and a stale lock is taken over."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from masksift.core.errors import UsageError
from masksift.storage import lock as lock_module
from masksift.storage.lock import RunLock
from masksift.storage.manifest import LOCK
from masksift.storage.objects import ObjectDirectory
from support.errors import raises


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(lock_module, "STALE_AFTER_SECONDS", 0.5)
    monkeypatch.setattr(lock_module, "TAKEOVER_SECONDS", 0.05)


def write_lock(directory: Path, **facts: object) -> Path:
    """Write the lock of another run."""
    payload = {"token": "another", "host": "elsewhere", "process": 7, "born": 1, "renewed": 0} | facts
    (directory / "manifest").mkdir()
    (directory / LOCK).write_text(json.dumps(payload))
    return directory / LOCK


@pytest.mark.parametrize("name", [LOCK, "ingest/running.json"])
def test_lock_exists_only_while_it_is_held(tmp_path: Path, messages: list[str], name: str) -> None:
    with RunLock(ObjectDirectory(str(tmp_path)), messages.append, name):
        assert json.loads((tmp_path / name).read_text())["process"] == os.getpid()
    assert not (tmp_path / name).exists()
    assert messages == []


def test_lock_while_held_is_renewed(tmp_path: Path, short_times: None, messages: list[str]) -> None:
    with RunLock(ObjectDirectory(str(tmp_path)), messages.append):
        deadline = time.monotonic() + 20
        while json.loads((tmp_path / LOCK).read_text())["renewed"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_lock_held_by_a_live_process_refuses_a_second_run(tmp_path: Path, messages: list[str]) -> None:
    directory = ObjectDirectory(str(tmp_path))
    with RunLock(directory, messages.append):
        before = (tmp_path / LOCK).read_bytes()
        with (
            raises(UsageError, rf"{tmp_path} is in use by another run \(process {os.getpid()} on "),
            RunLock(directory, messages.append),
        ):
            pass
        assert (tmp_path / LOCK).read_bytes() == before


def test_lock_of_a_dead_process_of_this_machine_is_taken_over_at_once(
    tmp_path: Path, short_times: None, messages: list[str]
) -> None:
    script = (
        "import os, sys; from masksift.storage.lock import RunLock\n"
        "from masksift.storage.objects import ObjectDirectory\n"
        "with RunLock(ObjectDirectory(sys.argv[1]), print): os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert (tmp_path / LOCK).exists()
    with RunLock(ObjectDirectory(str(tmp_path)), messages.append):
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
    assert messages == []


def test_lock_with_a_reused_process_identifier_is_taken_over(
    tmp_path: Path, short_times: None, messages: list[str]
) -> None:
    write_lock(tmp_path, host=socket.gethostname(), process=os.getpid(), born=1)
    with RunLock(ObjectDirectory(str(tmp_path)), messages.append):
        assert json.loads((tmp_path / LOCK).read_text())["token"] != "another"


def test_lock_of_another_machine_without_renewal_is_taken_over(
    tmp_path: Path, short_times: None, messages: list[str]
) -> None:
    write_lock(tmp_path)
    with RunLock(ObjectDirectory(str(tmp_path)), messages.append):
        pass
    assert messages == [f"{tmp_path} is locked by process 7 on elsewhere; watching the lock for 0 s"]


def test_lock_of_another_machine_with_renewal_refuses_a_second_run(
    tmp_path: Path, short_times: None, messages: list[str]
) -> None:
    file = write_lock(tmp_path)

    def renew() -> None:
        for number in range(1, 100):
            if stop.wait(0.05):
                return
            (tmp_path / "next").write_text(file.read_text().replace('"renewed": 0', f'"renewed": {number}'))
            os.replace(tmp_path / "next", file)

    stop = threading.Event()
    other = threading.Thread(target=renew)
    other.start()
    try:
        with (
            raises(UsageError, r"is in use by another run \(process 7 on elsewhere\)"),
            RunLock(ObjectDirectory(str(tmp_path)), messages.append),
        ):
            pass
    finally:
        stop.set()
        other.join()
    assert file.exists()


def test_lock_written_in_part_counts_as_not_renewed(tmp_path: Path, short_times: None, messages: list[str]) -> None:
    write_lock(tmp_path).write_text('{"tok')
    with RunLock(ObjectDirectory(str(tmp_path)), messages.append):
        pass
    assert "process unknown on an unknown machine" in messages[0]


def test_stale_lock_with_four_runs_at_once_is_taken_over_by_one(tmp_path: Path, messages: list[str]) -> None:
    write_lock(tmp_path, host=socket.gethostname(), process=2**22 + 1)
    outcomes: list[str] = []

    def attempt() -> None:
        try:
            with RunLock(ObjectDirectory(str(tmp_path)), messages.append):
                outcomes.append("acquired")
                time.sleep(2)
        except UsageError:
            outcomes.append("refused")

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["acquired", *["refused"] * 3]
