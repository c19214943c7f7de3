"""Executor on a Dask cluster.

The scheduler holds a bounded number of tasks. Reductions form a tree on the workers. The client receives a small result
per block and one merged state.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial, reduce
from itertools import chain, islice
from types import TracebackType
from typing import Any, Self, TypeVar

import dask
import distributed
from distributed.comm.core import CommClosedError, FatalCommClosedError
from distributed.scheduler import KilledWorker

from masksift.core.errors import DataError, RunFailed, UsageError
from masksift.core.retry import RetryPolicy
from masksift.core.versions import package_versions
from masksift.runtime.executors.base import (
    FAN_IN,
    ITEMS_PER_REDUCTION,
    ClusterInfo,
    Notify,
    WorkerInfo,
    ignore_notification,
    split_items,
)
from masksift.runtime.executors.dask_clusters import ClusterProvider, without_credentials

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 3
"""Retries of a task that raised an error."""
TASKS_PER_THREAD = 3
"""Tasks per worker thread that the scheduler holds: one runs, the next is already on the worker. Threads that a cluster
may grow by count too: adaptive scaling (Dask's, and the Kubernetes operator's) requests as many workers as five seconds
of the scheduler's tasks keep busy, and does not see tasks that wait in the client."""
THREAD_COUNT_AGE_SECONDS = 2.0
"""Time for which the number of worker threads is cached: clusters grow and shrink."""
POLL_TIMEOUT_SECONDS = 5.0
"""Time to wait for an answer before the connection to the scheduler is checked."""
OUTAGE_TIMEOUT_SECONDS = 600.0
"""Time without a worker after which a run ends, by default."""
OUTAGE_LOG_SECONDS = 60.0
"""Time between two messages that no worker is connected."""
_UNFINISHED = {"pending", "lost"}
"""States of a task whose result is not there; lost: there is no worker yet to compute it again."""
_CONNECTION_ERRORS = (distributed.CancelledError, distributed.client.FutureCancelledError, CommClosedError)
"""Errors that the client raises when the scheduler is gone, sometimes before it notices so itself."""

log = logging.getLogger(__name__)


@dataclass
class _Outage:
    """Time without any worker, on the monotonic clock in seconds, and the last report."""

    since: float
    none_pending_since: float
    reported_at: float = -math.inf
    reported_pending: bool = False


class DaskExecutor:
    """Run items on the workers of a Dask cluster.

    Args:
        provider: Opens and closes the cluster.
        timeout: Seconds to wait for the first worker, by default the provider's, and later for one if all are gone.
        notify: Receives messages about the cluster.
    """

    def __init__(
        self, provider: ClusterProvider, *, timeout: float | None = None, notify: Notify = ignore_notification
    ) -> None:
        self._provider, self._timeout, self._notify = provider, timeout or provider.startup_timeout, notify
        self._client: distributed.Client | None = None
        self._cluster: ClusterInfo | None = None
        self._settings: dask.config.set | None = None
        self._threads, self._expected_threads, self._counted_at = 0, 0, 0.0
        self._outage_timeout = timeout or max(provider.startup_timeout, OUTAGE_TIMEOUT_SECONDS)
        self._outage: _Outage | None = None
        self.retries = 0

    def __enter__(self) -> Self:
        # Unreachable peers are given up after seconds, by the client and by the workers, which inherit these settings.
        self._settings = dask.config.set(
            {
                "distributed.comm.retry.count": 2,
                "distributed.comm.timeouts.connect": "10s",
            }
        )
        # Errors of the client are raised as one message; its loggers would print a traceback before, and so would the
        # logger of the event loop if a cluster class cannot submit a job.
        for name in ("distributed.client", "distributed.utils_comm", "distributed.batched", "tornado.application"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        logging.getLogger("asyncio").addFilter(_is_no_abandoned_gather)
        try:
            self._connect()
            self._wait_for_worker()
            self._cluster = self._read_cluster()
        except BaseException:  # including Ctrl-C
            self.__exit__(None, None, None)
            raise
        self._notify(self._cluster.text, **asdict(self._cluster))
        return self

    def _connect(self) -> None:
        """Connect to the scheduler. A forwarded port or a load balancer may accept connections before it is up."""
        target = self._provider.open()

        def connect() -> distributed.Client:
            return distributed.Client(target, timeout=self._timeout, set_as_default=False)

        def is_transient(error: Exception) -> bool:
            return isinstance(error, CommClosedError) and not isinstance(error, FatalCommClosedError)

        policy = RetryPolicy(is_transient, max_attempts=math.inf, deadline_seconds=self._timeout)
        try:
            self._client = policy.call(connect, self._provider.name)
        except (OSError, TimeoutError, ValueError, RuntimeError, TypeError) as e:
            place = self._provider.name if self._provider.name.startswith("of ") else f"at {self._provider.name}"
            raise UsageError(
                f"No scheduler {place} answered within {self._timeout:.0f} s ({e})",
                "Start one (`dask scheduler`, `dask worker ADDRESS`), or correct --executor dask:tls://HOST:8786. With "
                "TLS, the scheduler closes connections without a certificate of its CA",
            ) from e

    def _wait_for_worker(self) -> None:
        end, notified = time.monotonic() + self._timeout, False
        while (left := end - time.monotonic()) > 0:
            self._provider.renew(0)
            with suppress(TimeoutError):
                self.client.wait_for_workers(1, timeout=min(POLL_TIMEOUT_SECONDS, left))
                self._provider.renew(1)
                return
            if not notified and left > POLL_TIMEOUT_SECONDS:
                self._notify(f"waiting for the first worker {self._of_cluster}, up to {self._timeout:.0f} s")
                notified = True
        raise RunFailed(
            f"No worker {self._of_cluster} has connected to the scheduler within {self._timeout:.0f} s",
            self._provider.diagnose(),
        )

    @property
    def _of_cluster(self) -> str:
        return self._provider.name if self._provider.name.startswith("of ") else f"of {self._provider.name}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._client is not None:
                self._client.close(timeout=10)
        finally:
            self._provider.close()
            if self._settings is not None:
                self._settings.__exit__(None, None, None)

    @property
    def client(self) -> distributed.Client:
        """Connection to the cluster."""
        assert self._client is not None, "use the executor inside its with-block"
        return self._client

    @property
    def cluster(self) -> ClusterInfo:
        """State of the cluster when the executor was opened."""
        assert self._cluster is not None, "use the executor inside its with-block"
        return self._cluster

    def _read_cluster(self) -> ClusterInfo:
        with self._translate_errors():
            workers = list(self.client.scheduler_info(n_workers=-1)["workers"].values())
            scheduler: Any = self.client.scheduler
            limits = [worker["memory_limit"] for worker in workers]
            return ClusterInfo(
                self._provider.kind,
                len(workers),
                sum(worker["nthreads"] for worker in workers),
                sum(limits) if all(limits) else None,
                without_credentials(scheduler.address),
                self._provider.dashboard or self.client.dashboard_link,
            )

    def workers(self) -> list[WorkerInfo]:
        """Return the workers that the scheduler knows, with memory limits and package versions."""
        with self._translate_errors():
            versions = self.client.run(package_versions, on_error="return")
            workers = self.client.scheduler_info(n_workers=-1)["workers"]
        infos = []
        for address, worker in workers.items():
            version = versions.get(address)
            if isinstance(version, BaseException):
                version = {"masksift": f"none ({type(version).__name__}: {version})"}
            infos.append(WorkerInfo(str(address), worker.get("memory_limit") or None, version or {}))
        return infos

    def map(self, function: Callable[[Item], Result], items: Sequence[Item], stage: str) -> Iterator[Result]:
        """Yield the results in the order in which they finish."""
        with self._translate_errors():
            for futures in self._submit_window(function, items, stage):
                yield from self._gather(futures)

    def reduce(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        merge: Callable[[Result, Result], Result],
        stage: str,
    ) -> Result:
        """Merge all results in a tree on the workers."""
        with self._translate_errors():
            slices = split_items(items, ITEMS_PER_REDUCTION)
            futures = list(chain.from_iterable(self._submit_window(partial(_fold, function, merge), slices, stage)))
            while len(futures) > 1:
                futures = [self._submit_merge(merge, inputs, stage) for inputs in split_items(futures, FAN_IN)]
        merged: Result = self._gather(futures)[0]
        return merged

    def _submit_merge(self, merge: Callable[[Result, Result], Result], inputs: Sequence[Any], stage: str) -> Any:
        key = f"{stage}-merge-{uuid.uuid4().hex}"
        return self.client.submit(reduce, merge, list(inputs), key=key, retries=RETRIES, pure=False)

    def _submit_window(self, function: Callable[[Item], Any], items: Iterable[Item], stage: str) -> Iterator[list[Any]]:
        """Yield lists of finished futures, with a bounded number of tasks at the scheduler.

        An item whose task raised an error is submitted again, up to `RETRIES` times. Requests to the scheduler cover
        several tasks wherever possible: with hundreds of workers its answers are the bottleneck of a run.
        """
        waiting = iter(enumerate(items))
        running: dict[Any, tuple[Item, int]] = {}
        done = distributed.as_completed(loop=self.client.loop, raise_errors=False)

        def submit(named_items: Sequence[tuple[str, Item]], attempt: int) -> None:
            keys = [f"{stage}-{name}-{uuid.uuid4().hex}" for name, _ in named_items]
            futures = self.client.map(function, [item for _, item in named_items], key=keys, pure=False)
            running.update({future: (item, attempt) for future, (_, item) in zip(futures, named_items, strict=True)})
            done.update(futures)

        def fill() -> None:
            self._count_threads()
            free = TASKS_PER_THREAD * max(1, self._threads, self._expected_threads) - len(running)
            if following := [(str(number), item) for number, item in islice(waiting, max(0, free))]:
                submit(following, 0)

        try:
            fill()
            while running:
                finished = []
                for future in self._next_done(done):
                    item, attempt = running.pop(future)
                    final = future.status == "error" and isinstance(future.exception(), KilledWorker | DataError)
                    if future.status == "error" and attempt < RETRIES and not final:
                        self.retries += 1
                        log.warning("%s of %s failed (%s); attempt %d", stage, item, future.exception(), attempt + 2)
                        submit([(f"again{attempt + 1}", item)], attempt + 1)
                        continue
                    if future.status != "finished":
                        self._gather([future])
                    finished.append(future)
                fill()
                yield finished
        finally:
            if running:
                with suppress(Exception):  # an unreachable scheduler has nothing to cancel
                    self.client.cancel(list(running), force=True)

    def _next_done(self, done: Any) -> list[Any]:
        """Wait for at least one finished future. Meanwhile check that there are workers."""
        while not (futures := done.next_batch(block=False)):
            self._count_threads()
            with done.thread_condition:
                if done.queue.empty():  # no future has finished since
                    done.thread_condition.wait(timeout=0.1)
        finished: list[Any] = futures
        return finished

    def _count_threads(self) -> None:
        """Update the number of worker threads now and expected; a scheduler that does not answer is not waited for."""
        now = time.monotonic()
        if self._counted_at and now - self._counted_at <= THREAD_COUNT_AGE_SECONDS:
            return
        self._counted_at = now
        scheduler: Any = self.client.scheduler
        with suppress(TimeoutError):
            identity = self.client.sync(scheduler.identity, n_workers=0, callback_timeout=POLL_TIMEOUT_SECONDS)
            self._threads = identity["total_threads"]
            per_worker = -(-self._threads // identity["n_workers"]) if identity["n_workers"] else 1
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
            self._notify(f"workers {self._of_cluster} are back: {workers}", workers=workers)

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
                f"No worker {self._of_cluster} has been connected for {now - outage.since:.0f} s, and none is pending",
                "Finished blocks are kept",
                self._provider.diagnose(),
                "Run the same command again",
            )
        if now - outage.reported_at < OUTAGE_LOG_SECONDS and bool(pending) == outage.reported_pending:
            return
        outage.reported_at, outage.reported_pending = now, bool(pending)
        duration = f" for {now - outage.since:.0f} s" if now > outage.since else ""
        waiting = f"waiting for {pending}" if pending else f"none is pending; waiting up to {left:.0f} s for one"
        self._notify(f"no worker {self._of_cluster} is connected{duration}; {waiting}", workers=0)

    def _gather(self, futures: Sequence[Any]) -> list[Any]:
        """Return the results of finished tasks, or raise the error of one; the client alone would wait a minute."""
        gather = partial(self.client.gather, asynchronous=True)
        with self._translate_errors():
            while True:
                self._wait_for_results(futures)
                try:
                    results: list[Any] = self.client.sync(gather, list(futures), callback_timeout=POLL_TIMEOUT_SECONDS)
                    return results
                except TimeoutError:
                    connected = self.client.status == "running"
                    if not connected or any(future.status not in _UNFINISHED | {"finished"} for future in futures):
                        raise

    def _wait_for_results(self, futures: Sequence[Any]) -> None:
        """Wait for tasks that run, or run again because a worker died with their results."""
        while self.client.status == "running" and any(future.status in _UNFINISHED for future in futures):
            self._count_threads()
            time.sleep(0.01)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn errors of the cluster into RunFailed; errors of tasks pass through."""
        try:
            yield
        except KilledWorker as e:
            raise RunFailed(
                f"A task killed every worker that ran it ({e.task})",
                "Finished blocks are kept",
                "Check the workers' logs (usually out of memory), raise --executor.memory and run the same command "
                "again",
            ) from e
        except RunFailed:
            raise
        except Exception as e:
            comm = self.client.scheduler_comm
            unreachable = self.client.status != "running" or comm is None or comm.comm.closed()
            if not (unreachable or isinstance(e, _CONNECTION_ERRORS)):
                raise
            raise RunFailed(
                f"The connection to the scheduler {self._provider.name} was lost ({e!r})",
                "Finished blocks are kept",
                "Check that the scheduler is up and run the same command again",
            ) from e


def _is_no_abandoned_gather(record: logging.LogRecord) -> bool:
    """Drop the traceback of a `gather` that was given up because its results were lost with their worker."""
    return not (record.exc_info and isinstance(record.exc_info[1], distributed.client.AllExit))


def _fold(
    function: Callable[[Item], Result], merge: Callable[[Result, Result], Result], items: Sequence[Item]
) -> Result:
    return reduce(merge, map(function, items))
