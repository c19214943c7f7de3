"""Functions for the executors to run: importable by the workers."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from distributed import LocalCluster


def square(item: int) -> int:
    return item * item


def slow_square(item: int) -> int:
    time.sleep(0.2)
    return item * item


def add(a: int, b: int) -> int:
    return a + b


def fails_at_first(folder: str, item: int) -> int:
    """Raises the first time it meets an item, and only then."""
    mark = Path(folder) / f"seen-{item}"
    if not mark.exists():
        mark.touch()
        raise OSError(f"the store hiccups at {item}")
    return item


def always_fails(item: int) -> int:
    raise ValueError(f"item {item} is rotten")


def runs_out_of_disk(item: int) -> int:
    raise OSError(28, "No space left on device")


def kills_its_worker_once(folder: str, item: int) -> int:
    """kill -9 of the worker that runs item 3, the first time."""
    mark = Path(folder) / "killed"
    if item == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def kills_every_worker(item: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def counts_itself(folder: str, item: int) -> int:
    """Leaves a mark when it starts."""
    (Path(folder) / f"started-{item}").touch()
    time.sleep(0.05)
    return item


def pid(item: int) -> int:
    return os.getpid()


class Asked(LocalCluster):
    """A cluster that keeps how many workers it is asked for."""

    def __init__(self, folder: str, **options: Any) -> None:
        self.folder = folder
        super().__init__(
            n_workers=0,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            processes=False,
            protocol="tcp://",
            **options,
        )

    def scale(self, n: int) -> None:  # type: ignore[override]
        if n:  # closing asks for none
            (Path(self.folder) / "asked").write_text(str(n))
        super().scale(n)
