"""How blocks are run. Nothing here knows of labels, predictions or files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masksift.runtime.executors.base import ClusterInfo, Executor, Notify, WorkerInfo, ignore_notification
from masksift.runtime.executors.serial import SerialExecutor

__all__ = ["CLUSTER_TYPES", "ClusterInfo", "Executor", "Notify", "WorkerInfo", "make_executor", "memory_limit"]

CLUSTER_TYPES = ("serial", "local", "dask", "kubernetes")
"""The kinds that have a name of their own; any other is the path of a class of Dask clusters."""


def make_executor(
    kind: str,
    *,
    workers: int | None,
    memory: int | None,
    address: str | None = None,
    manifest: str | None = None,
    options: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    items: int | None = None,
    notify: Notify = ignore_notification,
) -> Executor:
    """The executor of a kind.

    ``serial`` is this process. ``local`` starts ``workers`` processes with ``memory`` bytes each. ``dask`` connects to
    the scheduler at ``address``, whose cluster may grow to ``workers``. ``kubernetes`` opens the DaskCluster of a
    ``manifest``, any other kind the class of that path with ``options``; both with as many workers as are told, and not
    more than the ``items`` of the largest stage can keep busy. ``timeout``: seconds to wait for the first worker, by
    default 60, or 600 for a cluster that has to get its machines first. ``say`` tells the user of the cluster.
    """
    if kind == "serial":
        return SerialExecutor(memory)
    # Only a run on a cluster pays for the import of dask.
    from masksift.runtime.executors import dask_clusters as clusters
    from masksift.runtime.executors.dask import DaskExecutor

    useful = max(1, items) if items is not None else None
    place: clusters.ClusterProvider
    if kind == "local":
        place = clusters.LocalClusterProvider(workers, memory)
    elif kind == "dask":
        assert address is not None, "a configuration of kind dask has an address"
        place = clusters.ExistingClusterProvider(address, most=workers)
    elif kind == "kubernetes":
        from masksift.runtime.executors.kubernetes import KubernetesClusterProvider

        assert manifest is not None, "a configuration of kind kubernetes has a manifest"
        place = KubernetesClusterProvider(manifest, workers, useful, address=address, timeout=timeout, notify=notify)
    else:
        assert workers is not None, "a configuration with a class of clusters has a number of workers"
        place = clusters.CustomClusterProvider(kind, options or {}, workers if useful is None else min(workers, useful))
    return DaskExecutor(place, timeout=timeout, notify=notify)


def memory_limit(kind: str, *, workers: int | None, memory: int | None, manifest: str | None = None) -> int | None:
    """Bytes a worker will have, as far as that is known before it starts; None where it is not, or is unlimited."""
    if memory is not None:
        return memory
    if kind == "kubernetes" and manifest is not None:
        from masksift.runtime.executors.kubernetes_manifest import worker_memory

        return worker_memory(manifest)
    if kind != "local":
        return None
    from masksift.runtime.executors.dask_clusters import local_memory

    return local_memory(workers)
