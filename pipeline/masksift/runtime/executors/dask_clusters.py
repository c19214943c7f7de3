"""Where a run finds its Dask workers: a cluster that it starts on this machine, one that somebody else runs, one that
it opens through a class of the user's choice. What a place opens, it closes, and nothing else."""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Protocol

import dask
import distributed

from masksift.core.errors import UsageError

log = logging.getLogger(__name__)


class ClusterProvider(Protocol):
    """Where the workers are.

    ``name`` ends sentences such as "the scheduler ...". ``wanted``: workers there may be in the end, None where it is
    those there are. ``patience``: seconds in which the first worker should have come, where nothing else is told.
    ``dashboard``: its URL, None where Dask's own idea of it is right.
    """

    kind: str
    name: str
    max_workers: int | None
    startup_timeout: float
    dashboard: str | None

    def open(self) -> Any:
        """Start what is to be started; what a Dask client connects to: an address, or a cluster."""

    def diagnose(self) -> str:
        """What is known of why no worker has come, and what to do about it."""

    def close(self) -> None:
        """End what `open` started."""


def local_memory(workers: int | None) -> int:
    """Bytes that each of `workers` embedded workers gets: an even share of what this machine or container has."""
    return int(distributed.system.MEMORY_LIMIT) // _processes(workers)


def _processes(workers: int | None) -> int:
    return workers or len(os.sched_getaffinity(0))


class _IgnoreSigint(distributed.WorkerPlugin):
    """A terminal sends Ctrl-C to the embedded workers too. Whether they end is for the client to say."""

    name = "deaf"

    def setup(self, worker: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class LocalClusterProvider:
    """A cluster of this machine and this run: ``workers`` processes of one thread, by default one a core, with
    ``memory`` bytes each, by default an even share."""

    kind, name, startup_timeout = "local", "of the embedded cluster", 60.0
    max_workers: int | None = None
    dashboard: str | None = None

    def __init__(self, workers: int | None, memory: int | None) -> None:
        self._workers, self._memory = _processes(workers), memory
        self._cluster: distributed.LocalCluster | None = None

    def open(self) -> distributed.LocalCluster:
        """The cluster, started."""
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
        return self._cluster

    def diagnose(self) -> str:
        """Processes of this machine start within seconds, or it is overloaded."""
        return "See that this machine has memory and processes left, or give more --executor.timeout"

    def close(self) -> None:
        """End its processes."""
        if self._cluster is not None:
            try:
                self._cluster.close(timeout=10)
            except Exception as e:  # a worker that is just being started anew; how the run ended is told already
                log.debug("closing the embedded cluster: %r", e)


class ExistingClusterProvider:
    """A cluster that somebody else runs, by the address of its scheduler. It may grow to ``most`` workers."""

    kind, startup_timeout = "dask", 60.0
    dashboard: str | None = None

    def __init__(self, address: str, most: int | None) -> None:
        self.name, self._address = without_credentials(address), address
        self.max_workers: int | None = most

    def open(self) -> str:
        """Its address. Raises UsageError where it asks for certificates and there are none."""
        require_certificates(self._address)
        return self._address

    def diagnose(self) -> str:
        """Nothing is known of it but its address."""
        return "Start workers (`dask worker ADDRESS`), or give more --executor.timeout where they take that long"

    def close(self) -> None:
        """It goes on without this run."""


class CustomClusterProvider:
    """A cluster that is opened through the class at ``path``, such as ``dask_jobqueue.SLURMCluster``, with ``options``
    as its keyword arguments, and asked for ``wanted`` workers."""

    startup_timeout = 600.0
    dashboard: str | None = None

    def __init__(self, path: str, options: Mapping[str, Any], wanted: int) -> None:
        self.kind, self.name = path, f"of {path}"
        self.max_workers: int | None = wanted
        self._options = options
        self._cluster: Any = None

    def open(self) -> Any:
        """The cluster, asked for its workers. Raises UsageError where there is no such class or it refuses."""
        opens = self._class()
        try:
            self._cluster = opens(**self._options)
            self._cluster.scale(self.max_workers)
        except Exception as e:  # whatever a class of somebody else raises
            raise UsageError(
                f"{self.kind} cannot be opened ({type(e).__name__}: {' '.join(str(e).split())})",
                "nothing was run",
                "Mend executor.options (its keyword arguments) or what it depends on",
            ) from e
        return self._cluster

    def _class(self) -> Any:
        module, _, name = self.kind.rpartition(".")
        try:
            with _signals_kept():
                found = getattr(import_module(module), name)
        except (ImportError, AttributeError) as e:
            raise UsageError(
                f"executor.kind is {self.kind!r}, and there is no such class here ({e})",
                "nothing was run",
                "Install its package beside masksift (dask-jobqueue, dask-gateway, ...), or mend the name",
            ) from e
        missing = [verb for verb in ("scale", "close") if not callable(getattr(found, verb, None))]
        if missing or not isinstance(found, type):
            raise UsageError(
                f"executor.kind is {self.kind!r}, which has no {' and no '.join(missing) or 'instances'}",
                "it cannot be a class of Dask clusters",
                "Give one, such as dask_jobqueue.SLURMCluster, or one of serial, local, dask, kubernetes",
            )
        return found

    def diagnose(self) -> str:
        """What became of the jobs is known to the queue alone."""
        return (
            "See its queue and the logs of its jobs (partition, account, network from them to this process), "
            "or give more --executor.timeout where they wait that long"
        )

    def close(self) -> None:
        """End it, with its workers."""
        if self._cluster is not None:
            try:
                self._cluster.close()
            except Exception as e:  # how the run ended is told already
                log.warning("closing %s: %r", self.kind, e)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """What signals do stays as it is: dask_jobqueue, when imported, lets Ctrl-C end a process with exit code 0."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def without_credentials(address: str) -> str:
    """An address without what may stand before its host.

    >>> without_credentials("gateway://user:secret@host:8786/name")
    'gateway://host:8786/name'
    """
    return re.sub(r"//[^/]*@", "//", address)


def require_certificates(address: str) -> None:
    """Raises UsageError where an address asks for TLS and Dask's configuration has no certificates to show, or they are
    not there: the client would say so in a traceback, or wait in vain."""
    if not address.startswith("tls://"):
        return
    keys = {name: f"distributed.comm.tls.{name}" for name in ("ca-file", "client.cert", "client.key")}
    told = {name: dask.config.get(key, None) for name, key in keys.items()}
    absent = [keys[name] for name in ("ca-file", "client.cert") if told[name] is None]
    files = [(keys[name], value) for name, value in told.items() if value is not None and "\n" not in value]
    lost = [f"{key} ({value})" for key, value in files if not os.access(value, os.R_OK)]
    if absent or lost:
        fact = f"{' and '.join(absent)} not set" if absent else f"{' and '.join(lost)} cannot be read"
        raise UsageError(
            f"{without_credentials(address)} asks for TLS, and {fact}",
            "neither side would know the other",
            "Give the certificates in Dask's configuration (a YAML file that DASK_CONFIG names, or in the environment "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ...__CLIENT__CERT and ...__CLIENT__KEY)",
        )
