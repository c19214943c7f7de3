"""A Dask cluster of real processes, as its command line starts them, with their logs and their `/metrics`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import Client
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Processes", "Sample", "dask_processes", "json_lines"]

Sample = tuple[str, frozenset[tuple[str, str]]]
"""Name and labels."""
ENDINGS = {
    "counter": ["_total"],
    "gauge": [""],
    "histogram": ["_bucket", "_count", "_sum"],
    "unknown": [""],
    "summary": ["", "_count", "_sum"],
    "info": ["_info"],
}
"""What the samples of a metric of each type end in."""


@dataclass
class Processes:
    """``folder``: where each process's standard error goes; ``workers``: URLs of their HTTP servers."""

    folder: Path
    address: str = ""
    scheduler: str = ""
    workers: list[str] = field(default_factory=list)

    def scrape(self) -> Counter[Sample]:
        """All samples of all workers, added up."""
        found: Counter[Sample] = Counter()
        for sample in (sample for worker in self.workers for family in families(worker) for sample in family.samples):
            found[sample.name, frozenset(sample.labels.items())] += sample.value
        return found

    def names(self) -> set[str]:
        """Of every sample that scheduler and workers serve, or will as soon as there is something to count."""
        return {
            f"{family.name}{ending}"
            for url in (self.scheduler, *self.workers)
            for family in families(url)
            for ending in ENDINGS[family.type]
        }

    def log(self, name: str) -> str:
        """What the processes whose name begins so have written."""
        return "".join(path.read_text() for path in sorted(self.folder.glob(f"{name}*.log")))


def families(url: str) -> Iterator[Any]:
    """The metrics that a process serves now."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        yield from text_string_to_metric_families(answer.read().decode())


def json_lines(text: str) -> list[dict[str, Any]]:
    """The lines of a log, each of which is an object."""
    return [json.loads(line) for line in text.splitlines()]


@contextmanager
def dask_processes(
    folder: Path, config: str, workers: int = 2, more: Mapping[str, str] | None = None
) -> Iterator[Processes]:
    """A scheduler and workers of one thread each, with a Dask configuration (YAML) and environment of their own; ended,
    by their own process ids, with the block."""
    (folder / "dask").mkdir(parents=True)
    (folder / "dask/masksift.yaml").write_text(config)
    found = {**os.environ, "DASK_CONFIG": str(folder / "dask"), **(more or {})}
    known, dask = folder / "scheduler.json", [sys.executable, "-m", "dask"]
    words = {"scheduler": ["scheduler", "--port", "0", "--scheduler-file", str(known)]} | {
        f"worker-{n}": [
            "worker",
            "--scheduler-file",
            str(known),
            "--nthreads",
            "1",
            "--memory-limit",
            "2GiB",
            "--local-directory",
            str(folder),
        ]
        for n in range(workers)
    }
    made, started = Processes(folder), []
    try:
        for name, some in words.items():
            with open(folder / f"{name}.log", "wb") as log:
                started.append(
                    subprocess.Popen(
                        [*dask, *some, "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"],
                        stdout=log,
                        stderr=log,
                        env=found,
                    )
                )
        _wait(made, known, workers, started)
        yield made
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def _wait(
    made: Processes, known: Path, workers: int, started: list[subprocess.Popen[bytes]], seconds: float = 90
) -> None:
    """Until all workers are there."""
    until = time.monotonic() + seconds
    while not known.exists() or not known.read_text().endswith("}"):
        assert time.monotonic() < until, made.log("scheduler")
        assert all(process.poll() is None for process in started), made.log("")
        time.sleep(0.05)
    facts = json.loads(known.read_text())
    made.address, made.scheduler = facts["address"], f"http://127.0.0.1:{facts['services']['dashboard']}"
    with Client(made.address, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=max(1, until - time.monotonic()))
        told = client.scheduler_info(n_workers=-1)["workers"].values()
        made.workers = [f"http://127.0.0.1:{worker['services']['dashboard']}" for worker in told]
