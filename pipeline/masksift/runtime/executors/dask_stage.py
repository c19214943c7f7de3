"""Tasks of one stage on a Dask cluster: few at a time at the scheduler, with retries, and reductions as a tree.

Window and retries are masksift's own. Measured against `Client.map(batch_size=100, retries=3)` of all items with
10,000 tasks of 20 ms on 20 simulated workers, one item a task: the scheduler grew by 138 MiB instead of 49 MiB (14
KB a task, so 14 GB for a million), needed 1.6 instead of 0.95 ms of CPU a task, and the first result came after 24
s instead of 0.4 s. Dask's queuing (`distributed.scheduler.worker-saturation`) keeps tasks from the workers, not
from the scheduler; it is in effect for the tasks of the window. `retries=` repeats a task for errors of the data
too, which stay, repeats all items of a task instead of the failed one, and does not tell the client, which counts
and logs retries.
"""

from __future__ import annotations

import logging
import queue
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from textwrap import shorten
from typing import Any, TypeVar

import distributed
from dask.base import annotate, get_annotations
from distributed.protocol import pickle
from distributed.scheduler import KilledWorker

from masksift.core.errors import DataError
from masksift.runtime.executors.work_groups import (
    Backlog,
    GroupResult,
    TaskSizer,
    fold_group,
    merge_results,
    reduction_size,
    run_group,
    task_seconds,
)
from masksift.runtime.executors.worker_watch import POLL_TIMEOUT_SECONDS, WorkerWatch

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 3
"""Retries of a task that raised an error."""
TASKS_PER_THREAD = 3
"""Tasks per worker thread that the scheduler holds: one runs, the next is already on the worker. Threads that a cluster
may grow by count too: adaptive scaling (Dask's, and the Kubernetes operator's) requests as many workers as five seconds
of the scheduler's tasks keep busy, and does not see tasks that wait in the client."""
FAN_IN = 8
"""Merged results that one task of a reduction merges again."""
MAX_LOGGED_CHARACTERS = 200
"""Characters of an item in the log of a retry; some items contain the description of a source."""
DONE_POLL_SECONDS = 0.5
"""Time to wait for a finished task before the workers are checked."""
_UNFINISHED = {"pending", "lost"}
"""States of a task whose result is not there; lost: there is no worker yet to compute it again."""

log = logging.getLogger(__name__)


@dataclass
class _Task:
    """Items of a task, and how often they were tried before; a merging task has no items."""

    items: list[Any]
    attempt: int = 0


class DaskStage:
    """Run the tasks of one stage.

    Args:
        client: Client of the cluster.
        watch: Counts the threads of the workers.
        name: Name of the stage, the prefix of the keys of its tasks and the name of its span.
        annotations: Dask annotations of the tasks: the span of the run.
        options: Priority and resources of the tasks.
    """

    def __init__(
        self,
        client: distributed.Client,
        watch: WorkerWatch,
        name: str,
        annotations: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        self._client, self._watch, self._name, self._options = client, watch, name, options
        # A span belongs to a group of tasks, and tuples with the same first element are a group.
        self._groups = {suffix: f"{name}{suffix}-{uuid.uuid4().hex}" for suffix in ("", "-merge")}
        self._numbers = count()
        with annotate(**annotations), distributed.span(name):
            self._annotations = get_annotations()
        self._running: dict[Any, _Task] = {}
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.retries = 0

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[list[Result]]:
        """Yield lists of results in the order in which they finish.

        An item that raised an error is submitted again, alone, up to `RETRIES` times.
        """
        code, backlog, sizer = pickle.dumps(function), Backlog(items), TaskSizer()

        def submit(tasks: Sequence[_Task]) -> None:
            limit = 2 * task_seconds(self._watch.threads)
            self._submit(tasks, run_group, [code] * len(tasks), self._payloads(tasks), [limit] * len(tasks))

        try:
            submit(self._take(backlog, sizer.task_size))
            while self._running:
                finished, again = self._next_done()
                results: list[Result] = []
                outcomes: list[GroupResult] = self.gather([future for _, future in finished])
                for (task, _), outcome in zip(finished, outcomes, strict=True):
                    results.extend(outcome.results)
                    sizer.record(outcome.processed, outcome.seconds)
                    backlog.put_back(task.items[outcome.processed :])
                    again += [self._retry(_Task([task.items[n]]), text) for n, text in outcome.failed.items()]
                submit(again)
                submit(self._take(backlog, sizer.task_size))
                yield results
        finally:
            self._cancel()

    def reduce(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        merge: Callable[[Result, Result], Result],
    ) -> Result:
        """Merge all results in a tree on the workers, as they finish."""
        fold_code, merge_code = pickle.dumps((function, merge)), pickle.dumps(merge)
        backlog, merged = Backlog(items), list[Any]()

        def submit(tasks: Sequence[_Task]) -> None:
            self._submit(tasks, fold_group, [fold_code] * len(tasks), self._payloads(tasks))

        def submit_merge(inputs: list[Any]) -> None:
            future = self._client.submit(
                merge_results, merge_code, inputs, key=self._key("-merge"), pure=False, retries=RETRIES, **self._options
            )
            self._watch_tasks([future], [_Task([])])

        try:
            submit(self._take(backlog, reduction_size))
            while self._running:
                finished, again = self._next_done()
                merged += [future for _, future in finished]
                submit(again)
                submit(self._take(backlog, reduction_size))
                while len(merged) >= FAN_IN or (len(merged) > 1 and not self._running):
                    inputs, merged = merged[:FAN_IN], merged[FAN_IN:]
                    with annotate(**self._annotations):
                        submit_merge(inputs)
            result: Result = self.gather(merged)[0]
            return result
        finally:
            self._cancel()

    def _take(self, backlog: Backlog, task_size: Callable[[int, int], int]) -> list[_Task]:
        """Take as many tasks from the backlog as the scheduler may hold in addition."""
        self._watch.update()
        threads = self._watch.threads
        free = TASKS_PER_THREAD * threads - len(self._running)
        tasks: list[_Task] = []
        while len(tasks) < free and backlog.left:
            tasks.append(_Task(backlog.take(task_size(backlog.left, threads))))
        return tasks

    def _submit(self, tasks: Sequence[_Task], function: Callable[..., Any], *arguments: Sequence[Any]) -> None:
        """Submit tasks in one request: with hundreds of workers the scheduler's answers are the bottleneck of a run."""
        if not tasks:
            return
        keys = [self._key() for _ in tasks]
        with annotate(**self._annotations):
            futures = self._client.map(function, *arguments, key=keys, pure=False, **self._options)
        self._watch_tasks(futures, tasks)

    def _key(self, suffix: str = "") -> tuple[str, int]:
        return (self._groups[suffix], next(self._numbers))

    def _payloads(self, tasks: Sequence[_Task]) -> list[bytes]:
        return [pickle.dumps(task.items) for task in tasks]

    def _watch_tasks(self, futures: Sequence[Any], tasks: Sequence[_Task]) -> None:
        self._running.update(zip(futures, tasks, strict=True))
        for future in futures:
            future.add_done_callback(self._done.put)

    def _next_done(self) -> tuple[list[tuple[_Task, Any]], list[_Task]]:
        """Wait for at least one task. Meanwhile check that there are workers.

        Returns:
            Finished tasks with their futures, and tasks to submit again. A final error is raised.
        """
        futures: list[Any] = []
        while not futures:
            with suppress(queue.Empty):
                futures.append(self._done.get(timeout=DONE_POLL_SECONDS))
            self._watch.update()
        futures += [self._done.get() for _ in range(self._done.qsize())]
        finished, again = [], []
        for future in futures:
            task = self._running.pop(future)
            if self._is_to_retry(task, future):
                again.append(self._retry(task, str(future.exception())))
                continue
            if future.status != "finished":
                self.gather([future])
            finished.append((task, future))
        return finished, again

    @staticmethod
    def _is_to_retry(task: _Task, future: Any) -> bool:
        """Return whether a task failed and may succeed; Dask itself retries merges, which have no items."""
        if future.status != "error" or task.attempt >= RETRIES or not task.items:
            return False
        return not isinstance(future.exception(), KilledWorker | DataError)

    def _retry(self, task: _Task, error: str) -> _Task:
        self.retries += 1
        item = shorten(str(task.items[0]), MAX_LOGGED_CHARACTERS, placeholder=" ...")
        log.warning("%s of %s failed (%s); attempt %d", self._name, item, error, task.attempt + 2)
        return _Task(task.items, task.attempt + 1)

    def gather(self, futures: Sequence[Any]) -> list[Any]:
        """Return the results of finished tasks, or raise the error of one; the client alone would wait a minute."""
        gather = partial(self._client.gather, asynchronous=True)
        while futures:
            self._wait_for_results(futures)
            try:
                results: list[Any] = self._client.sync(gather, list(futures), callback_timeout=POLL_TIMEOUT_SECONDS)
                return results
            except TimeoutError:
                connected = self._client.status == "running"
                if not connected or any(future.status not in _UNFINISHED | {"finished"} for future in futures):
                    raise
        return []

    def _wait_for_results(self, futures: Sequence[Any]) -> None:
        """Wait for tasks that run, or run again because a worker died with their results."""
        while self._client.status == "running" and any(future.status in _UNFINISHED for future in futures):
            self._watch.update()
            time.sleep(0.01)

    def _cancel(self) -> None:
        """Cancel the tasks that are left when a stage ends early."""
        if self._running:
            with suppress(Exception):  # an unreachable scheduler has nothing to cancel
                self._client.cancel(list(self._running), force=True)
