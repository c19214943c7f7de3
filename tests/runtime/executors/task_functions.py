"""Task functions that workers can import."""

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
    """Raise an error the first time an item is processed."""
    mark = Path(folder) / f"seen-{item}"
    if not mark.exists():
        mark.touch()
        raise OSError(f"temporary failure at {item}")
    return item


def always_fails(item: int) -> int:
    raise ValueError(f"item {item} is invalid")


def runs_out_of_disk(item: int) -> int:
    raise OSError(28, "No space left on device")


def kills_its_worker_once(folder: str, item: int) -> int:
    """Kill the worker with SIGKILL the first time it processes item 3."""
    mark = Path(folder) / "killed"
    if item == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def kills_every_worker(item: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def counts_itself(folder: str, item: int) -> int:
    """Create a file when the task starts."""
    (Path(folder) / f"started-{item}").touch()
    time.sleep(0.05)
    return item


def pid(item: int) -> int:
    return os.getpid()


class ScaledCluster(LocalCluster):
    """Record the number of requested workers in a file."""

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
        if n:  # close() scales to 0
            (Path(self.folder) / "requested").write_text(str(n))
        super().scale(n)
