"""Blocks on a Dask cluster: an embedded one, or one at an address. The only module that imports dask.

The scheduler holds a bounded window of tasks, never the whole job; merges form a tree on the workers; what comes
back to the client is a receipt a block and one merged state.
"""

from __future__ import annotations

import logging
import signal
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial, reduce
from itertools import chain, islice
from types import TracebackType
from typing import Any, Self, TypeVar

import dask
import distributed
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from masksift.errors import RunFailed, UsageError
from masksift.executors.base import BATCH, FAN_IN, Worker, batches
from masksift.versions import versions

__all__ = ["DistributedExecutor", "local_memory"]

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 3
"""Times that a task is run again after it raised, before the run gives up."""
WINDOW = 3
"""Tasks a worker thread that the scheduler holds at a time: one runs, the next is on the worker already."""
SIZE_AGE = 2.0
"""Seconds for which the number of worker threads is taken as known: clusters grow and shrink."""
PATIENCE = 5.0
"""Seconds to wait for an answer before asking whether the scheduler is still there."""
_LOST = (distributed.CancelledError, distributed.client.FutureCancelledError, CommClosedError)
"""What the client raises when the scheduler is gone, sometimes before it knows so itself."""

log = logging.getLogger(__name__)


def local_memory(workers: int) -> int:
    """Bytes that each of `workers` embedded workers gets: an even share of what this machine or container has."""
    return int(distributed.system.MEMORY_LIMIT) // workers


class _Deaf(distributed.WorkerPlugin):
    """A terminal sends Ctrl-C to the embedded workers too. Whether they end is for the client to say."""

    name = "deaf"

    def setup(self, worker: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class DistributedExecutor:
    """Runs items on Dask workers. Without an ``address`` it starts, and closes, a cluster of its own: ``workers``
    processes of one thread with ``memory`` bytes each. With one it connects, waits ``timeout`` seconds for the first
    worker, and closes only its connection."""

    def __init__(
        self,
        *,
        workers: int | None = None,
        memory: int | None = None,
        address: str | None = None,
        timeout: float = 60.0,
    ) -> None:
        self._workers, self._memory, self._address, self._timeout = workers, memory, address, timeout
        self._client: distributed.Client | None = None
        self._cluster: distributed.LocalCluster | None = None
        self._settings: dask.config.set | None = None
        self._threads, self._counted = 0, 0.0
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
        if self._address is None:
            self._cluster = distributed.LocalCluster(
                n_workers=self._workers, threads_per_worker=1, processes=True, memory_limit=self._memory or "auto",
                host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=logging.ERROR,
            )  # fmt: skip
            self._client = distributed.Client(self._cluster, set_as_default=False)
            self._client.register_plugin(_Deaf())
            return self
        try:
            self._client = distributed.Client(self._address, timeout=self._timeout, set_as_default=False)
            self._client.wait_for_workers(1, timeout=self._timeout)
        except (OSError, TimeoutError, ValueError) as e:
            self.__exit__(None, None, None)
            raise UsageError(
                f"no scheduler with a worker answered at {self._address} within {self._timeout:.0f} s ({e})",
                "nothing was run",
                "Start one (`dask scheduler`, `dask worker ADDRESS`) or give its --executor.address",
            ) from e
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close(timeout=10)
        if self._cluster is not None:
            try:
                self._cluster.close(timeout=10)
            except Exception as e:  # a worker that is just being started anew; how the run ended is told already
                log.debug("closing the embedded cluster: %r", e)
        if self._settings is not None:
            self._settings.__exit__(None, None, None)

    @property
    def client(self) -> distributed.Client:
        """The connection to the cluster."""
        assert self._client is not None, "an executor is used inside its with-block"
        return self._client

    def workers(self) -> list[Worker]:
        """The workers that the scheduler knows, with their memory limits and versions."""
        with self._explained():
            answers = self.client.run(versions, on_error="return")
            known = self.client.scheduler_info(n_workers=-1)["workers"]
        found = []
        for address, facts in known.items():
            answer = answers.get(address)
            if isinstance(answer, BaseException):
                answer = {"masksift": f"none ({type(answer).__name__}: {answer})"}
            found.append(Worker(str(address), facts.get("memory_limit") or None, answer or {}))
        return found

    def map(self, function: Callable[[Item], Result], items: Sequence[Item], stage: str) -> Iterator[Result]:
        """The results, in the order in which they are done."""
        with self._explained():
            for futures in self._window(function, items, stage):
                yield from self._results(futures)

    def reduce(
        self, function: Callable[[Item], Result], items: Sequence[Item], merge: Callable[[Result, Result], Result],
        stage: str,
    ) -> Result:  # fmt: skip
        """All results merged in a tree on the workers; one of them comes back."""
        with self._explained():
            fold = partial(_fold, function, merge)
            futures = list(chain.from_iterable(self._window(fold, batches(items, BATCH), stage)))
            while len(futures) > 1:
                futures = [self._merge(merge, group, stage) for group in batches(futures, FAN_IN)]
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
            free = WINDOW * self._count_threads() - len(running)
            if following := [(str(number), item) for number, item in islice(waiting, max(0, free))]:
                submit(following, 0)

        try:
            fill()
            while running:
                finished = []
                for future in done.next_batch():
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

    def _count_threads(self) -> int:
        """Worker threads that the scheduler knows, at least 1. One that does not answer at once is not waited for."""
        now = time.monotonic()
        if not self._counted or now - self._counted > SIZE_AGE:
            self._counted = now
            scheduler: Any = self.client.scheduler
            with suppress(TimeoutError):
                facts = self.client.sync(scheduler.identity, n_workers=0, callback_timeout=PATIENCE)
                self._threads = facts["total_threads"]
        return max(1, self._threads)

    def _results(self, futures: Sequence[Any]) -> list[Any]:
        """What finished tasks answered, or what one of them raised. The client would wait a minute for a scheduler that
        is gone."""
        gather = partial(self.client.gather, asynchronous=True)
        with self._explained():
            while True:
                try:
                    answers: list[Any] = self.client.sync(gather, list(futures), callback_timeout=PATIENCE)
                    return answers
                except TimeoutError:
                    # pending: a worker died with what it answered, and another one makes it again
                    alive = self.client.status == "running"
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
                f"the connection to the scheduler {self._address or 'of the embedded cluster'} was lost ({e!r})",
                "the run cannot go on; what is done is kept",
                "See that the scheduler is up and run the same command again",
            ) from e


def _fold(
    function: Callable[[Item], Result], merge: Callable[[Result, Result], Result], items: Sequence[Item]
) -> Result:
    return reduce(merge, (function(item) for item in items))


def _merge_all(merge: Callable[[Result, Result], Result], results: Sequence[Result]) -> Result:
    return reduce(merge, results)
