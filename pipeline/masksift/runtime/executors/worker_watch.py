"""Watch the workers of a cluster during a stage: count their threads, replace lost ones, report an outage."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from masksift.core.errors import RunFailed
from masksift.runtime.executors.base import Notify
from masksift.runtime.executors.dask_clusters import ClusterProvider

THREAD_COUNT_AGE_SECONDS = 2.0
"""Time for which the number of worker threads is cached: clusters grow and shrink."""
POLL_TIMEOUT_SECONDS = 5.0
"""Time to wait for an answer before the connection to the scheduler is checked."""
OUTAGE_TIMEOUT_SECONDS = 600.0
"""Time without a worker after which a run ends, by default."""
OUTAGE_LOG_SECONDS = 60.0
"""Time between two messages that no worker is connected."""


@dataclass
class _Outage:
    """Time without any worker, on the monotonic clock in seconds, and the last report."""

    since: float
    none_pending_since: float
    reported_at: float = -math.inf
    reported_pending: bool = False


class WorkerWatch:
    """Number of worker threads, kept up to date.

    Args:
        client: Client of the cluster.
        provider: Provider of the cluster.
        outage_timeout: Seconds without a worker, and without a pending one, after which the run ends.
        notify: Receives messages about the workers.
    """

    def __init__(self, client: Any, provider: ClusterProvider, outage_timeout: float, notify: Notify) -> None:
        self._client, self._provider, self._notify = client, provider, notify
        self._outage_timeout = outage_timeout
        self._present_threads, self._expected_threads, self._counted_at = 0, 0, 0.0
        self._outage: _Outage | None = None

    @property
    def threads(self) -> int:
        """Threads of all workers, now or once the cluster has grown; at least 1."""
        return max(1, self._present_threads, self._expected_threads)

    def update(self) -> None:
        """Count the threads again if the count is old; a scheduler that does not answer is not waited for.

        Raises:
            RunFailed: No worker has been connected for too long.
        """
        now = time.monotonic()
        if self._counted_at and now - self._counted_at <= THREAD_COUNT_AGE_SECONDS:
            return
        self._counted_at = now
        with suppress(TimeoutError):
            identity = self._client.sync(
                self._client.scheduler.identity, n_workers=0, callback_timeout=POLL_TIMEOUT_SECONDS
            )
            self._present_threads = identity["total_threads"]
            per_worker = -(-self._present_threads // identity["n_workers"]) if identity["n_workers"] else 1
            self._expected_threads = per_worker * (self._provider.max_workers or 0)
            self._watch_workers(identity["n_workers"], now)

    def _watch_workers(self, workers: int, now: float) -> None:
        """Request lost workers again, and report that all are gone or that some are back."""
        pending = self._provider.renew(workers)
        if not workers:
            self._outage = self._outage or _Outage(now, now)
            self._wait_out(self._outage, pending, now)
        elif self._outage is not None:
            self._outage = None
            self._notify(f"workers {of_cluster(self._provider)} are back: {workers}", workers=workers)

    def _wait_out(self, outage: _Outage, pending: str, now: float) -> None:
        """Report what the run waits for, again from time to time, or end it.

        A queue may let jobs wait for hours, and spot machines may be gone for minutes: the run must not look as if it
        hung. If nothing is pending, there may never be a worker.

        Raises:
            RunFailed: No worker has been connected, and none pending, for the timeout.
        """
        if pending:
            outage.none_pending_since = now
        left = outage.none_pending_since + self._outage_timeout - now
        if left <= 0:
            raise RunFailed(
                f"No worker {of_cluster(self._provider)} has been connected for {now - outage.since:.0f} s, and none "
                "is pending",
                "Finished blocks are kept",
                self._provider.diagnose(),
                "Run the same command again",
            )
        if now - outage.reported_at < OUTAGE_LOG_SECONDS and bool(pending) == outage.reported_pending:
            return
        outage.reported_at, outage.reported_pending = now, bool(pending)
        duration = f" for {now - outage.since:.0f} s" if now > outage.since else ""
        waiting = f"waiting for {pending}" if pending else f"none is pending; waiting up to {left:.0f} s for one"
        self._notify(f"no worker {of_cluster(self._provider)} is connected{duration}; {waiting}", workers=0)


def of_cluster(provider: ClusterProvider) -> str:
    """Return the cluster as part of a message: "of tcp://host:8786", "of dask_jobqueue.SLURMCluster"."""
    return provider.name if provider.name.startswith("of ") else f"of {provider.name}"
