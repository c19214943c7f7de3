"""Reference executor: run all tasks in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from types import TracebackType
from typing import Self, TypeVar

from masksift.runtime.executors.base import ClusterInfo, WorkerInfo

Item = TypeVar("Item")
Result = TypeVar("Result")


class SerialExecutor:
    """Run items one after the other. ``memory`` is the memory of this process in bytes, None if unlimited."""

    def __init__(self, memory: int | None = None) -> None:
        self.memory = memory
        self.retries = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @property
    def cluster(self) -> ClusterInfo:
        """This process as a cluster with one worker."""
        return ClusterInfo("serial", 1, 1, self.memory)

    def workers(self) -> list[WorkerInfo]:
        """Return this process."""
        return [WorkerInfo("this process", self.memory)]

    def map(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        stage: str,
        *,
        needs_resources: bool = False,
    ) -> Iterator[Result]:
        """Yield the results in the order of the items."""
        return map(function, items)

    def reduce(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        merge: Callable[[Result, Result], Result],
        stage: str,
    ) -> Result:
        """Merge all results from the first to the last."""
        return reduce(merge, map(function, items))

    def limit_workers(self, tasks: int) -> None:
        """Do nothing: this process is the only worker."""

    def release(self) -> None:
        """Do nothing."""
