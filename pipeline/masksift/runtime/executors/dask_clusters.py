"""Providers of Dask clusters: started on this machine, already running, or created by a Dask cluster class.

A provider closes what it has opened, and nothing else.
"""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import FunctionType
from typing import Any, Protocol

import dask
import dask.utils
import distributed

from masksift.core.errors import UsageError
from masksift.runtime.executors.worker_supply import WorkerSupply

log = logging.getLogger(__name__)


class ClusterProvider(Protocol):
    """Source of a Dask cluster.

    Attributes:
        kind: Type of the cluster.
        name: Name for messages: "of DaskCluster x", or an address.
        max_workers: Workers that the cluster may grow to; None if its size is fixed.
        startup_timeout: Default of the seconds to wait for the first worker.
        dashboard: URL of the dashboard; None if Dask knows it.
    """

    kind: str
    name: str
    max_workers: int | None
    startup_timeout: float
    dashboard: str | None

    def open(self) -> Any:
        """Start the cluster; return its address or cluster object for a Dask client."""

    def renew(self, connected: int) -> str:
        """Request lost workers again; return a description of those that are pending, empty if none is known to be."""

    def limit(self, workers: int) -> None:
        """Shrink a cluster of the run's own to so many workers, if it has more."""

    def diagnose(self) -> str:
        """Return advice for the case that no worker has connected."""

    def close(self) -> None:
        """Stop what `open` started."""


def _lost_after() -> float:
    """Return the seconds after which a cluster gives up a lost worker: later than Dask, which closes its job."""
    return 1.1 * float(dask.utils.parse_timedelta(dask.config.get("distributed.deploy.lost-worker-timeout")))


def local_memory(workers: int | None) -> int:
    """Return the memory of each local worker in bytes: an even share of this machine or container."""
    return int(distributed.system.MEMORY_LIMIT) // _local_workers(workers)


def _local_workers(workers: int | None) -> int:
    return workers or len(os.sched_getaffinity(0))


class _IgnoreSigint(distributed.WorkerPlugin):
    """Ignore SIGINT in local workers.

    The terminal sends Ctrl-C to the whole process group, but only the client shuts workers down.
    """

    name = "ignore-sigint"

    def setup(self, worker: Any) -> None:
        """Set the handler when the worker starts."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class LocalClusterProvider:
    """A cluster of single-threaded processes on this machine.

    Args:
        workers: Number of processes; by default one per core.
        memory: Bytes of each; by default an even share.
    """

    kind, name, startup_timeout = "local", "of the local cluster", 60.0
    max_workers: int | None = None
    dashboard: str | None = None

    def __init__(self, workers: int | None, memory: int | None) -> None:
        self._workers, self._memory = _local_workers(workers), memory
        self._cluster: distributed.LocalCluster | None = None
        self._settings: dask.config.set | None = None
        self._supply: WorkerSupply | None = None

    def open(self) -> distributed.LocalCluster:
        """Start the processes."""
        # Restarted workers do not inherit `silence_logs`, and tornado logs callbacks that Ctrl-C interrupts. Only here:
        # SSHCluster waits for messages of its workers.
        levels = {"distributed": "critical", "tornado.application": "critical"}
        self._settings = dask.config.set({"distributed.nanny.pre-spawn-environ.DASK_LOGGING": str(levels)})
        self._cluster = distributed.LocalCluster(
            n_workers=self._workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=self._memory or "auto",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
            plugins=[_IgnoreSigint()],
        )
        self._supply = WorkerSupply(self._cluster, self._workers, _lost_after())
        return self._cluster

    def renew(self, connected: int) -> str:
        """Start processes again that ended and were not restarted."""
        assert self._supply is not None, "the cluster is open"
        return self._supply.renew(connected)

    def limit(self, workers: int) -> None:
        """Do nothing: idle processes of this machine cost nothing, and a later stage may use them."""

    def diagnose(self) -> str:
        """Return advice: local processes start within seconds unless the machine is overloaded."""
        return "Check that this machine has free memory and processes, or raise --executor.timeout"

    def close(self) -> None:
        """Stop the processes."""
        if self._supply is not None:
            self._supply.close()
        if self._cluster is not None:
            try:
                self._cluster.close(timeout=10)
            except Exception as e:  # a worker that is restarting; the outcome of the run is already reported
                log.debug("Error while closing the local cluster: %r", e)
        if self._settings is not None:
            self._settings.__exit__(None, None, None)


class ExistingClusterProvider:
    """A running cluster at the address of its scheduler, which may grow to ``max_workers``."""

    kind, startup_timeout = "dask", 60.0
    dashboard: str | None = None

    def __init__(self, address: str, max_workers: int | None) -> None:
        self.name, self._address = without_credentials(address), address
        self.max_workers: int | None = max_workers

    def open(self) -> str:
        """Return the address, after a check of the TLS certificates that it needs."""
        require_certificates(self._address)
        return self._address

    def renew(self, connected: int) -> str:
        """Return nothing: the owner of the cluster replaces its workers."""
        return ""

    def limit(self, workers: int) -> None:
        """Do nothing: the workers are not the run's own."""

    def diagnose(self) -> str:
        """Return advice: only the address of the cluster is known."""
        return "Start workers (`dask worker ADDRESS`), or raise --executor.timeout"

    def close(self) -> None:
        """Leave the cluster running."""


class CustomClusterProvider:
    """A cluster created by a Dask cluster class.

    Args:
        path: Path of the class, such as `dask_jobqueue.SLURMCluster`.
        options: Its keyword arguments.
        workers: Number of workers to request.
    """

    startup_timeout = 600.0
    dashboard: str | None = None

    def __init__(self, path: str, options: Mapping[str, Any], workers: int) -> None:
        self.kind, self.name = path, f"of {path}"
        self._workers = workers
        self.max_workers: int | None = workers
        self._options = options
        self._cluster: Any = None
        self._supply: WorkerSupply | None = None

    def open(self) -> Any:
        """Create the cluster and request its workers."""
        create = self._load()
        try:
            self._cluster = create(**self._options)
            self._require_methods(self._cluster)
            self._supply = WorkerSupply(self._cluster, self._workers, _lost_after())
        except UsageError:
            raise
        except Exception as e:  # classes raise errors of any type
            raise UsageError(
                f"Cannot create {self.kind} ({type(e).__name__}: {' '.join(str(e).split())})",
                "Check executor.options (its keyword arguments) and what the class depends on",
            ) from e
        return self._cluster

    def _load(self) -> Any:
        """Import the class, or a function that returns a cluster, such as `distributed.SSHCluster`."""
        module, _, name = self.kind.rpartition(".")
        try:
            with _preserve_signal_handlers():
                create = getattr(import_module(module), name)
        except (ImportError, AttributeError) as e:
            raise UsageError(
                f"executor.kind is {self.kind!r}, but this class is not installed ({e})",
                "Install its package next to masksift (dask-jobqueue, dask-gateway, ...), or correct the name",
            ) from e
        if not isinstance(create, FunctionType):
            self._require_methods(create)
        return create

    def _require_methods(self, cluster: Any) -> None:
        missing = [method for method in ("scale", "close") if not callable(getattr(cluster, method, None))]
        if missing:
            raise UsageError(
                f"executor.kind is {self.kind!r}, which is not a Dask cluster class "
                f"(it has no {' and no '.join(missing)})",
                "Use a class such as dask_jobqueue.SLURMCluster, or one of auto, serial, local, dask, kubernetes",
            )

    def renew(self, connected: int) -> str:
        """Request lost workers again; return a description of pending jobs."""
        assert self._supply is not None, "the cluster is open"
        return self._supply.renew(connected)

    def limit(self, workers: int) -> None:
        """Close workers beyond so many, with their jobs or machines."""
        if workers < self._workers:
            assert self._supply is not None, "the cluster is open"
            self._workers = self.max_workers = workers
            self._supply.limit(workers)

    def diagnose(self) -> str:
        """Return advice with the error of the last request: only the queue knows what became of the jobs."""
        problem = self._supply.problem if self._supply is not None else ""
        return (f"The last request of a worker failed ({problem}). " if problem else "") + (
            "Check the queue and the logs of the jobs (partition, account, network from the jobs to this process), "
            "or raise --executor.timeout if they wait longer"
        )

    def close(self) -> None:
        """Stop the cluster with its workers."""
        if self._supply is not None:
            self._supply.close()
        if self._cluster is not None:
            try:
                self._cluster.close()
            except Exception as e:  # the outcome of the run is already reported
                log.warning("Error while closing %s: %r", self.kind, e)


@contextmanager
def _preserve_signal_handlers() -> Iterator[None]:
    """Restore signal handlers: the import of dask_jobqueue lets Ctrl-C end a process with exit code 0."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def without_credentials(address: str) -> str:
    """Remove user and password from an address: `gateway://user:secret@host/x` becomes `gateway://host/x`."""
    return re.sub(r"//[^/]*@", "//", address)


def require_certificates(address: str) -> None:
    """Check that Dask's configuration has readable TLS certificates if the address needs them.

    Without them the client would print a traceback, or wait in vain.

    Args:
        address: Address of a scheduler.

    Raises:
        UsageError: The address starts with `tls://`, and a certificate is not configured or not readable.
    """
    if not address.startswith("tls://"):
        return
    keys = [f"distributed.comm.tls.{name}" for name in ("ca-file", "client.cert", "client.key")]
    files = {key: dask.config.get(key, None) for key in keys}
    missing = [key for key in keys[:2] if files[key] is None]
    configured = [(key, value) for key, value in files.items() if value is not None and "\n" not in value]
    unreadable = [f"{key} ({value})" for key, value in configured if not os.access(value, os.R_OK)]
    if missing or unreadable:
        problem = f"{' and '.join(missing)} not set" if missing else f"{' and '.join(unreadable)} not readable"
        raise UsageError(
            f"{without_credentials(address)} requires TLS, but {problem}",
            "Set the certificates in Dask's configuration: a YAML file named by DASK_CONFIG, or the variables "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ...__CLIENT__CERT and ...__CLIENT__KEY",
        )
