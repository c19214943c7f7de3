"""Prometheus metrics of the tasks, in the registry that Dask's own `/metrics` of each worker serves.

They are counted where a task runs. What an earlier attempt has done counts as a reused block and as nothing else: sums
over the workers are what this attempt has done. No label holds a run, a source or a block: their values would never
end. Those are in the log.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import version
from typing import Any

from masksift.core.status import STATUSES
from masksift.core.task_result import TaskResult

SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Buckets of a task's time. A task lasts seconds by plan; one of minutes says that something is slow."""
_MAPPED = ("condense", "score")
"""The stages whose images are those of the data set, each once."""


class Metrics:
    """All of them. Those of the mapped stages begin at 0: a counter that appears with its first value has no rate."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        def of_stage(name: str, text: str, *more: str) -> Counter:
            return Counter(f"masksift_{name}", text, ("stage", *more))

        self.images = of_stage("images", "Images done, by what was found of them", "status")
        self.blocks = of_stage("blocks", "Blocks done")
        self.reused = of_stage("blocks_reused", "Blocks that an earlier attempt had done")
        self.failures = of_stage("task_failures", "Tasks that raised, each attempt once", "error")
        self.told = {
            "bytes_read": of_stage("read_bytes", "Bytes read from stores, as they are stored"),
            "bytes_written": of_stage("written_bytes", "Bytes written to stores, as they are stored"),
            "requests": of_stage("store_requests", "Objects, or parts of them, asked of stores"),
            "puts": of_stage("store_puts", "Objects put into stores"),
            "repeated": of_stage("store_repeated", "Requests to stores that were made again after a fault"),
        }
        self.seconds = Histogram(
            "masksift_task_seconds", "Time inside a task that did its work", ("stage",), buckets=SECONDS
        )
        Gauge("masksift_build_info", "The version that runs here", ("version",)).labels(version("masksift")).set(1)
        self.limit = Gauge(
            "masksift_worker_memory_limit_bytes", "Memory that Dask lets this worker have, 0 without a limit"
        )
        for stage in _MAPPED:
            for counter in (self.blocks, self.reused, *self.told.values()):
                counter.labels(stage)
            for status in STATUSES:
                self.images.labels(stage, status)

    def add(self, stage: str, result: TaskResult) -> None:
        """One block."""
        if result.reused:
            self.reused.labels(stage).inc()
            return
        self.blocks.labels(stage).inc()
        for status, count in result.counts.items():
            self.images.labels(stage, status).inc(count)
        for name, counter in self.told.items():
            counter.labels(stage).inc(getattr(result, name))


def record_success(stage: str, result: TaskResult | None, seconds: float) -> None:
    """Count a task that answered; ``result``: None of one that is part of a reduction."""
    if (metrics := _metrics()) is not None:
        if result is not None:
            metrics.add(stage, result)
        if result is None or not result.reused:
            metrics.seconds.labels(stage).observe(seconds)


def record_failure(stage: str, error: Exception) -> None:
    """Count a task that raised."""
    if (metrics := _metrics()) is not None:
        metrics.failures.labels(stage, type(error).__name__).inc()


def dask_setup(worker: Any) -> None:
    """Let a worker that preloads this module (`distributed.worker.preload`) serve all of them from its start."""
    if (metrics := _metrics()) is not None:
        metrics.limit.set(worker.memory_manager.memory_limit or 0)


def _metrics() -> Metrics | None:
    """None where nobody would serve them: a Dask worker has imported the client library where it is installed."""
    return _made() if "prometheus_client" in sys.modules else None


@cache
def _made() -> Metrics:
    return Metrics()
