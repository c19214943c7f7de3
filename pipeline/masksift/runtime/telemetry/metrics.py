"""Prometheus metrics of tasks, in the registry that Dask serves at `/metrics` of each worker.

Tasks count where they run. A block that an earlier attempt finished counts as reused only, so that sums over the
workers are the work of this attempt. Runs, sources and blocks are not labels, because their number is unbounded; they
are in the log.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from masksift.core.status import STATUSES
from masksift.core.task_result import TaskResult

_BUCKETS_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Histogram buckets of the task time. Plans aim at seconds per task; minutes indicate a problem."""
_IMAGE_STAGES = ("condense", "score")
"""Stages that process every image once."""


class Metrics:
    """All metrics. Counters of the image stages start at 0: one that appears with its first value has no rate."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"masksift_{name}", text, ("stage", *labels))

        self.images = counter("images", "Images processed, by status", "status")
        self.blocks = counter("blocks", "Blocks processed")
        self.reused = counter("blocks_reused", "Blocks reused from an earlier attempt")
        self.failures = counter("task_failures", "Task attempts that raised an error", "error")
        self.io = {
            "bytes_read": counter("read_bytes", "Bytes read from stores, as stored"),
            "bytes_written": counter("written_bytes", "Bytes written to stores, as stored"),
            "requests": counter("store_requests", "Read requests to stores"),
            "puts": counter("store_puts", "Write requests to stores"),
            "repeated": counter("store_repeated", "Retries of failed store requests"),
        }
        self.seconds = Histogram(
            "masksift_task_seconds", "Run time of tasks that were not reused", ("stage",), buckets=_BUCKETS_SECONDS
        )
        from importlib.metadata import version

        Gauge("masksift_build_info", "Version of masksift", ("version",)).labels(version("masksift")).set(1)
        self.limit = Gauge(
            "masksift_worker_memory_limit_bytes", "Memory limit of this worker in bytes, 0 without a limit"
        )
        for stage in _IMAGE_STAGES:
            for metric in (self.blocks, self.reused, *self.io.values()):
                metric.labels(stage)
            for status in STATUSES:
                self.images.labels(stage, status)

    def add(self, stage: str, result: TaskResult) -> None:
        """Count one block."""
        if result.reused:
            self.reused.labels(stage).inc()
            return
        self.blocks.labels(stage).inc()
        for status, count in result.counts.items():
            self.images.labels(stage, status).inc(count)
        for name, metric in self.io.items():
            metric.labels(stage).inc(getattr(result, name))


def record_success(stage: str, result: TaskResult | None, seconds: float) -> None:
    """Count a finished task; the tasks of a reduction have no result."""
    if (metrics := _active_metrics()) is not None:
        if result is not None:
            metrics.add(stage, result)
        if result is None or not result.reused:
            metrics.seconds.labels(stage).observe(seconds)


def record_failure(stage: str, error: Exception) -> None:
    """Count a task that raised an error."""
    if (metrics := _active_metrics()) is not None:
        metrics.failures.labels(stage, type(error).__name__).inc()


def dask_setup(worker: Any) -> None:
    """Register all metrics when a worker preloads this module (`distributed.worker.preload`)."""
    if (metrics := _active_metrics()) is not None:
        metrics.limit.set(worker.memory_manager.memory_limit or 0)


def _active_metrics() -> Metrics | None:
    """Return the metrics if this process serves them: a Dask worker imports the client library if it is installed."""
    return _create_metrics() if "prometheus_client" in sys.modules else None


@cache
def _create_metrics() -> Metrics:
    return Metrics()
