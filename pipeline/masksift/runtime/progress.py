"""What a run says while it runs: a live bar a stage on a terminal, plain lines elsewhere, JSON lines for machines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from masksift.core.task_result import TaskResult
from masksift.runtime.telemetry import logs
from masksift.runtime.telemetry import tracing as spans

_EVERY = 5.0


class StageProgress:
    """One stage as it goes on: images and bytes done, and since when."""

    def __init__(self, reporter: ProgressReporter, name: str, images: int) -> None:
        self.name, self.images = name, images
        self.done = self.bytes = self.quarantined = self.reused = 0
        self._reporter = reporter
        self._started = time.monotonic()

    def advance(self, result: TaskResult) -> None:
        """Count one block."""
        self.done += result.images
        self.quarantined += result.quarantined
        self.reused += result.images if result.reused else 0
        self.bytes += 0 if result.reused else result.bytes_read + result.bytes_written
        self._reporter.show(self)

    @property
    def seconds(self) -> float:
        """Since the stage began."""
        return time.monotonic() - self._started

    def fields(self) -> dict[str, Any]:
        """The stage as plain values. Blocks that were done before do not count in the rates."""
        fresh = self.done - self.reused
        seconds = max(self.seconds, 1e-9)
        left = (self.images - self.done) * seconds / fresh if fresh else None
        return {
            "stage": self.name,
            "images": self.done,
            "of": self.images,
            "quarantined": self.quarantined,
            "done_before": self.reused,
            "images_per_second": round(fresh / seconds, 1),
            "megabytes_per_second": round(self.bytes / seconds / 1e6, 1),
            "seconds": round(self.seconds, 1),
            "seconds_left": None if left is None else round(left, 1),
        }

    def format_line(self) -> str:
        """The stage as one line."""
        facts = self.fields()
        if not self.images:
            return f"{self.name:<10} {facts['seconds']} s"
        left = "" if facts["seconds_left"] is None or self.done == self.images else f", {facts['seconds_left']} s left"
        before = f", {self.reused:,} done before" if self.reused else ""
        return (
            f"{self.name:<10} {self.done:,}/{self.images:,} images, {facts['images_per_second']:,} images/s, "
            f"{facts['megabytes_per_second']:,} MB/s, {self.quarantined:,} quarantined{before}{left}"
        )


class ProgressReporter:
    """Reports the stages of a run. ``form``: `auto` (a bar on a terminal, else lines), `json`, or `quiet`."""

    def __init__(self, form: Literal["auto", "json", "quiet"] = "auto", file: TextIO | None = None) -> None:
        self._file = file or sys.stderr
        self._form = "bar" if form == "auto" and self._file.isatty() else form
        self._bar: Progress | None = None
        self._last = 0.0

    def message(self, text: str, **facts: Any) -> None:
        """One message between the stages."""
        if self._form == "json":
            self._write({"event": "message", "message": text, **facts})
        elif self._bar is not None:  # above it, and not through it
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif self._form != "quiet":
            print(text, file=self._file, flush=True)

    def warn(self, text: str, **facts: Any) -> None:
        """What whoever started the command must know at its end, however little they want to hear of its progress."""
        if self._form == "json":
            self._write({"event": "warning", "message": text, **facts})
        else:
            print(f"masksift: {text}", file=self._file, flush=True)

    @contextmanager
    def stage(self, name: str, images: int = 0) -> Iterator[StageProgress]:
        """A stage over so many images, from its beginning to its end."""
        stage = StageProgress(self, name, images)
        self._last = time.monotonic()
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
            self._write({"event": "begin", **stage.fields()})
        try:
            with spans.stage_span(name):
                yield stage
        finally:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
        self._end(stage)

    def _end(self, stage: StageProgress) -> None:
        if self._form == "json":
            self._write({"event": "end", **stage.fields()})
        elif self._form != "quiet":
            print(stage.format_line(), file=self._file, flush=True)

    def show(self, stage: StageProgress) -> None:
        """Show how far a stage has come."""
        if self._bar is not None:
            facts = stage.fields()
            rate = f"{facts['images_per_second']:,} images/s {facts['megabytes_per_second']:,} MB/s"
            bad = f", {stage.quarantined:,} quarantined" if stage.quarantined else ""
            self._bar.update(self._bar.task_ids[0], completed=stage.done, rate=rate + bad)
        elif stage.done < stage.images and time.monotonic() - self._last >= _EVERY:  # at its end the stage has a line
            self._last = time.monotonic()
            if self._form == "json":
                self._write({"event": "progress", **stage.fields()})
            elif self._form != "quiet":
                print(stage.format_line(), file=self._file, flush=True)

    def _write(self, facts: dict[str, Any]) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        print(json.dumps({"time": stamp, **logs.current_log_fields(), **facts}), file=self._file, flush=True)
