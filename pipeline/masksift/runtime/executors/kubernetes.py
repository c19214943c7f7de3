"""A Dask cluster of one run's own on Kubernetes, through the Dask operator. The only module that imports kr8s.

The resource is made here and not by dask-kubernetes' own client, which speaks `tcp://` alone. Besides it nothing is
created, so that nothing else has to be deleted: what the pods mount (certificates, configuration, service account) is
there before.
"""

from __future__ import annotations

import importlib
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from masksift.core.errors import RunFailed, UsageError
from masksift.runtime.executors.base import Notify
from masksift.runtime.executors.dask_clusters import require_certificates
from masksift.runtime.executors.kubernetes_manifest import (
    CLUSTER_LABEL,
    COMPONENT_LABEL,
    comm_port,
    comm_protocol,
    read_manifest,
    render_manifest,
    scheduler_host,
)

POLL = 1.0
"""Seconds between two looks at the API server."""
TRIES = 3
"""Times that a cluster is asked to go, before the user is told how."""


class KubernetesClusterProvider:
    """The DaskCluster of the file ``manifest``, under a name of its own, with ``workers`` workers (None: as many as the
    manifest has), but not more than ``useful``. It is reached at ``address``, where that is given; from a pod by its
    service; from elsewhere by a port that the API server forwards."""

    kind, startup_timeout = "kubernetes", 600.0

    def __init__(
        self,
        manifest: str,
        workers: int | None,
        useful: int | None,
        *,
        address: str | None,
        timeout: float | None,
        notify: Notify,
    ) -> None:
        self._manifest = read_manifest(manifest)
        self._id = f"masksift-{uuid.uuid4().hex[:8]}"
        told = workers or int(self._manifest["spec"]["worker"].get("replicas", 1))
        self._workers = told if useful is None else min(told, useful)
        self.max_workers: int | None = self._workers
        self.name = f"of DaskCluster {self._id}"
        self.dashboard: str | None = None
        self._address, self._timeout, self._notify = address, timeout or self.startup_timeout, notify
        self._namespace = ""
        self._api: Any = None
        self._resource: Any = None
        self._forward: Any = None

    def open(self) -> str:
        """Create the cluster; the address of its scheduler, once it is up. Raises UsageError, RunFailed."""
        require_certificates(self._address or f"{comm_protocol(self._manifest)}://{self._id}-scheduler:8786")
        kr8s = _kr8s()
        try:
            # named, so that it is this process's choice and not one that kr8s remembers
            self._api = kr8s.api(kubeconfig=os.environ.get("KUBECONFIG"))
            self._namespace = self._manifest["metadata"].get("namespace") or self._api.namespace
            made = render_manifest(self._manifest, self._id, self._namespace, self._workers)
            self._resource = _daskcluster()(made, namespace=self._namespace, api=self._api)
            self._resource.create()
        except Exception as e:  # of the API server, of its transport, of the kubeconfig
            raise UsageError(
                f"the Kubernetes API server has not made DaskCluster {self._id} ({_said(e)})",
                "nothing was run",
                "See that kubectl reaches it, that the Dask operator is installed, and that you may create "
                f"daskclusters.kubernetes.dask.org in namespace {self._namespace or 'default'}",
            ) from e
        self.name = f"of DaskCluster {self._id} in namespace {self._namespace}"
        self.dashboard = f"http://{self._host}:8787/status"
        self._notify(
            f"made DaskCluster {self._id} in namespace {self._namespace}, workers: {self._workers}; waiting for its "
            f"scheduler, up to {self._timeout:.0f} s"
        )
        self._wait()
        return self._reached()

    @property
    def _host(self) -> str:
        return scheduler_host(self._id, self._namespace)

    def _wait(self) -> None:
        """Raises RunFailed where the scheduler does not come up."""
        end, phase = time.monotonic() + self._timeout, ""
        while time.monotonic() < end and phase != "Error":
            try:
                self._resource.refresh()
                phase = self._resource.raw.get("status", {}).get("phase", "")
                if phase == "Running" and (self._address or self._inside or self._pods(ready=True)):
                    return
            except Exception as e:  # an API server that is busy, or being replaced, answers later
                phase = f"unknown ({_said(e)})"
            time.sleep(POLL)
        said = f"its phase is {phase}" if phase else "the Dask operator has not taken it up (is it installed?)"
        raise RunFailed(
            f"DaskCluster {self._id} in namespace {self._namespace} has no scheduler after {self._timeout:.0f} s",
            f"{said}, nothing was run, and it is deleted",
            self.diagnose(),
        )

    @property
    def _inside(self) -> bool:
        """Whether this process is in a pod, where names of services are known."""
        return "KUBERNETES_SERVICE_HOST" in os.environ

    def _reached(self) -> str:
        if self._address:
            return self._address
        protocol = comm_protocol(self._manifest)
        port = comm_port(self._manifest)
        if self._inside:
            return f"{protocol}://{self._host}:{port}"
        self._forward = self._pods(ready=True)[0].portforward(port, local_port="auto")
        return f"{protocol}://127.0.0.1:{self._forward.__enter__()}"

    def _pods(self, ready: bool = False) -> list[Any]:
        """The pods of the cluster; or its scheduler, if it is ready."""
        labels = {CLUSTER_LABEL: self._id} | ({COMPONENT_LABEL: "scheduler"} if ready else {})
        pods = _kr8s().objects.Pod.list(api=self._api, namespace=self._namespace, label_selector=labels)
        return [pod for pod in pods if not ready or _is_ready(pod.raw)]

    def diagnose(self) -> str:
        """What its pods say of themselves, and the last warnings of the namespace that name it."""
        states: Counter[str] = Counter()
        warnings: list[str] = []
        with suppress(Exception):  # who may create clusters need not be allowed to list pods, or events
            states.update(f"{pod.labels.get(COMPONENT_LABEL, 'pod')} {state_of(pod.raw)}" for pod in self._pods())
            events = [event.raw for event in _kr8s().objects.Event.list(api=self._api, namespace=self._namespace)]
            warnings = _warnings(events, self._id)
        said = [f"{count} x {state}" if count > 1 else state for state, count in states.most_common(4)]
        if not said and not warnings:
            return "See the logs of the Dask operator: there is no pod of it"
        return f"Mend what its pods say: {'; '.join([*said, *warnings])}"

    def close(self) -> None:
        """Delete the cluster; the operator ends its pods."""
        if self._forward is not None:
            with suppress(Exception):  # it ends with this process in any case
                self._forward.__exit__(None, None, None)
        if self._resource is not None:
            self._delete()
        with suppress(Exception):  # kr8s keeps its connection to the API server, and has no word of its own to end it
            as_sync_func = importlib.import_module("kr8s._async_utils").as_sync_func
            as_sync_func(self._api._session.aclose)()

    def _delete(self) -> None:
        kr8s = _kr8s()
        for left in reversed(range(TRIES)):
            try:
                self._resource.delete()
            except kr8s.NotFoundError:
                return
            except Exception as e:
                if left:
                    time.sleep(POLL)
                    continue
                self._notify(
                    f"DaskCluster {self._id} could not be deleted ({_said(e)}); the operator does so when it is idle, "
                    f"or you do: kubectl delete daskcluster {self._id} -n {self._namespace}"
                )
            return


@cache
def _kr8s() -> Any:
    """Raises UsageError where it is not installed."""
    try:
        import kr8s
    except ImportError as e:
        raise UsageError(
            "executor.kind is 'kubernetes' and kr8s is not installed",
            "nobody can ask Kubernetes for a cluster",
            "pip install 'masksift[kubernetes]'",
        ) from e
    return kr8s


@cache
def _daskcluster() -> Any:
    return _kr8s().objects.new_class("DaskCluster", "kubernetes.dask.org/v1", asyncio=False)


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def state_of(pod: Mapping[str, Any]) -> str:
    """What keeps a pod from running, in Kubernetes' own words: `ImagePullBackOff (manifest unknown)`, or its phase.

    >>> state_of({"status": {"phase": "Pending"}})
    'Pending'
    """
    status = pod.get("status", {})
    for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        for state in (one.get("state", {}).get("waiting"), one.get("state", {}).get("terminated")):
            if state and state.get("reason") not in (None, "ContainerCreating", "PodInitializing", "Completed"):
                last = one.get("lastState", {}).get("terminated") or state
                code = f", exit code {last['exitCode']}" if last.get("exitCode") else ""
                return _with(f"{state['reason']}{code}", state.get("message"))
    for one in status.get("conditions") or []:
        if one.get("status") == "False" and one.get("message") and one.get("type") == "PodScheduled":
            return _with(str(one.get("reason")), one["message"])
    return str(status.get("phase", "Unknown"))


def _with(reason: str, message: Any) -> str:
    said = " ".join(str(message or "").split())
    return f"{reason} ({said[:200]})" if said else reason


def _warnings(events: Iterable[Mapping[str, Any]], name: str) -> list[str]:
    """The last two warnings on objects of a cluster: of pods that could not even be made, for one."""
    told = [
        event
        for event in events
        if event.get("type") == "Warning" and event.get("involvedObject", {}).get("name", "").startswith(name)
    ]
    told.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return list(dict.fromkeys(_with(str(event.get("reason")), event.get("message")) for event in told[-2:]))


def _said(e: Exception) -> str:
    return " ".join(f"{type(e).__name__}: {e}".split())[:400]
