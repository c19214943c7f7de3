"""Provider of a Dask cluster on Kubernetes for one run, through the Dask operator. The only module that imports kr8s.

The resource is created here, because the client of dask-kubernetes speaks `tcp://` only. Nothing else is created, so
that nothing else has to be deleted: what the pods mount (certificates, configuration, service account) exists before.
"""

from __future__ import annotations

import importlib
import math
import os
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from masksift.core.errors import RunFailed, UsageError
from masksift.core.retry import RetryPolicy
from masksift.core.text import pluralize
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

POLL_INTERVAL_SECONDS = 1.0
"""Time between two reads of the cluster's state."""
DELETE_ATTEMPTS = 3
"""Attempts to delete the cluster before the user gets the command to do so."""


class KubernetesClusterProvider:
    """A DaskCluster with a unique name, created from a manifest and deleted at the end.

    Args:
        manifest: File with the DaskCluster.
        workers: Number of workers; by default the manifest's.
        useful: Upper bound of the workers that the tasks can keep busy.
        address: Address of the scheduler as seen from this process. By default its service inside a pod, and a port
            forwarded by the API server elsewhere.
        timeout: Seconds to wait for the scheduler.
        notify: Receives messages about the cluster.
    """

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
        requested = workers or int(self._manifest["spec"]["worker"].get("replicas", 1))
        self._workers = requested if useful is None else min(requested, useful)
        self.max_workers: int | None = self._workers
        self.name = f"of DaskCluster {self._id}"
        self.dashboard: str | None = None
        self._address, self._timeout, self._notify = address, timeout or self.startup_timeout, notify
        self._namespace = ""
        self._api: Any = None
        self._resource: Any = None
        self._forward: Any = None

    def open(self) -> str:
        """Create the cluster; return the address of its scheduler when it is up."""
        require_certificates(self._address or f"{comm_protocol(self._manifest)}://{self._id}-scheduler:8786")
        kr8s = _kr8s()
        # kr8s warns of each release of Kubernetes that is newer than its own; the few requests made here do not change
        warnings.filterwarnings("ignore", r"Kubernetes version \S+ is not supported\. Supported versions for kr8s")
        try:
            # explicit, so that kr8s does not use a cached choice
            self._api = kr8s.api(kubeconfig=os.environ.get("KUBECONFIG"))
            self._namespace = self._manifest["metadata"].get("namespace") or self._api.namespace
            manifest = render_manifest(self._manifest, self._id, self._namespace, self._workers)
            self._resource = _daskcluster_class()(manifest, namespace=self._namespace, api=self._api)
            self._resource.create()
        except Exception as e:  # errors of the API server, of its transport, of the kubeconfig
            raise UsageError(
                f"The Kubernetes API server has not created DaskCluster {self._id} ({_one_line(e)})",
                "Check that kubectl reaches it, that the Dask operator is installed, and that you may create "
                f"daskclusters.kubernetes.dask.org in namespace {self._namespace or 'default'}",
            ) from e
        self.name = f"of DaskCluster {self._id} in namespace {self._namespace}"
        self.dashboard = f"http://{self._host}:8787/status"
        self._notify(
            f"created DaskCluster {self._id} in namespace {self._namespace}, workers: {self._workers}; waiting for its "
            f"scheduler, up to {self._timeout:.0f} s"
        )
        self._wait_for_scheduler()
        return self._connect_address()

    @property
    def _host(self) -> str:
        return scheduler_host(self._id, self._namespace)

    def _wait_for_scheduler(self) -> None:
        end, phase = time.monotonic() + self._timeout, ""
        # a busy API server, or one that is being replaced, raises errors of many types and answers later
        policy = RetryPolicy(lambda error: True, max_attempts=math.inf, deadline_seconds=self._timeout)
        try:
            while time.monotonic() < end and phase != "Error":
                phase = policy.call(self._read_phase, f"DaskCluster {self._id}")
                reachable = bool(self._address) or self._in_pod
                if phase == "Running" and (reachable or policy.call(self._ready_schedulers, f"pods of {self._id}")):
                    return
                time.sleep(POLL_INTERVAL_SECONDS)
        except Exception as e:
            phase = f"unknown ({_one_line(e)})"
        state = f"Its phase is {phase}" if phase else "The Dask operator has not processed it (is it installed?)"
        raise RunFailed(
            f"DaskCluster {self._id} in namespace {self._namespace} has no scheduler after {self._timeout:.0f} s",
            f"{state}. The cluster is deleted",
            self.diagnose(),
        )

    def _ready_schedulers(self) -> list[Any]:
        return self._pods(ready_scheduler=True)

    def _read_phase(self) -> str:
        self._resource.refresh()
        return str(self._resource.raw.get("status", {}).get("phase", ""))

    @property
    def _in_pod(self) -> bool:
        """True in a pod, where service names resolve."""
        return "KUBERNETES_SERVICE_HOST" in os.environ

    def _connect_address(self) -> str:
        if self._address:
            return self._address
        protocol, port = comm_protocol(self._manifest), comm_port(self._manifest)
        if self._in_pod:
            return f"{protocol}://{self._host}:{port}"
        self._forward = self._pods(ready_scheduler=True)[0].portforward(port, local_port="auto")
        return f"{protocol}://127.0.0.1:{self._forward.__enter__()}"

    def _pods(self, ready_scheduler: bool = False) -> list[Any]:
        """Return the pods of the cluster, or only its scheduler if that is ready."""
        labels = {CLUSTER_LABEL: self._id} | ({COMPONENT_LABEL: "scheduler"} if ready_scheduler else {})
        pods = _kr8s().objects.Pod.list(api=self._api, namespace=self._namespace, label_selector=labels)
        return [pod for pod in pods if not ready_scheduler or _is_ready(pod.raw)]

    def renew(self, connected: int) -> str:
        """Describe pods that wait for a node; the operator and the deployments replace lost ones."""
        if connected:
            return ""
        states: list[str] = []
        with suppress(Exception):  # the API server may be away, or listing pods forbidden
            states = [pod_state(pod.raw) for pod in self._pods() if _is_unscheduled(pod.raw)]
        return f"{pluralize(len(states), 'pending pod')}: {states[0]}" if states else ""

    def limit(self, workers: int) -> None:
        """Ask the operator for fewer workers; it retires the idle ones, so that no result is lost."""
        if workers >= self._workers:
            return
        self._workers = self.max_workers = workers
        try:
            self._resource.patch({"spec": {"worker": {"replicas": workers}}})
        except Exception as e:  # the right to patch may be missing; the cluster is deleted at the end in any case
            self._notify(
                f"DaskCluster {self._id} keeps its workers: it could not be scaled to {workers} ({_one_line(e)})"
            )

    def diagnose(self) -> str:
        """Return advice with the states of the pods and the last warnings of the namespace about the cluster."""
        states: Counter[str] = Counter()
        warnings: list[str] = []
        with suppress(Exception):  # users may be allowed to create clusters, but not to list pods or events
            states.update(f"{pod.labels.get(COMPONENT_LABEL, 'pod')} {pod_state(pod.raw)}" for pod in self._pods())
            events = [event.raw for event in _kr8s().objects.Event.list(api=self._api, namespace=self._namespace)]
            warnings = _last_warnings(events, self._id)
        lines = [f"{count} x {state}" if count > 1 else state for state, count in states.most_common(4)]
        if not lines and not warnings:
            return "Check the logs of the Dask operator: the cluster has no pod"
        return f"Fix what its pods report: {'; '.join([*lines, *warnings])}"

    def close(self) -> None:
        """Delete the cluster; the operator stops its pods."""
        if self._forward is not None:
            with suppress(Exception):  # it ends with this process
                self._forward.__exit__(None, None, None)
        if self._resource is not None:
            self._delete()
        with suppress(Exception):  # kr8s has no public method to close its connection
            as_sync_func = importlib.import_module("kr8s._async_utils").as_sync_func
            as_sync_func(self._api._session.aclose)()

    def _delete(self) -> None:
        not_found = _kr8s().NotFoundError
        policy = RetryPolicy(lambda error: not isinstance(error, not_found), max_attempts=DELETE_ATTEMPTS)
        try:
            policy.call(self._resource.delete, f"DaskCluster {self._id}")
        except not_found:
            pass
        except Exception as e:
            self._notify(
                f"DaskCluster {self._id} could not be deleted ({_one_line(e)}). The operator deletes it when it is "
                f"idle; to delete it now: kubectl delete daskcluster {self._id} -n {self._namespace}"
            )


@cache
def _kr8s() -> Any:
    try:
        import kr8s
    except ImportError as e:
        raise UsageError(
            "executor.kind 'kubernetes' requires kr8s, which is not installed", "pip install 'masksift[kubernetes]'"
        ) from e
    return kr8s


@cache
def _daskcluster_class() -> Any:
    return _kr8s().objects.new_class("DaskCluster", "kubernetes.dask.org/v1", asyncio=False)


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def _is_unscheduled(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(item.get("type") == "PodScheduled" and item.get("status") == "False" for item in conditions)


def pod_state(pod: Mapping[str, Any]) -> str:
    """Return why a pod does not run, such as `ImagePullBackOff (manifest unknown)`, or its phase."""
    status = pod.get("status", {})
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        for state in (container.get("state", {}).get("waiting"), container.get("state", {}).get("terminated")):
            if state and state.get("reason") not in (None, "ContainerCreating", "PodInitializing", "Completed"):
                last = container.get("lastState", {}).get("terminated") or state
                code = f", exit code {last['exitCode']}" if last.get("exitCode") else ""
                return _with_message(f"{state['reason']}{code}", state.get("message"))
    for condition in status.get("conditions") or []:
        if condition.get("status") == "False" and condition.get("message") and condition.get("type") == "PodScheduled":
            return _with_message(str(condition.get("reason")), condition["message"])
    return str(status.get("phase", "Unknown"))


def _with_message(reason: str, message: Any) -> str:
    text = " ".join(str(message or "").split())
    return f"{reason} ({text[:200]})" if text else reason


def _last_warnings(events: Iterable[Mapping[str, Any]], name: str) -> list[str]:
    """Return the last two warnings about objects of a cluster, such as pods that could not be created."""
    warnings = [
        event
        for event in events
        if event.get("type") == "Warning" and event.get("involvedObject", {}).get("name", "").startswith(name)
    ]
    warnings.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return list(dict.fromkeys(_with_message(str(event.get("reason")), event.get("message")) for event in warnings[-2:]))


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:400]
