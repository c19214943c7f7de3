"""A scheduler and workers as processes of their own, and runs that are watched from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from distributed import Client
from distributed.utils import open_port

from benchmarks.subprocesses import environment

__all__ = ["Cluster", "Watched", "cluster", "watched_run"]


@dataclass(frozen=True)
class Cluster:
    """Where the scheduler listens, and its process."""

    address: str
    scheduler: psutil.Process


@contextmanager
def cluster(
    folder: Path, workers: int, threads: int = 1, memory: str = "3GiB", *, pinned: bool = False
) -> Iterator[Cluster]:
    """``workers`` processes of so many ``threads``, ended with the block; ``pinned``: on a core each. Without any, the
    scheduler is alone."""
    scratch = folder / "dask"
    scratch.mkdir(exist_ok=True)
    address = f"tcp://127.0.0.1:{open_port('127.0.0.1')}"
    port = address.rsplit(":", 1)[1]
    begin = [sys.executable, "-m", "dask"]
    # the scheduler takes a task's function apart too: it must find the benchmarks' own
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment()}
    started = [
        subprocess.Popen(
            [*begin, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", "--no-show"], **quiet
        )
    ]
    cores = sorted(os.sched_getaffinity(0))
    for number in range(workers):
        # what a process starts inherits the cores that it may use
        os.sched_setaffinity(0, {cores[number % len(cores)]} if pinned else cores)
        started.append(
            subprocess.Popen(
                [
                    *begin,
                    "worker",
                    address,
                    "--nthreads",
                    str(threads),
                    "--memory-limit",
                    memory,
                    "--local-directory",
                    str(scratch),
                    "--no-dashboard",
                ],
                **quiet,
            )
        )
    os.sched_setaffinity(0, cores)
    try:
        with Client(address, timeout=30, set_as_default=False) as client:
            if workers:
                client.wait_for_workers(workers, timeout=60)
        yield Cluster(address, psutil.Process(started[0].pid))
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(20)
        shutil.rmtree(scratch, ignore_errors=True)


CLOSING = 2.0
"""Seconds, at most, from the end of the last stage to the end of the process."""


@dataclass(frozen=True)
class Watched:
    """A run as its record tells it, and the peak resident bytes of its processes."""

    record: dict[str, Any]
    peaks: dict[str, int] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Of all stages: without starting anything."""
        return sum(stage["seconds"] for stage in self.record["stages"])


def watched_run(source: Path | str, out: Path, *flags: str, also: dict[str, psutil.Process] | None = None) -> Watched:
    """`masksift run` in a process of its own, with the peaks of the ``client``, of the client ``before ranking``, of
    the largest ``worker`` among its children, and of the processes named in ``also``. There is no report unless the
    ``flags`` ask for one: it has a part of its own (`bench_report`)."""
    shutil.rmtree(out, ignore_errors=True)
    words = [
        sys.executable,
        "-m",
        "masksift",
        "run",
        "--source",
        str(source),
        "--out",
        str(out),
        "--report.top",
        "0",
        *flags,
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    history: list[tuple[float, int]] = []
    client, peaks = psutil.Process(process.pid), dict.fromkeys(["client", "worker", *(also or {})], 0)
    while process.poll() is None:
        try:
            peaks["client"] = max(peaks["client"], client.memory_info().rss)
            history.append((time.perf_counter(), peaks["client"]))
            for child in client.children(recursive=True):
                peaks["worker"] = max(peaks["worker"], child.memory_info().rss)
            for name, other in (also or {}).items():
                peaks[name] = max(peaks[name], other.memory_info().rss)
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.05)
    said = process.communicate()
    assert process.returncode == 0, said
    record = json.loads((out / "run.json").read_text())
    ranked = history[-1][0] - record["stages"][-1]["seconds"] - CLOSING
    peaks["before ranking"] = max([peak for when, peak in history if when < ranked], default=history[0][1])
    return Watched(record, peaks)
