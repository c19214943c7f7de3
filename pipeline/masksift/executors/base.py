"""The executor's contract: two verbs. Same items, same answer, whoever runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, TypeVar

__all__ = ["BATCH", "FAN_IN", "Executor", "Worker", "batches"]

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH = 32
"""Items whose results one task of a reduction merges."""
FAN_IN = 8
"""Merged results that one task of a reduction merges again."""


@dataclass(frozen=True)
class Worker:
    """One worker as facts. ``memory``: its limit in bytes, None where there is none; ``versions``: by package."""

    name: str
    memory: int | None
    versions: Mapping[str, str] = field(default_factory=dict)


class Executor(Protocol):
    """Runs functions of one item. Both are picklable; a function may run more than once for an item.

    ``retries`` counts the tasks that were run again after an error.
    """

    retries: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def workers(self) -> list[Worker]:
        """The workers there are."""

    def map(self, function: Callable[[Item], Result], items: Sequence[Item], stage: str) -> Iterator[Result]:
        """The results, as they come. An error that outlives its retries is raised."""

    def reduce(
        self, function: Callable[[Item], Result], items: Sequence[Item], merge: Callable[[Result, Result], Result],
        stage: str,
    ) -> Result:  # fmt: skip
        """All results merged into one; `merge` is associative and commutative, `items` is not empty."""


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items in runs of `size`, the last one shorter."""
    return (items[i : i + size] for i in range(0, len(items), size))
