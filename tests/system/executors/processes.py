"""Schedulers and workers as separate processes, as an administrator starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import masksift

SOURCES = [str(Path(masksift.__file__).parents[1]), str(Path(__file__).parents[2])]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until(true: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait for something to be true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what} within {seconds} s"
        time.sleep(0.05)


def start(*args: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """`dask scheduler ...` or `dask worker ...`."""
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(SOURCES), **(env or {})}
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=found
    )


def start_worker(address: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """One process of one thread."""
    return start(
        "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "1GiB", env=env
    )


@contextmanager
def running(
    protocol: str = "tcp", env: Mapping[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A scheduler and its first worker, which the test may kill; the address."""
    port = free_port()
    address = f"{protocol}://127.0.0.1:{port}"
    args = ("--host", "127.0.0.1", "--port", str(port), "--protocol", protocol, "--no-dashboard")
    scheduler = start("scheduler", *args, env=env)
    worker = start_worker(address, env)
    try:
        yield address, worker
    finally:
        stop(worker, scheduler)


def stop(*processes: subprocess.Popen[bytes]) -> None:
    """End them for certain."""
    for process in processes:
        process.kill()
        process.wait()


def is_alive(pid: int) -> bool:
    """Return True for an existing process that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
