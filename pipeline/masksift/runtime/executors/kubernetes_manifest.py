"""Read a DaskCluster manifest and adapt it to one run."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from masksift.core.errors import UsageError

IDLE_TIMEOUT_SECONDS = 3600
"""Time without a task after which the operator deletes a cluster whose client was killed. It is long because the client
sorts the rows of a large run by itself while the workers wait."""

CLUSTER_LABEL, COMPONENT_LABEL = "dask.org/cluster-name", "dask.org/component"

_ADDRESS = "DASK_SCHEDULER_ADDRESS"


def read_manifest(path: str) -> dict[str, Any]:
    """Read the DaskCluster of a YAML file with one or more documents, such as the output of `kubectl kustomize`.

    Args:
        path: Path of the file.

    Returns:
        The manifest.

    Raises:
        UsageError: The file cannot be read, has no or several DaskClusters, or the manifest is incomplete.
    """
    remedy = "Pass --executor kubernetes:FILE, a file with one DaskCluster (`kubectl kustomize` renders one)"
    try:
        documents = [item for item in yaml.safe_load_all(Path(path).read_text(encoding="utf-8")) if item]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as e:
        cause = " ".join(str(getattr(e, "strerror", None) or e).split())
        raise UsageError(f"Cannot read {path} ({cause})", remedy) from e
    kinds = [str(item.get("kind")) if isinstance(item, dict) else "no object" for item in documents]
    if kinds.count("DaskCluster") != 1:
        raise UsageError(
            f"{path} must contain one DaskCluster, found {kinds.count('DaskCluster')} "
            f"({', '.join(kinds) or 'empty file'})",
            remedy,
        )
    manifest: dict[str, Any] = documents[kinds.index("DaskCluster")]
    try:
        assert manifest["metadata"]["name"]
        assert all(manifest["spec"][part]["spec"]["containers"][0] for part in ("scheduler", "worker"))
        assert manifest["spec"]["scheduler"]["service"]["ports"]
    except (KeyError, IndexError, TypeError, AssertionError) as e:
        raise UsageError(
            f"The DaskCluster of {path} is incomplete ({e!r})",
            "Add metadata.name, spec.scheduler.spec, spec.scheduler.service and spec.worker.spec",
        ) from e
    return manifest


def render_manifest(manifest: Mapping[str, Any], name: str, namespace: str, workers: int) -> dict[str, Any]:
    """Adapt a manifest to one run.

    Args:
        manifest: Manifest of a DaskCluster.
        name: New name; labels, selectors and addresses follow it.
        namespace: Namespace of the cluster.
        workers: Number of workers.

    Returns:
        A new manifest, which the operator deletes after a long idle time.
    """
    old = manifest["metadata"]["name"]
    cluster: dict[str, Any] = _rename_labels(copy.deepcopy(dict(manifest)), old, name)
    metadata = {key: cluster["metadata"][key] for key in ("labels", "annotations") if key in cluster["metadata"]}
    cluster["metadata"] = {"name": name, "namespace": namespace, **metadata}
    cluster.pop("status", None)
    spec = cluster["spec"]
    spec.setdefault("idleTimeout", IDLE_TIMEOUT_SECONDS)
    spec["worker"]["replicas"] = workers
    spec["scheduler"]["service"]["selector"] = {CLUSTER_LABEL: name, COMPONENT_LABEL: "scheduler"}
    host = partial(
        re.sub, rf"(?<![\w.-]){re.escape(old)}-scheduler(\.[\w.-]+)?(?![\w-])", scheduler_host(name, namespace)
    )
    for part in ("scheduler", "worker"):
        for container in _containers(spec[part]["spec"]):
            container.update({key: list(map(host, container[key])) for key in ("command", "args") if key in container})
            for variable in container.get("env") or []:
                if variable["name"] == _ADDRESS and "value" in variable:
                    # with any host: kustomize adds prefixes and namespaces to names, but not to such values
                    variable["value"] = re.sub(r"//[^:/]+", f"//{scheduler_host(name, namespace)}", variable["value"])
                elif "value" in variable:
                    variable["value"] = host(variable["value"])
    return cluster


def _rename_labels(value: Any, old: str, new: str) -> Any:
    """Rename the cluster in all labels and selectors below a value."""
    if isinstance(value, dict):
        return {
            key: new if key == CLUSTER_LABEL and part == old else _rename_labels(part, old, new)
            for key, part in value.items()
        }
    return [_rename_labels(part, old, new) for part in value] if isinstance(value, list) else value


def scheduler_host(name: str, namespace: str) -> str:
    """Return the DNS name of the scheduler's service."""
    return f"{name}-scheduler.{namespace}.svc.cluster.local"


def _containers(pod: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    return [*pod["containers"], *(pod.get("initContainers") or [])]


def comm_protocol(manifest: Mapping[str, Any]) -> str:
    """Return the protocol between workers and scheduler; the operator's default is `tcp`."""
    for container in _containers(manifest["spec"]["worker"]["spec"]):
        for variable in container.get("env") or []:
            if variable["name"] == _ADDRESS and "://" in str(variable.get("value")):
                return str(variable["value"]).split("://")[0]
    return "tcp"


def comm_port(manifest: Mapping[str, Any]) -> int:
    """Return the port of the scheduler's service for Dask, not for the dashboard."""
    ports = manifest["spec"]["scheduler"]["service"]["ports"]
    return next((int(port["port"]) for port in ports if port.get("name") == "tcp-comm"), 8786)


def worker_memory(path: str) -> int | None:
    """Return the memory of a worker in bytes: from its `--memory-limit`, or else the limit of its container."""
    container = read_manifest(path)["spec"]["worker"]["spec"]["containers"][0]
    limit = _parse_quantity(container.get("resources", {}).get("limits", {}).get("memory"))
    args = [str(arg) for arg in container.get("args") or []]
    value = args[args.index("--memory-limit") + 1] if "--memory-limit" in args[:-1] else "auto"
    if re.fullmatch(r"0?\.[0-9]+", value):
        return None if limit is None else int(float(value) * limit)
    return _parse_quantity(value) or limit


def _parse_quantity(text: Any) -> int | None:
    """Parse `2Gi`, `2GiB` or `1500M` into bytes; return None for 0 and for anything else."""
    match = re.fullmatch(r"([0-9]+)([KMGTk]?)(i?)B?", str(text))
    if match is None:
        return None
    return int(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index((match[2] or " ").upper()) or None
