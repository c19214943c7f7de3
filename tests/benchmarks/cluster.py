"""Start schedulers and workers as separate processes, and observe runs from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from distributed import Client
from distributed.utils import open_port

from benchmarks.subprocesses import environment

__all__ = ["Cluster", "Watched", "cluster", "watched_run"]


@dataclass(frozen=True)
class Cluster:
    """Address and process of the scheduler."""

    address: str
    scheduler: psutil.Process


@contextmanager
def cluster(
    folder: Path, workers: int, threads: int = 1, memory: str = "3GiB", *, pinned: bool = False
) -> Iterator[Cluster]:
    """Run ``workers`` processes with ``threads`` each, ``pinned`` to one core each if asked; only a scheduler for 0."""
    scratch = folder / "dask"
    scratch.mkdir(exist_ok=True)
    address = f"tcp://127.0.0.1:{open_port('127.0.0.1')}"
    port = address.rsplit(":", 1)[1]
    begin = [sys.executable, "-m", "dask"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment()}
    started = [
        subprocess.Popen(
            [*begin, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", "--no-show"], **quiet
        )
    ]
    cores = sorted(os.sched_getaffinity(0))
    for number in range(workers):
        # child processes inherit the allowed cores
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
"""Most seconds from the end of the last stage to the end of the process."""


@dataclass(frozen=True)
class Watched:
    """Record of a run, the peak resident bytes of its processes, and the seconds until the plan was ready."""

    record: dict[str, Any]
    peaks: dict[str, int] = field(default_factory=dict)
    opened: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of all stages, without startup."""
        return sum(stage["seconds"] for stage in self.record["stages"])


def watched_run(
    source: Path | str,
    out: Path | str,
    *flags: str,
    also: dict[str, psutil.Process] | None = None,
    read_record: Callable[[], bytes | str] | None = None,
) -> Watched:
    """Run `masksift run` without a report in a separate process and record the peak memory of client and workers.

    Args:
        source: Path, URL or pattern of the sources.
        out: Directory of the results, emptied before; or a URL, with ``read_record``.
        flags: Further arguments.
        also: Other processes whose memory is recorded, by name.
        read_record: Reads run.json; by default from the directory ``out``.

    Returns:
        The record, the peaks and the seconds before the first stage.
    """
    if read_record is None:
        shutil.rmtree(out, ignore_errors=True)
        read_record = (Path(out) / "run.json").read_text
    command = [
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
    launched = time.time()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
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
    output = process.communicate()
    assert process.returncode == 0, output
    record = json.loads(read_record())
    ranked = history[-1][0] - record["stages"][-1]["seconds"] - CLOSING
    peaks["before ranking"] = max([peak for when, peak in history if when < ranked], default=history[0][1])
    opened = datetime.fromisoformat(record["started"]).timestamp() - launched
    return Watched(record, peaks, opened)
