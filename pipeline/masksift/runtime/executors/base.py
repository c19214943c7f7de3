"""The executor's contract: two verbs. Same items, same answer, whoever runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

ITEMS_PER_REDUCTION = 32
"""Items whose results one task of a reduction merges."""
FAN_IN = 8
"""Merged results that one task of a reduction merges again."""

Notify = Callable[..., None]
"""Tells the user one line: its text, and facts by name for those who read logs by machine."""


def ignore_notification(text: str, **facts: object) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class WorkerInfo:
    """One worker as facts. ``memory``: its limit in bytes, None where there is none; ``versions``: by package."""

    name: str
    memory: int | None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClusterInfo:
    """What a run is run on, as it was when it began. ``address``: of its scheduler, without credentials, None where
    there is none; ``memory``: bytes of all its workers together, None where one of them has no limit."""

    kind: str
    workers: int
    threads: int
    memory: int | None = None
    address: str | None = None
    dashboard: str | None = None

    @property
    def text(self) -> str:
        """One line of it."""
        memory = "no limit of memory" if self.memory is None else f"{self.memory / 2**30:.1f} GiB"
        size = f"{_counted(self.workers, 'worker')}, {_counted(self.threads, 'thread')}, {memory}"
        where = self.kind if self.address is None else f"{self.kind} at {self.address}"
        return f"running on {where}: {size}" + (f"; dashboard {self.dashboard}" if self.dashboard else "")


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


class Executor(Protocol):
    """Runs functions of one item. Both are picklable; a function may run more than once for an item.

    ``retries`` counts the tasks that were run again after an error.
    """

    retries: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def cluster(self) -> ClusterInfo:
        """What it runs on."""

    def workers(self) -> list[WorkerInfo]:
        """The workers there are."""

    def map(self, function: Callable[[Item], Result], items: Sequence[Item], stage: str) -> Iterator[Result]:
        """The results, as they come. An error that outlives its retries is raised."""

    def reduce(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        merge: Callable[[Result, Result], Result],
        stage: str,
    ) -> Result:
        """All results merged into one; `merge` is associative and commutative, `items` is not empty."""


def split_items(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items in runs of `size`, the last one shorter."""
    return (items[i : i + size] for i in range(0, len(items), size))
