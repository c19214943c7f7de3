"""Task functions that workers can import."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from distributed import LocalCluster, Scheduler, SpecCluster, Worker, get_worker
from distributed.deploy.spec import ProcessInterface


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


def fails_once(folder: str, item: object) -> int:
    """Raise an error the first time any item is processed."""
    mark = Path(folder) / "seen"
    if not mark.exists():
        mark.touch()
        raise OSError("temporary failure")
    return 0


def fails_at(failing: int, item: int) -> int:
    if item == failing:
        raise OSError(f"failure at {item}")
    return item


def record_and_fail_once(folder: str, failing: int, item: int) -> int:
    """Append a line to the file of the item, and raise an error the first time for one item."""
    path = Path(folder) / str(item)
    with open(path, "a") as file:
        file.write(".")
    if item == failing and path.stat().st_size == 1:
        raise OSError(f"temporary failure at {item}")
    return item


def wait_for_merge(folder: str, last: int, item: int) -> int:
    """Let the last item wait until a merging task has run."""
    end = time.monotonic() + 60
    while item == last and not (Path(folder) / "merged").exists():
        assert time.monotonic() < end, "no task merged the results of the others"
        time.sleep(0.01)
    return item


def mark_and_add(folder: str, a: int, b: int) -> int:
    """Add two numbers, and leave a mark in a task that merges the results of others."""
    if str(get_worker().get_current_task()[0]).startswith("sum-merge"):
        (Path(folder) / "merged").touch()
    return a + b


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


def hangs_once(folder: str, item: int) -> int:
    """Hang the first time, until the worker is killed."""
    mark = Path(folder) / "hung"
    if not mark.exists():
        mark.touch()
        time.sleep(600)
    return item


def kills_every_worker(item: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def record_start(folder: str, item: int) -> int:
    """Create a file when the task starts."""
    (Path(folder) / f"started-{item}").touch()
    time.sleep(0.05)
    return item


def count_tasks(dask_scheduler: Scheduler) -> int:
    return len(dask_scheduler.tasks)


def span_names(dask_scheduler: Scheduler) -> dict[tuple[str, ...], int]:
    """Return the spans of the scheduler with the number of tasks that they had."""
    spans = dask_scheduler.extensions["spans"].spans.values()
    return {span.name: sum(map(len, span.groups)) for span in spans}


def group_names(dask_scheduler: Scheduler) -> set[str]:
    """Return the prefixes of all tasks that the scheduler has had."""
    return set(dask_scheduler.task_prefixes)


def priorities(dask_scheduler: Scheduler) -> set[int]:
    """Return the user priorities of the present tasks; Dask keeps them negated."""
    return {-task.priority[0] for task in dask_scheduler.tasks.values()}


def worker_name(item: int) -> str:
    return str(get_worker().name)


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


class Job(ProcessInterface):
    """A job of a `QueueCluster`: its workers run in this process."""

    cancel_command = "scancel"
    last_id = 0

    def __init__(self, scheduler: str, name: object, folder: str, names: Sequence[str | None]) -> None:
        super().__init__(scheduler, name)
        self.scheduler, self.folder, self.job_id = scheduler, Path(folder), ""
        if None in names:
            self.cancel_command = ""  # a host has no queue
        self.names = [f"{name}{suffix}" if suffix is not None else None for suffix in names]
        self.workers: list[Worker] = []

    async def start(self) -> None:
        if (self.folder / "refuse").exists():
            raise RuntimeError("sbatch: error: partition\nis down")
        Job.last_id += 1
        self.job_id, is_held = str(Job.last_id), (self.folder / "hold").exists()
        with open(self.folder / "queue", "a") as queue:
            queue.write(f"{self.job_id} {'PENDING Resources' if is_held else 'RUNNING None'}\n")
        if not is_held:
            self.workers = [Worker(self.scheduler, name=name, nthreads=1, host="127.0.0.1") for name in self.names]
            await asyncio.gather(*self.workers)
        await super().start()

    async def cancel(self) -> None:
        """End the job in the queue without notice to the cluster object."""
        for worker in self.workers:
            await worker.close(executor_wait=False)

    async def close(self) -> None:
        await self.cancel()
        await super().close()


class QueueCluster(SpecCluster):
    """A cluster of jobs in a queue, with a worker for each of ``names``.

    ``hosts`` is the number of jobs of a cluster of fixed size that does not name its workers. The folder holds the
    queue's listing. A file `hold` in it lets new jobs wait, and `refuse` refuses them.
    """

    last: QueueCluster

    def __init__(self, folder: str, names: Sequence[str] = ("",), hosts: int = 0) -> None:
        options = {"folder": folder, "names": [None] if hosts else names}
        spec: dict[str, Any] = {"cls": Job, "options": options} | ({"group": names} if len(names) > 1 else {})
        scheduler = {
            "cls": Scheduler,
            "options": {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"},
        }
        super().__init__(workers=dict.fromkeys(range(hosts), spec), worker=None if hosts else spec, scheduler=scheduler)
        self.folder = Path(folder)
        QueueCluster.last = self

    def cancel(self) -> None:
        """Cancel all jobs."""
        (self.folder / "queue").write_text("")
        jobs = list(self.workers.values())
        self.sync(lambda: asyncio.gather(*(job.cancel() for job in jobs)))


def queue_cluster(**options: Any) -> QueueCluster:
    """Return a cluster, like `distributed.SSHCluster`."""
    return QueueCluster(**options)


class OpaqueCluster:
    """A cluster of which only the address and the size are visible, such as that of a gateway."""

    last: OpaqueCluster

    def __init__(self) -> None:
        self.inner = LocalCluster(
            n_workers=0,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            processes=False,
            protocol="tcp://",
        )
        self.scheduler_address = self.inner.scheduler_address
        self.security, self.loop = self.inner.security, self.inner.loop
        OpaqueCluster.last = self

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.inner.__await__()

    @property
    def status(self) -> Any:
        return self.inner.status

    def scale(self, n: int) -> None:
        self.inner.scale(n)

    def cancel(self) -> None:
        """End all workers."""
        self.inner.scale(0)

    def close(self) -> None:
        self.inner.close()
