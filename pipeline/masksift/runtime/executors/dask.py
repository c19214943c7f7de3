"""Executor on a Dask cluster.

The scheduler holds a bounded number of tasks. Reductions form a tree on the workers. The client receives a small result
per block and one merged state.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self, TypeVar

import dask
import distributed
from dask.base import get_annotations
from distributed.comm.core import CommClosedError, FatalCommClosedError
from distributed.scheduler import KilledWorker

from masksift.core.errors import RunFailed, UsageError
from masksift.core.retry import RetryPolicy
from masksift.core.versions import package_versions
from masksift.runtime.executors.base import ClusterInfo, Notify, WorkerInfo, ignore_notification
from masksift.runtime.executors.dask_clusters import ClusterProvider, without_credentials
from masksift.runtime.executors.dask_stage import DaskStage
from masksift.runtime.executors.worker_watch import (
    OUTAGE_TIMEOUT_SECONDS,
    POLL_TIMEOUT_SECONDS,
    WorkerWatch,
    of_cluster,
)

Item = TypeVar("Item")
Result = TypeVar("Result")

SPAN = "masksift"
"""Span of all tasks of an executor, the parent of the spans of its stages."""
_CONNECTION_ERRORS = (distributed.CancelledError, distributed.client.FutureCancelledError, CommClosedError)
"""Errors that the client raises when the scheduler is gone, sometimes before it notices so itself."""

log = logging.getLogger(__name__)


class DaskExecutor:
    """Run items on the workers of a Dask cluster.

    Args:
        provider: Opens and closes the cluster.
        timeout: Seconds to wait for the first worker, by default the provider's, and later for one if all are gone.
        priority: Dask priority of all tasks.
        resources: Worker resources of the tasks that need them, such as one ``GPU``.
        performance_report: HTML file for Dask's performance report, written at the end.
        notify: Receives messages about the cluster.
    """

    def __init__(
        self,
        provider: ClusterProvider,
        *,
        timeout: float | None = None,
        priority: int = 0,
        resources: Mapping[str, float] | None = None,
        performance_report: str | None = None,
        notify: Notify = ignore_notification,
    ) -> None:
        self._provider, self._timeout, self._notify = provider, timeout or provider.startup_timeout, notify
        self._outage_timeout = timeout or max(provider.startup_timeout, OUTAGE_TIMEOUT_SECONDS)
        self._priority, self._resources, self._report_file = priority, resources or {}, performance_report
        self._client: distributed.Client | None = None
        self._watch: WorkerWatch | None = None
        self._cluster: ClusterInfo | None = None
        self._cleanup = ExitStack()
        with distributed.span(SPAN):
            self._annotations = get_annotations()
        self.retries = 0

    def __enter__(self) -> Self:
        # Unreachable peers are given up after seconds, by the client and by the workers, which inherit these settings.
        settings = {"distributed.comm.retry.count": 2, "distributed.comm.timeouts.connect": "10s"}
        self._cleanup.enter_context(dask.config.set(settings))
        self._cleanup.callback(self._provider.close)
        # Errors of the client are raised as one message; its loggers would print a traceback before, and so would the
        # logger of the event loop if a cluster class cannot submit a job.
        for name in ("distributed.client", "distributed.utils_comm", "distributed.batched", "tornado.application"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        logging.getLogger("asyncio").addFilter(_is_no_abandoned_gather)
        try:
            self._connect()
            self._wait_for_worker()
            self._cluster = self._read_cluster()
            if self._report_file is not None:
                self._cleanup.enter_context(self._write_performance_report(self._report_file))
        except BaseException:  # including Ctrl-C
            self.release()
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
            self._client = client = policy.call(connect, self._provider.name)
        except (OSError, TimeoutError, ValueError, RuntimeError, TypeError) as e:
            name = self._provider.name
            place = name if name.startswith("of ") else f"at {name}"
            raise UsageError(
                f"No scheduler {place} answered within {self._timeout:.0f} s ({e})",
                "Start one (`dask scheduler`, `dask worker ADDRESS`), or correct --executor dask:tls://HOST:8786. With "
                "TLS, the scheduler closes connections without a certificate of its CA",
            ) from e
        self._cleanup.callback(client.close, timeout=10)
        self._watch = WorkerWatch(client, self._provider, self._outage_timeout, self._notify)

    def _wait_for_worker(self) -> None:
        end, notified = time.monotonic() + self._timeout, False
        while (left := end - time.monotonic()) > 0:
            self._provider.renew(0)
            with suppress(TimeoutError):
                self.client.wait_for_workers(1, timeout=min(POLL_TIMEOUT_SECONDS, left))
                self._provider.renew(1)
                return
            if not notified and left > POLL_TIMEOUT_SECONDS:
                self._notify(f"waiting for the first worker {of_cluster(self._provider)}, up to {self._timeout:.0f} s")
                notified = True
        raise RunFailed(
            f"No worker {of_cluster(self._provider)} has connected to the scheduler within {self._timeout:.0f} s",
            self._provider.diagnose(),
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Close the connection, and a cluster of the run's own: no stage follows."""
        self._cleanup.close()

    def limit_workers(self, tasks: int) -> None:
        """Let a cluster of the run's own shrink to the workers that stages of so many tasks can use."""
        self._provider.limit(max(1, tasks))

    @contextmanager
    def _write_performance_report(self, path: str) -> Iterator[None]:
        """Collect Dask's performance report until the cluster is released, and write it."""
        if not self.client.run_on_scheduler(_has_bokeh):
            raise UsageError(
                "executor.performance_report requires bokeh on the scheduler, which is not installed there",
                "pip install bokeh, or omit --performance_report",
            )
        with self.client.as_current():
            report = distributed.performance_report(path)
            report.__enter__()
        try:
            yield
        finally:
            try:
                with self.client.as_current():
                    report.__exit__(None, None, None)
            except Exception as e:  # the outcome of the run does not depend on it
                self._notify(f"Dask's performance report {path} could not be written ({type(e).__name__}: {e})")

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

    def map(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        stage: str,
        *,
        needs_resources: bool = False,
    ) -> Iterator[Result]:
        """Yield the results in the order in which they finish."""
        with self._translate_errors(), self._stage(stage, needs_resources=needs_resources) as tasks:
            for results in tasks.map(function, items):
                yield from results

    def reduce(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        merge: Callable[[Result, Result], Result],
        stage: str,
    ) -> Result:
        """Merge all results in a tree on the workers, as they finish."""
        with self._translate_errors(), self._stage(stage) as tasks:
            return tasks.reduce(function, items, merge)

    @contextmanager
    def _stage(self, name: str, *, needs_resources: bool = False) -> Iterator[DaskStage]:
        """Prepare a stage, and count its retries at its end."""
        assert self._watch is not None, "use the executor inside its with-block"
        options: dict[str, Any] = {"priority": self._priority}
        if needs_resources and self._resources:
            self._require_resources(name)
            options["resources"] = dict(self._resources)
        stage = DaskStage(self.client, self._watch, name, self._annotations, options)
        try:
            yield stage
        finally:
            self.retries += stage.retries

    def _require_resources(self, stage: str) -> None:
        """Refuse tasks that no worker takes: the scheduler would keep them forever."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        offers = [worker.get("resources", {}) for worker in workers]
        if any(all(offer.get(name, 0) >= amount for name, amount in self._resources.items()) for offer in offers):
            return
        required = ", ".join(f"{name} = {amount:g}" for name, amount in self._resources.items())
        raise UsageError(
            f"Tasks of stage {stage} require {required} (executor.resources), which no worker of "
            f"{self._provider.name.removeprefix('of ')} offers",
            f'Start workers with `dask worker ADDRESS --resources "{required.replace(" = ", "=").replace(",", "")}"`, '
            "or omit executor.resources",
        )

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


def _has_bokeh() -> bool:
    """Return whether this process can draw a performance report."""
    return find_spec("bokeh") is not None
