"""Keep a Dask cluster object at its number of workers.

Dask's `SpecCluster`, the base of most cluster classes, forgets a lost worker and starts another only when its size is
set again. It overlooks lost jobs with several workers, jobs that end before their worker connects and failed
submissions. For other classes only the size is set again.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import math
import time
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any

from masksift.core.errors import UsageError
from masksift.core.text import pluralize
from masksift.runtime.executors.job_queues import JobListing, list_jobs

MAX_DOUBLINGS = 6
"""Doublings of the time after which a worker that has not connected is requested again: jobs that fail at their start
must not flood the queue."""
_NOT_RUNNING = ("created", "closed", "failed")
"""States of an entry whose submission failed, or that has ended."""
CHECK_INTERVAL_SECONDS = 10.0
"""Time between two checks for lost workers, which ask the queue for its jobs if workers are absent."""


class WorkerSupply:
    """Request workers, and again those that are lost.

    An entry is an item of `SpecCluster.workers`: a job, process or machine with one or more workers.

    Args:
        cluster: Dask cluster object.
        workers: Number of workers. A cluster with a fixed list of hosts gets no more than it has.
        lost_after: Seconds after which an entry without a worker is given up.
    """

    def __init__(self, cluster: Any, workers: int, lost_after: float) -> None:
        self._cluster, self._lost_after = cluster, lost_after
        self._has_entries = hasattr(cluster, "worker_spec") and hasattr(cluster, "workers")
        is_fixed = self._has_entries and not cluster.new_spec
        self._workers = min(workers, len(cluster.worker_spec)) if is_fixed else workers
        self._had_workers = False
        self._connected: set[Any] = set()  # entries that had a worker
        self._absent_since: dict[Any, float] = {}
        self._attempts: Counter[Any] = Counter()  # requests of an entry since it last had a worker
        self._is_unnamed = False  # this class does not name its workers after their entries
        self._pending = self.problem = ""
        self._task: concurrent.futures.Future[None] | None = None
        self._checked_at = -math.inf

    def renew(self, connected: int) -> str:
        """Request workers, or later those that are lost. Returns at once.

        Args:
            connected: Number of connected workers.

        Returns:
            Description of the jobs that are pending in their queue; empty if none is known to be.

        Raises:
            UsageError: The cluster refused every worker from the start.
        """
        if connected and not self._had_workers:  # learn at once how this class names its workers
            self._had_workers = True
            self._checked_at = min(self._checked_at, time.monotonic() - CHECK_INTERVAL_SECONDS)
        if self.problem and self._has_entries and not self._had_workers and not self._is_any_running():
            raise UsageError(
                f"No worker could be requested ({self.problem})",
                "Check executor.options (keyword arguments of the cluster class) and the limits of the queue",
            )
        is_first, now = self._checked_at == -math.inf, time.monotonic()
        if now - self._checked_at < CHECK_INTERVAL_SECONDS or (self._task is not None and not self._task.done()):
            return self._pending
        self._checked_at = now
        if self._has_entries:
            check = self._request(()) if is_first else self._replace_lost()
            self._task = asyncio.run_coroutine_threadsafe(check, self._cluster.loop.asyncio_loop)
        elif is_first or connected < self._workers:
            self._scale()
        return self._pending

    def limit(self, workers: int) -> None:
        """Shrink the cluster to so many workers. An error is tried again with the next request."""
        self._workers = workers
        self._scale()

    def close(self) -> None:
        """Stop requesting workers."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            self._cluster.sync(asyncio.sleep, 0.01, callback_timeout=10)  # until the task has ended
            # errors of failed submissions refer to their jobs, and Dask's `close` fails if such a job still exists
            gc.collect()

    def _scale(self) -> None:
        self.problem = ""
        try:
            self._cluster.scale(self._workers)
        except Exception as e:  # a service that does not answer now may do so later
            self.problem = _one_line(e)

    def _is_any_running(self) -> bool:
        return any(_status(worker) not in _NOT_RUNNING for worker in list(self._cluster.workers.values()))

    async def _request(self, lost: Iterable[Any]) -> None:
        """Open an entry for each worker that has none, after those of lost workers are closed."""
        for key in lost:
            with suppress(Exception):  # a job, machine or connection that is gone
                await self._cluster.workers.pop(key).close()
            self._connected.discard(key)
            self._absent_since.pop(key, None)
            self._attempts[key] += 1
        self._scale()
        try:
            # `await cluster` would start failed entries again, and hide why they failed. Shielded: a job that is being
            # submitted when the run ends must be known to the cluster, which cancels it.
            await asyncio.shield(self._cluster._correct_state())
        except Exception as e:  # classes raise errors of any type
            self.problem = _one_line(e)

    async def _replace_lost(self) -> None:
        cluster = self._cluster
        observed = {str(name) for name in cluster.observed}
        absent = {key: entry for key, entry in cluster.workers.items() if not observed & self._names(key)}
        for key in cluster.workers.keys() - absent.keys():
            self._connected.add(key)
            self._attempts.pop(key, None)
        if observed:
            self._is_unnamed = len(absent) == len(cluster.workers)
        listing = await asyncio.to_thread(_list_jobs, list(absent.values())) if absent else None
        gone = {key for key, entry in absent.items() if self._is_gone(key, entry, listing, bool(observed))}
        now = time.monotonic()
        self._absent_since = {key: self._absent_since.get(key, now) for key in gone}
        lost = [key for key in gone if now - self._absent_since[key] >= self._patience(key)]
        waiting = [entry for key, entry in absent.items() if key not in gone]
        if lost or cluster.workers.keys() != cluster.worker_spec.keys() or len(cluster.plan) < self._workers:
            await self._request(lost)
            waiting += [entry for key, entry in cluster.workers.items() if key in lost or key not in absent]
            listing = await asyncio.to_thread(_list_jobs, waiting)
        self._pending = _describe_pending(waiting, listing)

    def _names(self, key: Any) -> set[str]:
        """Return the names of the workers of an entry."""
        suffixes = self._cluster.worker_spec.get(key, {}).get("group", ("",))
        return {f"{key}{suffix}" for suffix in suffixes}

    def _is_gone(self, key: Any, entry: Any, listing: JobListing | None, any_observed: bool) -> bool:
        """Return whether an entry without a worker waits for none."""
        if _status(entry) in _NOT_RUNNING or key in self._connected:
            return True
        if self._is_unnamed:  # which entry has lost its worker is known only when all have
            return not any_observed
        job_id = getattr(entry, "job_id", None)
        return listing is not None and job_id is not None and listing.find(str(job_id)) is None

    def _patience(self, key: Any) -> float:
        return self._lost_after * 2.0 ** min(self._attempts[key], MAX_DOUBLINGS)


def _status(entry: Any) -> str:
    return str(getattr(getattr(entry, "status", None), "name", ""))


def _list_jobs(entries: Collection[Any]) -> JobListing | None:
    """List the jobs of the queue of these entries; None if they are no jobs, or their queue is unknown."""
    commands: set[str] = {entry.cancel_command for entry in entries if getattr(entry, "cancel_command", None)}
    return list_jobs(commands.pop()) if len(commands) == 1 else None


def _describe_pending(entries: Collection[Any], listing: JobListing | None) -> str:
    """Describe jobs that wait in their queue, with the queue's line of one of them."""
    if listing is None:
        return ""
    lines = [line for entry in entries if (line := listing.find(str(getattr(entry, "job_id", "")))) is not None]
    waiting = [line for line in lines if listing.is_waiting(line)]
    if not waiting:
        return ""
    return f"{pluralize(len(waiting), 'pending job')} ({listing.program}: {' '.join(waiting[0].split())})"


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]
