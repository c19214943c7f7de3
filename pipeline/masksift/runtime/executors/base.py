"""Interface of executors: map and reduce. Every executor gives the same results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, TypeVar

from masksift.core.text import pluralize

Item = TypeVar("Item")
Result = TypeVar("Result")

Notify = Callable[..., None]
"""Receives a message for the user, with the values it contains as keyword arguments."""


def ignore_notification(text: str, **fields: object) -> None:
    """Discard a message."""


@dataclass(frozen=True)
class WorkerInfo:
    """One worker: its memory limit in bytes, None if unlimited, and the versions of its packages."""

    name: str
    memory: int | None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClusterInfo:
    """State of a cluster when a run began.

    Attributes:
        kind: Type of the cluster.
        workers: Number of workers.
        threads: Threads of all workers.
        memory: Bytes of all workers; None if one of them has no limit.
        address: Address of the scheduler without credentials; None for this process.
        dashboard: URL of the Dask dashboard.
    """

    kind: str
    workers: int
    threads: int
    memory: int | None = None
    address: str | None = None
    dashboard: str | None = None

    @property
    def text(self) -> str:
        """One line for the user."""
        memory = "no memory limit" if self.memory is None else f"{self.memory / 2**30:.1f} GiB"
        size = f"{pluralize(self.workers, 'worker')}, {pluralize(self.threads, 'thread')}, {memory}"
        place = self.kind if self.address is None else f"{self.kind} at {self.address}"
        return f"running on {place}: {size}" + (f"; dashboard {self.dashboard}" if self.dashboard else "")


class Executor(Protocol):
    """Run functions of one item. Function and items are picklable; an item may be processed more than once.

    Attributes:
        retries: Tasks that were run again after an error.
    """

    retries: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def cluster(self) -> ClusterInfo:
        """State of the cluster when the executor was opened."""

    def workers(self) -> list[WorkerInfo]:
        """Return the current workers."""

    def map(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        stage: str,
        *,
        needs_resources: bool = False,
    ) -> Iterator[Result]:
        """Yield results as they finish. An error that persists after all retries is raised.

        Args:
            function: Function of one item.
            items: Items of the stage.
            stage: Name of the stage.
            needs_resources: The tasks use the worker resources of the configuration, such as a GPU.
        """

    def reduce(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        merge: Callable[[Result, Result], Result],
        stage: str,
    ) -> Result:
        """Merge all results into one. ``merge`` is associative and commutative, and ``items`` is not empty."""

    def limit_workers(self, tasks: int) -> None:
        """Give up workers of the run's own cluster that later stages, of at most so many tasks, cannot use."""

    def release(self) -> None:
        """Give up the workers before work that the client does alone. `cluster` and `retries` stay known."""


def split_items(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Split items into slices of ``size``, the last one shorter."""
    return (items[i : i + size] for i in range(0, len(items), size))
