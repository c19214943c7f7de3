"""Progress output: a bar per stage on a terminal, lines elsewhere, or JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from masksift.core import signals
from masksift.core.errors import MasksiftError
from masksift.core.task_result import TaskResult
from masksift.runtime.executors.base import Executor
from masksift.runtime.telemetry.logs import current_log_fields
from masksift.runtime.telemetry.tracing import stage_span

_LINE_INTERVAL_SECONDS = 5.0
_NOTEBOOK_INTERVAL_SECONDS = 0.2


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    return "ipykernel" in sys.modules


def is_interactive() -> bool:
    """Return whether a person watches standard error: on a terminal or in a notebook."""
    return in_notebook() or sys.stderr.isatty()


class HasTaskResult(Protocol):
    """Answer of a task that carries more than its counters."""

    @property
    def task_result(self) -> TaskResult:
        """Counters of the task."""


Task = TypeVar("Task")
Answer = TypeVar("Answer", bound=TaskResult | HasTaskResult)


class StageProgress:
    """Progress of one stage: images and bytes done since its start."""

    def __init__(self, reporter: ProgressReporter, name: str, images: int) -> None:
        self.name, self.images = name, images
        self.done = self.bytes = self.quarantined = self.reused = 0
        self._reporter = reporter
        self._started = time.monotonic()

    def advance(self, result: TaskResult) -> None:
        """Count one finished block."""
        self.done += result.images
        self.quarantined += result.quarantined
        self.reused += result.images if result.reused else 0
        self.bytes += 0 if result.reused else result.bytes_read + result.bytes_written
        self._reporter.show(self)

    def map_tasks(
        self,
        executor: Executor,
        function: Callable[[Task], Answer | MasksiftError],
        tasks: Sequence[Task],
        name: str | None = None,
        *,
        needs_resources: bool = False,
    ) -> Iterator[Answer]:
        """Run tasks of the stage, or of a step of it, and yield their answers. Raises the first error one returns."""
        for answer in executor.map(function, tasks, name or self.name, needs_resources=needs_resources):
            if isinstance(answer, MasksiftError):
                raise answer
            self.advance(answer if isinstance(answer, TaskResult) else answer.task_result)
            yield answer
            signals.raise_if_interrupted()

    @property
    def seconds(self) -> float:
        """Time since the stage began."""
        return time.monotonic() - self._started

    def fields(self) -> dict[str, Any]:
        """Return the progress as plain values. Reused blocks do not count in the rates."""
        computed = self.done - self.reused
        seconds = max(self.seconds, 1e-9)
        left = (self.images - self.done) * seconds / computed if computed else None
        return {
            "stage": self.name,
            "images": self.done,
            "of": self.images,
            "quarantined": self.quarantined,
            "done_before": self.reused,
            "images_per_second": round(computed / seconds, 1),
            "megabytes_per_second": round(self.bytes / seconds / 1e6, 1),
            "seconds": round(self.seconds, 1),
            "seconds_left": None if left is None else round(left, 1),
        }

    def format_line(self) -> str:
        """Format the progress as one line."""
        fields = self.fields()
        if not self.images:
            return f"{self.name:<10} {fields['seconds']} s"
        left = (
            "" if fields["seconds_left"] is None or self.done == self.images else f", {fields['seconds_left']} s left"
        )
        reused = f", {self.reused:,} done before" if self.reused else ""
        return (
            f"{self.name:<10} {self.done:,}/{self.images:,} images, {fields['images_per_second']:,} images/s, "
            f"{fields['megabytes_per_second']:,} MB/s, {self.quarantined:,} quarantined{reused}{left}"
        )


class ProgressReporter:
    """Report the stages of a run and messages between them.

    Args:
        form: "auto" for a bar on a terminal, a line that changes in a notebook and lines elsewhere, "json" for JSON
            lines, "quiet" for warnings only.
        file: Output; standard error by default.
    """

    def __init__(self, form: Literal["auto", "json", "quiet"] = "auto", file: TextIO | None = None) -> None:
        self._file = file or sys.stderr
        self._form: str = form
        if form == "auto" and self._file.isatty():
            self._form = "bar"
        elif form == "auto" and file is None and in_notebook():
            self._form = "notebook"
        self._bar: Progress | None = None
        self._last_line = 0.0

    def message(self, text: str, **fields: Any) -> None:
        """Write a message."""
        if self._form == "json":
            self._write_json({"event": "message", "message": text, **fields})
        elif self._bar is not None:  # print above the bar
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif self._form != "quiet":
            print(text, file=self._file, flush=True)

    def warn(self, text: str, **fields: Any) -> None:
        """Write a message that "quiet" does not suppress."""
        if self._form == "json":
            self._write_json({"event": "warning", "message": text, **fields})
        else:
            print(f"masksift: {text}", file=self._file, flush=True)

    @contextmanager
    def stage(self, name: str, images: int = 0) -> Iterator[StageProgress]:
        """Report a stage over a number of images."""
        stage = StageProgress(self, name, images)
        self._last_line = time.monotonic()
        if self._form == "bar":
            self._bar = Progress(
                TextColumn("{task.description:<10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(file=self._file),
                transient=True,
            )
            self._bar.add_task(name, total=images or None, rate="")
            self._bar.start()
        elif self._form == "json":
            self._write_json({"event": "begin", **stage.fields()})
        try:
            with stage_span(name):
                yield stage
        finally:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
        self._write_stage(stage, "end")

    def show(self, stage: StageProgress) -> None:
        """Update the bar, or write a line if the last one is old enough. The end of a stage has its own line."""
        if self._bar is not None:
            fields = stage.fields()
            rate = f"{fields['images_per_second']:,} images/s {fields['megabytes_per_second']:,} MB/s"
            quarantined = f", {stage.quarantined:,} quarantined" if stage.quarantined else ""
            self._bar.update(self._bar.task_ids[0], completed=stage.done, rate=rate + quarantined)
            return
        interval = _NOTEBOOK_INTERVAL_SECONDS if self._form == "notebook" else _LINE_INTERVAL_SECONDS
        if stage.done < stage.images and time.monotonic() - self._last_line >= interval:
            self._last_line = time.monotonic()
            self._write_stage(stage, "progress")

    def _write_stage(self, stage: StageProgress, event: str) -> None:
        if self._form == "json":
            self._write_json({"event": event, **stage.fields()})
        elif self._form == "notebook":  # a carriage return lets the next line replace this one
            print(f"\r{stage.format_line():<100}", end="\n" if event == "end" else "", file=self._file, flush=True)
        elif self._form != "quiet":
            print(stage.format_line(), file=self._file, flush=True)

    def _write_json(self, fields: dict[str, Any]) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        print(json.dumps({"time": stamp, **current_log_fields(), **fields}), file=self._file, flush=True)
