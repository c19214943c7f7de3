"""The definition: two loops in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from types import TracebackType
from typing import Self, TypeVar

from masksift.runtime.executors.base import ClusterInfo, WorkerInfo

Item = TypeVar("Item")
Result = TypeVar("Result")


class SerialExecutor:
    """Runs one item after the other. ``memory``: bytes this process may use, None = unlimited."""

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
        """This process, which is its own only worker."""
        return ClusterInfo("serial", 1, 1, self.memory)

    def workers(self) -> list[WorkerInfo]:
        """This process."""
        return [WorkerInfo("this process", self.memory)]

    def map(self, function: Callable[[Item], Result], items: Sequence[Item], stage: str) -> Iterator[Result]:
        """The results in the order of the items."""
        for item in items:
            yield function(item)

    def reduce(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        merge: Callable[[Result, Result], Result],
        stage: str,
    ) -> Result:
        """All results merged, from the first to the last."""
        return reduce(merge, (function(item) for item in items))
