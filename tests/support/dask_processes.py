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
        totals: Counter[Sample] = Counter()
        for sample in (sample for worker in self.workers for family in families(worker) for sample in family.samples):
            totals[sample.name, frozenset(sample.labels.items())] += sample.value
        return totals

    def names(self) -> set[str]:
        """Return the names of all samples that scheduler and workers serve, or will serve after the first count."""
        return {
            f"{family.name}{ending}"
            for url in (self.scheduler, *self.workers)
            for family in families(url)
            for ending in ENDINGS[family.type]
        }

    def log(self, name: str) -> str:
        """Return the logs of the processes whose name has this prefix."""
        return "".join(path.read_text() for path in sorted(self.folder.glob(f"{name}*.log")))


def families(url: str) -> Iterator[Any]:
    """Read the metrics that a process serves."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        yield from text_string_to_metric_families(answer.read().decode())


def json_lines(text: str) -> list[dict[str, Any]]:
    """Parse a log of JSON objects, one per line."""
    return [json.loads(line) for line in text.splitlines()]


@contextmanager
def dask_processes(
    folder: Path, config: str, workers: int = 2, more: Mapping[str, str] | None = None
) -> Iterator[Processes]:
    """Start a scheduler and single-threaded workers with a Dask configuration (YAML) and extra environment variables.

    The processes are terminated on exit.
    """
    (folder / "dask").mkdir(parents=True)
    (folder / "dask/masksift.yaml").write_text(config)
    environment = {**os.environ, "DASK_CONFIG": str(folder / "dask"), **(more or {})}
    scheduler_file, dask = folder / "scheduler.json", [sys.executable, "-m", "dask"]
    process_args = {"scheduler": ["scheduler", "--port", "0", "--scheduler-file", str(scheduler_file)]} | {
        f"worker-{n}": [
            "worker",
            "--scheduler-file",
            str(scheduler_file),
            "--nthreads",
            "1",
            "--memory-limit",
            "2GiB",
            "--local-directory",
            str(folder),
        ]
        for n in range(workers)
    }
    processes, started = Processes(folder), []
    try:
        for name, args in process_args.items():
            with open(folder / f"{name}.log", "wb") as log:
                started.append(
                    subprocess.Popen(
                        [*dask, *args, "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"],
                        stdout=log,
                        stderr=log,
                        env=environment,
                    )
                )
        _wait(processes, scheduler_file, workers, started)
        yield processes
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def _wait(
    processes: Processes,
    scheduler_file: Path,
    workers: int,
    started: list[subprocess.Popen[bytes]],
    seconds: float = 90,
) -> None:
    """Wait until all workers are connected."""
    deadline = time.monotonic() + seconds
    while not scheduler_file.exists() or not scheduler_file.read_text().endswith("}"):
        assert time.monotonic() < deadline, processes.log("scheduler")
        assert all(process.poll() is None for process in started), processes.log("")
        time.sleep(0.05)
    facts = json.loads(scheduler_file.read_text())
    processes.address, processes.scheduler = facts["address"], f"http://127.0.0.1:{facts['services']['dashboard']}"
    with Client(processes.address, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=max(1, deadline - time.monotonic()))
        worker_infos = client.scheduler_info(n_workers=-1)["workers"].values()
        processes.workers = [f"http://127.0.0.1:{worker['services']['dashboard']}" for worker in worker_infos]
