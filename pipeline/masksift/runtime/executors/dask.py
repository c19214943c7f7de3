"""Blocks on a Dask cluster, wherever it is (`clusters`).

The scheduler holds a bounded window of tasks, never the whole job; merges form a tree on the workers; what comes
back to the client is one result per block and one merged state.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial, reduce
from itertools import chain, islice
from types import TracebackType
from typing import Any, Self, TypeVar

import dask
import distributed
from distributed.comm.core import CommClosedError, FatalCommClosedError
from distributed.scheduler import KilledWorker

from masksift.core.errors import RunFailed, UsageError
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
"""Times that a task is run again after it raised, before the run gives up."""
WINDOW = 3
"""Tasks a worker thread that the scheduler holds at a time: one runs, the next is on the worker already. Threads that
a cluster may grow by count too: Dask's adaptive scaling, and with it the Kubernetes operator's, asks for as many
workers as what the scheduler holds keeps busy for five seconds, and what waits here it cannot see."""
SIZE_AGE = 2.0
"""Seconds for which the number of worker threads is taken as known: clusters grow and shrink."""
POLL_TIMEOUT_SECONDS = 5.0
"""Seconds to wait for an answer before asking whether the scheduler is still there."""
NO_WORKER_LOG_SECONDS = 60.0
"""Seconds from one line to the next about workers that are all gone."""
_LOST = (distributed.CancelledError, distributed.client.FutureCancelledError, CommClosedError)
"""What the client raises when the scheduler is gone, sometimes before it knows so itself."""

log = logging.getLogger(__name__)


class DaskExecutor:
    """Runs items on the Dask workers of a place, which it opens and closes. ``timeout``: seconds to wait for the first
    of them, by default as long as the place is told to take; ``say``: tells the user of the cluster."""

    def __init__(
        self, place: ClusterProvider, *, timeout: float | None = None, notify: Notify = ignore_notification
    ) -> None:
        self._place, self._timeout, self._notify = place, timeout or place.startup_timeout, notify
        self._client: distributed.Client | None = None
        self._cluster: ClusterInfo | None = None
        self._settings: dask.config.set | None = None
        self._threads, self._wanted, self._counted = 0, 0, 0.0
        self._alone_since: float | None = None
        self._said = 0.0
        self.retries = 0

    def __enter__(self) -> Self:
        # Whoever is gone is given up after seconds: by the client, and by the workers, which inherit these settings.
        self._settings = dask.config.set(
            {
                "distributed.comm.retry.count": 2,
                "distributed.comm.timeouts.connect": "10s",
                # workers that are started anew forget what `silence_logs` told the first ones
                "distributed.nanny.pre-spawn-environ.DASK_LOGGING": "{'distributed': 'critical'}",
            }
        )
        # What the client meets is raised as one error; its own account of it would be a traceback printed before that.
        for part in ("client", "utils_comm", "batched"):
            logging.getLogger(f"distributed.{part}").setLevel(logging.CRITICAL)
        try:
            self._connect()
            self._wait_for_a_worker()
            self._cluster = self._look()
        except BaseException:  # Ctrl-C too: what is opened is closed
            self.__exit__(None, None, None)
            raise
        self._notify(self._cluster.text, **asdict(self._cluster))
        return self

    def _connect(self) -> None:
        """Raises UsageError where there is nobody."""
        where, end = self._place.open(), time.monotonic() + self._timeout
        try:
            while self._client is None:
                try:
                    self._client = distributed.Client(where, timeout=self._timeout, set_as_default=False)
                except FatalCommClosedError:
                    raise
                except CommClosedError:  # a forwarded port, or a load balancer, before there is a scheduler behind it
                    if time.monotonic() >= end:
                        raise
                    time.sleep(0.5)
        except (OSError, TimeoutError, ValueError, RuntimeError, TypeError) as e:
            at = "" if self._place.name.startswith("of ") else "at "
            raise UsageError(
                f"no scheduler {at}{self._place.name} answered within {self._timeout:.0f} s ({e})",
                "nothing was run",
                "Start one (`dask scheduler`, `dask worker ADDRESS`), or give its address as --executor "
                "dask:tls://HOST:8786; one with TLS hangs up on whoever shows no certificate of its CA",
            ) from e

    def _wait_for_a_worker(self) -> None:
        """Raises RunFailed where none comes: the same command may find one later."""
        try:
            try:
                self.client.wait_for_workers(1, timeout=min(POLL_TIMEOUT_SECONDS, self._timeout))
            except TimeoutError:
                if self._timeout <= POLL_TIMEOUT_SECONDS:
                    raise
                self._notify(f"waiting for the first worker {self._of()}, up to {self._timeout:.0f} s")
                self.client.wait_for_workers(1, timeout=self._timeout - POLL_TIMEOUT_SECONDS)
        except TimeoutError as e:
            raise RunFailed(
                f"the scheduler {self._place.name} answers, and no worker has come to it within {self._timeout:.0f} s",
                "nothing was run",
                self._place.diagnose(),
            ) from e

    def _of(self) -> str:
        return self._place.name if self._place.name.startswith("of ") else f"of {self._place.name}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._client is not None:
                self._client.close(timeout=10)
        finally:
            self._place.close()
            if self._settings is not None:
                self._settings.__exit__(None, None, None)

    @property
    def client(self) -> distributed.Client:
        """The connection to the cluster."""
        assert self._client is not None, "an executor is used inside its with-block"
        return self._client

    @property
    def cluster(self) -> ClusterInfo:
        """What it runs on, as it was when it began."""
        assert self._cluster is not None, "an executor is used inside its with-block"
        return self._cluster

    def _look(self) -> ClusterInfo:
        """The cluster as it is now."""
        with self._explained():
            known = list(self.client.scheduler_info(n_workers=-1)["workers"].values())
            scheduler: Any = self.client.scheduler
            limits = [worker["memory_limit"] for worker in known]
            return ClusterInfo(
                self._place.kind,
                len(known),
                sum(worker["nthreads"] for worker in known),
                sum(limits) if all(limits) else None,
                without_credentials(scheduler.address),
                self._place.dashboard or self.client.dashboard_link,
            )

    def workers(self) -> list[WorkerInfo]:
        """The workers that the scheduler knows, with their memory limits and versions."""
        with self._explained():
            answers = self.client.run(package_versions, on_error="return")
            known = self.client.scheduler_info(n_workers=-1)["workers"]
        found = []
        for address, facts in known.items():
            answer = answers.get(address)
            if isinstance(answer, BaseException):
                answer = {"masksift": f"none ({type(answer).__name__}: {answer})"}
            found.append(WorkerInfo(str(address), facts.get("memory_limit") or None, answer or {}))
        return found

    def map(self, function: Callable[[Item], Result], items: Sequence[Item], stage: str) -> Iterator[Result]:
        """The results, in the order in which they are done."""
        with self._explained():
            for futures in self._window(function, items, stage):
                yield from self._results(futures)

    def reduce(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        merge: Callable[[Result, Result], Result],
        stage: str,
    ) -> Result:
        """All results merged in a tree on the workers; one of them comes back."""
        with self._explained():
            fold = partial(_fold, function, merge)
            futures = list(chain.from_iterable(self._window(fold, split_items(items, ITEMS_PER_REDUCTION), stage)))
            while len(futures) > 1:
                futures = [self._merge(merge, group, stage) for group in split_items(futures, FAN_IN)]
        merged: Result = self._results(futures)[0]
        return merged

    def _merge(self, merge: Callable[[Result, Result], Result], group: Sequence[Any], stage: str) -> Any:
        key = f"{stage}-merge-{uuid.uuid4().hex}"
        return self.client.submit(_merge_all, merge, list(group), key=key, retries=RETRIES, pure=False)

    def _window(self, function: Callable[[Item], Any], items: Iterable[Item], stage: str) -> Iterator[list[Any]]:
        """Futures as they finish, those that are done together at once, with a bounded number of tasks at the
        scheduler. An item whose task raised is submitted again, `RETRIES` times. Nothing is asked of the scheduler for
        one task alone where there are more: before hundreds of workers its answers are what a run waits for."""
        waiting = iter(enumerate(items))
        running: dict[Any, tuple[Item, int]] = {}
        done = distributed.as_completed(loop=self.client.loop, raise_errors=False)

        def submit(these: Sequence[tuple[str, Item]], attempt: int) -> None:
            keys = [f"{stage}-{name}-{uuid.uuid4().hex}" for name, _ in these]
            futures = self.client.map(function, [item for _, item in these], key=keys, pure=False)
            running.update({future: (item, attempt) for future, (_, item) in zip(futures, these, strict=True)})
            done.update(futures)

        def fill() -> None:
            self._count_threads()
            free = WINDOW * max(1, self._threads, self._wanted) - len(running)
            if following := [(str(number), item) for number, item in islice(waiting, max(0, free))]:
                submit(following, 0)

        try:
            fill()
            while running:
                finished = []
                for future in self._next(done):
                    item, attempt = running.pop(future)
                    killed = future.status == "error" and isinstance(future.exception(), KilledWorker)
                    if future.status == "error" and attempt < RETRIES and not killed:
                        self.retries += 1
                        log.warning("%s of %s failed (%s); attempt %d", stage, item, future.exception(), attempt + 2)
                        submit([(f"again{attempt + 1}", item)], attempt + 1)
                        continue
                    if future.status != "finished":
                        self._results([future])
                    finished.append(future)
                fill()
                yield finished
        finally:
            if running:
                with suppress(Exception):  # a scheduler that cannot be reached has nothing to cancel
                    self.client.cancel(list(running), force=True)

    def _next(self, done: Any) -> list[Any]:
        """Futures that are done, at least one. While there is none, somebody looks whether there are workers at all."""
        while not (batch := done.next_batch(block=False)):
            self._count_threads()
            with done.thread_condition:
                if done.queue.empty():  # else one was done since
                    done.thread_condition.wait(timeout=0.1)
        found: list[Any] = batch
        return found

    def _count_threads(self) -> None:
        """Bring up to date how many worker threads the scheduler knows, and how many there may be in the end. One that
        does not answer at once is not waited for."""
        now = time.monotonic()
        if self._counted and now - self._counted <= SIZE_AGE:
            return
        self._counted = now
        scheduler: Any = self.client.scheduler
        with suppress(TimeoutError):
            facts = self.client.sync(scheduler.identity, n_workers=0, callback_timeout=POLL_TIMEOUT_SECONDS)
            self._threads = facts["total_threads"]
            a_worker = -(-self._threads // facts["n_workers"]) if facts["n_workers"] else 1
            self._wanted = a_worker * (self._place.max_workers or 0)
            self._tell_of_workers(facts["n_workers"], now)

    def _tell_of_workers(self, workers: int, now: float) -> None:
        """Say when the last worker has gone, again from time to time, and when there are some again. A cluster of spot
        machines may have none for minutes: a run waits for the next ones, and must not look as if it hung."""
        if workers:
            if self._alone_since is not None:
                self._notify(f"workers {self._of()} are there again: {workers}", workers=workers)
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = self._said = now
            self._notify(f"no worker {self._of()} is left; waiting for one", workers=0)
        elif now - self._said >= NO_WORKER_LOG_SECONDS:
            self._said = now
            self._notify(f"no worker {self._of()} has come for {now - self._alone_since:.0f} s; waiting", workers=0)

    def _results(self, futures: Sequence[Any]) -> list[Any]:
        """What finished tasks answered, or what one of them raised. The client would wait a minute for a scheduler that
        is gone."""
        gather = partial(self.client.gather, asynchronous=True)
        with self._explained():
            while True:
                try:
                    answers: list[Any] = self.client.sync(gather, list(futures), callback_timeout=POLL_TIMEOUT_SECONDS)
                    return answers
                except TimeoutError:
                    # pending: a worker died with what it answered, and another one makes it again
                    alive = self.client.status == "running"
                    self._count_threads()
                    if not alive or any(future.status not in ("finished", "pending") for future in futures):
                        raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What the cluster itself raises, as a sentence; what a task raised passes through as it is."""
        try:
            yield
        except KilledWorker as e:
            raise RunFailed(
                f"a task killed every worker that ran it ({e.task})",
                "the run cannot go on; what is done is kept",
                "See the workers' logs (out of memory, as a rule), give them more --executor.memory and run the same "
                "command again",
            ) from e
        except RunFailed:
            raise
        except Exception as e:
            comm = self.client.scheduler_comm
            unreachable = self.client.status != "running" or comm is None or comm.comm.closed()
            if not (unreachable or isinstance(e, _LOST)):
                raise
            raise RunFailed(
                f"the connection to the scheduler {self._place.name} was lost ({e!r})",
                "the run cannot go on; what is done is kept",
                "See that the scheduler is up and run the same command again",
            ) from e


def _fold(
    function: Callable[[Item], Result], merge: Callable[[Result, Result], Result], items: Sequence[Item]
) -> Result:
    return reduce(merge, (function(item) for item in items))


def _merge_all(merge: Callable[[Result, Result], Result], results: Sequence[Result]) -> Result:
    return reduce(merge, results)
