"""Executors: run tasks in this process or on a Dask cluster. They know neither labels nor files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masksift.runtime.executors.base import ClusterInfo, Executor, Notify, WorkerInfo, ignore_notification
from masksift.runtime.executors.serial import SerialExecutor

__all__ = [
    "CLUSTER_TYPES",
    "ClusterInfo",
    "Executor",
    "Notify",
    "WorkerInfo",
    "ignore_notification",
    "make_executor",
    "memory_limit",
]

CLUSTER_TYPES = ("auto", "serial", "local", "dask", "kubernetes")
"""Named executors; any other is the path of a Dask cluster class. "auto" chooses between the next two."""


def make_executor(
    cluster_type: str,
    *,
    workers: int | None,
    memory: int | None,
    address: str | None = None,
    manifest: str | None = None,
    options: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    items: int | None = None,
    priority: int = 0,
    resources: Mapping[str, float] | None = None,
    performance_report: str | None = None,
    notify: Notify = ignore_notification,
) -> Executor:
    """Create an executor.

    Args:
        cluster_type: "serial" for this process, "local" for processes of this machine, "dask" for a running scheduler,
            "kubernetes" for a new DaskCluster, or the path of a Dask cluster class.
        workers: Worker processes to start; for "dask" the number that the cluster may grow to.
        memory: Memory of a worker in bytes, for "serial" and "local".
        address: Address of the scheduler, for "dask" and "kubernetes".
        manifest: File with the DaskCluster, for "kubernetes".
        options: Keyword arguments of a cluster class.
        timeout: Seconds to wait for the first worker; by default 60, or 600 for a new cluster.
        items: Tasks of the largest stage; a new cluster gets no more workers than that.
        priority: Dask priority of all tasks.
        resources: Worker resources of the tasks that need them, such as one ``GPU``.
        performance_report: HTML file for Dask's performance report.
        notify: Receives messages about the cluster.

    Returns:
        The executor, a context manager.
    """
    if cluster_type == "serial":
        return SerialExecutor(memory)
    # Only a run on a cluster pays for the import of dask.
    from masksift.runtime.executors import dask_clusters as clusters
    from masksift.runtime.executors.dask import DaskExecutor

    useful = max(1, items) if items is not None else None
    provider: clusters.ClusterProvider
    if cluster_type == "local":
        provider = clusters.LocalClusterProvider(workers, memory)
    elif cluster_type == "dask":
        assert address is not None, "the configuration of dask has an address"
        provider = clusters.ExistingClusterProvider(address, workers)
    elif cluster_type == "kubernetes":
        from masksift.runtime.executors.kubernetes import KubernetesClusterProvider

        assert manifest is not None, "the configuration of kubernetes has a manifest"
        provider = KubernetesClusterProvider(manifest, workers, useful, address=address, timeout=timeout, notify=notify)
    else:
        assert workers is not None, "the configuration of a cluster class has a number of workers"
        max_workers = workers if useful is None else min(workers, useful)
        provider = clusters.CustomClusterProvider(cluster_type, options or {}, max_workers)
    return DaskExecutor(
        provider,
        timeout=timeout,
        priority=priority,
        resources=resources,
        performance_report=performance_report,
        notify=notify,
    )


def memory_limit(
    cluster_type: str, *, workers: int | None, memory: int | None, manifest: str | None = None
) -> int | None:
    """Return the memory of a worker in bytes; None if unlimited, or unknown before the worker starts."""
    if memory is not None:
        return memory
    if cluster_type == "kubernetes" and manifest is not None:
        from masksift.runtime.executors.kubernetes_manifest import worker_memory

        return worker_memory(manifest)
    if cluster_type != "local":
        return None
    from masksift.runtime.executors.dask_clusters import local_memory

    return local_memory(workers)
