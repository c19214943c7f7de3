"""One run at a time works in a folder; what a dead one has left is no hindrance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from masksift.core.errors import UsageError
from masksift.storage import lock as lease
from masksift.storage.lock import RunLock
from masksift.storage.manifest import RUNNING
from masksift.storage.objects import ObjectDirectory
from support.sources import refuses


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(lease, "STALE_AFTER_SECONDS", 0.5)
    monkeypatch.setattr(lease, "SETTLED", 0.05)


def left_by(folder: Path, **facts: object) -> Path:
    """The sign of another run."""
    sign = {"token": "another", "host": "elsewhere", "process": 7, "born": 1, "renewed": 0} | facts
    (folder / "manifest").mkdir()
    (folder / RUNNING).write_text(json.dumps(sign))
    return folder / RUNNING


def test_it_is_there_while_the_run_works_and_gone_afterwards(tmp_path: Path, said: list[str]) -> None:
    with RunLock(ObjectDirectory(str(tmp_path)), said.append):
        sign = json.loads((tmp_path / RUNNING).read_text())
        assert sign["process"] == os.getpid()
    assert not (tmp_path / RUNNING).exists()
    assert said == []


def test_it_is_renewed(tmp_path: Path, hurried: None, said: list[str]) -> None:
    with RunLock(ObjectDirectory(str(tmp_path)), said.append):
        until = time.monotonic() + 20
        while json.loads((tmp_path / RUNNING).read_text())["renewed"] < 2:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_a_second_run_is_refused_and_the_first_one_is_unharmed(tmp_path: Path, said: list[str]) -> None:
    folder = ObjectDirectory(str(tmp_path))
    with RunLock(folder, said.append):
        before = (tmp_path / RUNNING).read_bytes()
        with (
            refuses(UsageError, rf"{tmp_path} is in use by another run \(process {os.getpid()} on "),
            RunLock(folder, said.append),
        ):
            pass
        assert (tmp_path / RUNNING).read_bytes() == before


def test_what_a_dead_process_of_this_machine_left_is_taken_over_at_once(tmp_path: Path, said: list[str]) -> None:
    script = (
        "import os, sys; from masksift.storage.lock import RunLock as Lease\n"
        "from masksift.storage.objects import ObjectDirectory as Folder\n"
        "with Lease(Folder(sys.argv[1]), print): os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert (tmp_path / RUNNING).exists()
    with RunLock(ObjectDirectory(str(tmp_path)), said.append):
        assert json.loads((tmp_path / RUNNING).read_text())["process"] == os.getpid()
    assert said == []


def test_a_process_number_that_was_given_again_is_another_process(tmp_path: Path, said: list[str]) -> None:
    import socket

    left_by(tmp_path, host=socket.gethostname(), process=os.getpid(), born=1)
    with RunLock(ObjectDirectory(str(tmp_path)), said.append):
        pass


def test_a_run_of_another_machine_that_is_not_renewed_is_dead(tmp_path: Path, hurried: None, said: list[str]) -> None:
    left_by(tmp_path)
    with RunLock(ObjectDirectory(str(tmp_path)), said.append):
        pass
    assert said == [f"{tmp_path} is marked as in use by process 7 on elsewhere; watching for 0 s whether it lives"]


def test_a_run_of_another_machine_that_is_renewed_lives(tmp_path: Path, hurried: None, said: list[str]) -> None:
    file = left_by(tmp_path)

    def live() -> None:
        for number in range(1, 100):
            if over.wait(0.05):
                return
            (tmp_path / "next").write_text(file.read_text().replace('"renewed": 0', f'"renewed": {number}'))
            os.replace(tmp_path / "next", file)

    over = threading.Event()
    other = threading.Thread(target=live)
    other.start()
    try:
        with (
            refuses(UsageError, r"is in use by another run \(process 7 on elsewhere\)"),
            RunLock(ObjectDirectory(str(tmp_path)), said.append),
        ):
            pass
    finally:
        over.set()
        other.join()
    assert file.exists()


def test_half_a_sign_is_one_that_is_not_renewed(tmp_path: Path, hurried: None, said: list[str]) -> None:
    left_by(tmp_path).write_text('{"tok')
    with RunLock(ObjectDirectory(str(tmp_path)), said.append):
        pass
    assert "process unknown on an unknown machine" in said[0]


def test_of_several_that_take_over_at_once_one_goes_on(tmp_path: Path, said: list[str]) -> None:
    left_by(tmp_path, host=__import__("socket").gethostname(), process=2**22 + 1)
    begun: list[str] = []

    def attempt() -> None:
        try:
            with RunLock(ObjectDirectory(str(tmp_path)), said.append):
                begun.append("went on")
                time.sleep(2)
        except UsageError:
            begun.append("was refused")

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(begun) == ["was refused"] * 3 + ["went on"]
