"""Skeleton of the resumable commands: plan, finished record, output lock, task loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any, TypeVar

from masksift.config.sections import ExecutorSection
from masksift.core.errors import MasksiftError
from masksift.core.limits import MAX_CONCURRENT_SOURCES
from masksift.engine.planning.memory import check_worker_memory
from masksift.runtime.executors import Executor
from masksift.runtime.progress import Answer, ProgressReporter, Task
from masksift.storage.lock import RunLock
from masksift.storage.manifest import LOCK, Manifest, PlanFile, make_job_plan
from masksift.storage.objects import ObjectDirectory

Item = TypeVar("Item")


def make_plan_record(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Add the version of masksift to everything else that determines the output of a command, and hash it."""
    return make_job_plan({"masksift": version("masksift"), **identity})


@dataclass(frozen=True)
class ResumableJob:
    """One command over one output directory; the same command continues where an earlier one stopped.

    Attributes:
        directory: Directory that holds the lock, the plan, the task outputs and the record.
        plan: ``fingerprint`` and ``identity`` (`make_plan_record`).
        record_name: File name of the record, which is written last.
        verb: Command as the user typed it, for messages.
        url: Output as the user typed it, for messages.
        progress: Reporter for messages and stages.
        plan_file: Place of the plan; ``manifest/plan.json`` by default.
        lock_name: Name of the lock object.
    """

    directory: ObjectDirectory
    plan: Mapping[str, Any]
    record_name: str
    verb: str
    url: str
    progress: ProgressReporter
    plan_file: PlanFile | None = None
    lock_name: str = LOCK

    @property
    def manifest(self) -> Manifest:
        """Manifest of the output directory."""
        return Manifest(self.directory, self.plan["fingerprint"], self.plan_file)

    @cached_property
    def is_resumable(self) -> bool:
        """Start of the same command in this directory before. Raises UsageError for other contents."""
        return self.manifest.is_resumable(self.plan, verb=self.verb)

    def finished_record(self, **expected: Any) -> dict[str, Any] | None:
        """Return the record of the same command if it finished with the expected values, with a message."""
        data = self.directory.read(self.record_name) if self.is_resumable else None
        record: dict[str, Any] | None = None if data is None else json.loads(data)
        if record is None or any(record[key] != value for key, value in expected.items()):
            return None
        self.progress.message(f"{self.url} is complete already: nothing to do")
        return record

    @contextmanager
    def open_executor(
        self, executor: ExecutorSection, tasks: int, memory_bytes: int, work_seconds: float, purpose: str
    ) -> Iterator[Executor]:
        """Open an executor, check the memory of its workers, then lock the output.

        The order matters: a command that is refused leaves no trace.

        Args:
            executor: Configuration of the executor.
            tasks: Largest number of tasks of a stage.
            memory_bytes: Memory that a worker needs at most, bytes.
            work_seconds: Estimated time of the work on one core.
            purpose: Work that needs the memory, for the message.

        Yields:
            The executor, while the output is locked.

        Raises:
            PlanRefused: A worker has less memory.
            UsageError: Another process works on the output.
        """
        with executor.open(tasks, work_seconds, self.progress.message) as opened:
            check_worker_memory(memory_bytes, [(w.name, w.memory) for w in opened.workers()], purpose)
            with self.lock():
                yield opened

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of the output and write the plan."""
        with RunLock(self.directory, self.progress.message, self.lock_name):
            self.manifest.write_plan(self.plan, verb=self.verb)
            yield

    def run_tasks(
        self,
        executor: Executor,
        function: Callable[[Task], Answer | MasksiftError],
        tasks: Sequence[Task],
        stage: str,
        images: int,
        *,
        needs_resources: bool = False,
    ) -> list[Answer]:
        """Run one stage and collect its answers. Raises the first error that a task returns."""
        with self.progress.stage(stage, images) as shown:
            return list(shown.map_tasks(executor, function, tasks, needs_resources=needs_resources))

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write the record, which marks the command as finished."""
        self.directory.write(self.record_name, json.dumps(record, indent=2).encode())


def for_each_source(function: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Call a function for every source, some at a time: each call waits for requests to a store."""
    with ThreadPoolExecutor(MAX_CONCURRENT_SOURCES, thread_name_prefix="prepare") as pool:
        list(pool.map(function, items))
