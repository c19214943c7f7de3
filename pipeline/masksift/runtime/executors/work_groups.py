"""Groups of items that one task of a cluster processes: their size, and the functions that run them on a worker.

A scheduler spends a few milliseconds on each task, however short it is. Blocks are fixed by the data, so that results
and names do not depend on the cluster; a task processes as many consecutive blocks as fill a few seconds. Items travel
as bytes, which a scheduler passes on without importing the code of the tasks.
"""

from __future__ import annotations

import pickle
import statistics
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import islice
from typing import Any

TASK_SECONDS = 2.0
"""Time that a task should take at least: a thousand times the scheduler's time for one."""
TASKS_PER_SECOND = 100.0
"""Tasks that a scheduler should finish in a second at most, which makes tasks longer on more than 200 threads. It needs
some 2 ms for each (`python -m benchmarks.run scheduler`), and its core also serves the workers' heartbeats."""
MAX_TASK_ITEMS = 256
"""Items of a task at most: their results are one message."""
MAX_REDUCTION_ITEMS = 64
"""Items whose results one task of a reduction merges at most."""
TASKS_LEFT_PER_THREAD = 2
"""Tasks of the current size that the items left make for each thread at least, so that all threads end together."""
MEASURED_TASKS = 16
"""Tasks over whose durations the median is taken. The first ones are slow: they import modules and compile kernels."""


class TaskSizer:
    """Choose the number of items of a task from the duration of the last ones, the threads and the items left."""

    def __init__(self) -> None:
        self._item_seconds: deque[float] = deque(maxlen=MEASURED_TASKS)

    def record(self, items: int, seconds: float) -> None:
        """Add the duration of a finished task."""
        if items:
            self._item_seconds.append(seconds / items)

    def task_size(self, left: int, threads: int) -> int:
        """Return the number of items of the next task; 1 before any is measured.

        Args:
            left: Items that no task has.
            threads: Threads of all workers.
        """
        if not self._item_seconds:
            return 1
        fitting = task_seconds(threads) / max(statistics.median(self._item_seconds), 1e-6)
        return max(1, min(int(fitting), balanced_size(left, threads), MAX_TASK_ITEMS))


def task_seconds(threads: int) -> float:
    """Return the time that a task should take on a cluster with so many threads."""
    return max(TASK_SECONDS, threads / TASKS_PER_SECOND)


def balanced_size(left: int, threads: int) -> int:
    """Return the most items of a task that leave enough tasks for every thread; it falls to 1 towards the end."""
    return max(1, left // (TASKS_LEFT_PER_THREAD * threads))


def reduction_size(left: int, threads: int) -> int:
    """Return the number of items of the next task of a reduction, whose duration the client does not learn."""
    return min(balanced_size(left, threads), MAX_REDUCTION_ITEMS)


class Backlog:
    """Items that no task has yet."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items, self._returned = iter(items), deque[Any]()
        self.left = len(items)

    def take(self, count: int) -> list[Any]:
        """Remove the next items, first those that were put back."""
        taken = [self._returned.popleft() for _ in range(min(count, len(self._returned)))]
        taken.extend(islice(self._items, count - len(taken)))
        self.left -= len(taken)
        return taken

    def put_back(self, items: Iterable[Any]) -> None:
        """Add items that a task has not processed."""
        before = len(self._returned)
        self._returned.extend(items)
        self.left += len(self._returned) - before


@dataclass
class GroupResult:
    """Outcome of a task.

    Attributes:
        results: Results in the order of the items, without the failed ones.
        failed: Error messages of items that failed, by position.
        processed: Number of items that were processed; the others were left when the time was up.
        seconds: Run time of the task.
    """

    results: list[Any] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    processed: int = 0
    seconds: float = 0.0


def run_group(function: bytes, items: bytes, max_seconds: float) -> GroupResult:
    """Call a function for each item of a task.

    An error of one of several items is reported as text, and the item is tried again alone: there its error is raised.

    Args:
        function: Pickled function of one item.
        items: Pickled list of items.
        max_seconds: Time after which no further item is begun.

    Returns:
        Results, failed items, and the number of processed items.
    """
    started = time.perf_counter()
    call, group = pickle.loads(function), pickle.loads(items)
    outcome = GroupResult()
    for position, item in enumerate(group):
        if position and time.perf_counter() - started > max_seconds:
            break
        try:
            outcome.results.append(call(item))
        except Exception as e:
            if len(group) == 1:
                raise
            outcome.failed[position] = repr(e)
        outcome.processed += 1
    outcome.seconds = time.perf_counter() - started
    return outcome


def fold_group(function: bytes, items: bytes) -> Any:
    """Merge the results of the items of a task. ``function`` is the pickled function of an item and the merging one."""
    call, merge = pickle.loads(function)
    return reduce(merge, map(call, pickle.loads(items)))


def merge_results(merge: bytes, results: Sequence[Any]) -> Any:
    """Merge results into one with a pickled function."""
    return reduce(pickle.loads(merge), results)
