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

IDLE = 3600
"""Seconds without a task after which the operator deletes a cluster whose client was killed. Long, since a client
orders the rows of a large run by itself, and the workers wait for it."""

CLUSTER_LABEL, COMPONENT_LABEL = "dask.org/cluster-name", "dask.org/component"

_ADDRESS = "DASK_SCHEDULER_ADDRESS"


def read_manifest(path: str) -> dict[str, Any]:
    """The one DaskCluster of a YAML file, which may hold other documents too, as `kubectl kustomize` renders them.
    Raises UsageError."""
    remedy = "Give --executor kubernetes:FILE, a file with one DaskCluster (`kubectl kustomize` renders one)"
    try:
        documents = [one for one in yaml.safe_load_all(Path(path).read_text(encoding="utf-8")) if one]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        said = " ".join(str(getattr(e, "strerror", None) or e).split())
        raise UsageError(f"{path} cannot be read ({said})", "what a cluster is there is not known", remedy) from e
    kinds = [str(one.get("kind")) if isinstance(one, dict) else "no object" for one in documents]
    if kinds.count("DaskCluster") != 1:
        raise UsageError(
            f"{path} holds {kinds.count('DaskCluster')} DaskClusters (it has {', '.join(kinds) or 'nothing'})",
            "which cluster to make is not known",
            remedy,
        )
    found: dict[str, Any] = documents[kinds.index("DaskCluster")]
    try:
        assert found["metadata"]["name"]
        assert all(found["spec"][part]["spec"]["containers"][0] for part in ("scheduler", "worker"))
        assert found["spec"]["scheduler"]["service"]["ports"]
    except (KeyError, IndexError, TypeError, AssertionError) as e:
        raise UsageError(
            f"the DaskCluster of {path} is not whole ({e!r})",
            "it would make no cluster",
            "It needs metadata.name, spec.scheduler.spec, spec.scheduler.service and spec.worker.spec",
        ) from e
    return found


def render_manifest(manifest: Mapping[str, Any], name: str, namespace: str, workers: int) -> dict[str, Any]:
    """A manifest as the cluster of one run: under another name, which labels, selectors and addresses follow; with that
    many workers; deleted by the operator when it has been idle for long."""
    old = manifest["metadata"]["name"]
    cluster: dict[str, Any] = _relabelled(copy.deepcopy(dict(manifest)), old, name)
    kept = {key: cluster["metadata"][key] for key in ("labels", "annotations") if key in cluster["metadata"]}
    cluster["metadata"] = {"name": name, "namespace": namespace, **kept}
    cluster.pop("status", None)
    spec = cluster["spec"]
    spec.setdefault("idleTimeout", IDLE)
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
                    # whatever its host: kustomize gives prefixes and namespaces to names, and not to such values
                    variable["value"] = re.sub(r"//[^:/]+", f"//{scheduler_host(name, namespace)}", variable["value"])
                elif "value" in variable:
                    variable["value"] = host(variable["value"])
    return cluster


def _relabelled(value: Any, old: str, new: str) -> Any:
    """A part of a manifest in which labels and selectors name another cluster."""
    if isinstance(value, dict):
        return {
            key: new if key == CLUSTER_LABEL and part == old else _relabelled(part, old, new)
            for key, part in value.items()
        }
    return [_relabelled(part, old, new) for part in value] if isinstance(value, list) else value


def scheduler_host(name: str, namespace: str) -> str:
    return f"{name}-scheduler.{namespace}.svc.cluster.local"


def _containers(pod: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    return [*pod["containers"], *(pod.get("initContainers") or [])]


def comm_protocol(manifest: Mapping[str, Any]) -> str:
    """What the workers speak with the scheduler; the operator itself tells them `tcp`."""
    for container in _containers(manifest["spec"]["worker"]["spec"]):
        for variable in container.get("env") or []:
            if variable["name"] == _ADDRESS and "://" in str(variable.get("value")):
                return str(variable["value"]).split("://")[0]
    return "tcp"


def comm_port(manifest: Mapping[str, Any]) -> int:
    """The port of the scheduler's service that is not for browsers."""
    ports = manifest["spec"]["scheduler"]["service"]["ports"]
    return next((int(one["port"]) for one in ports if one.get("name") == "tcp-comm"), 8786)


def worker_memory(path: str) -> int | None:
    """Bytes that a worker of the cluster has: what its arguments say, as they are or as a share of its container's
    limit, else that limit; None where there is none. Raises UsageError."""
    container = read_manifest(path)["spec"]["worker"]["spec"]["containers"][0]
    whole = _quantity(container.get("resources", {}).get("limits", {}).get("memory"))
    words = [str(word) for word in container.get("args") or []]
    told = words[words.index("--memory-limit") + 1] if "--memory-limit" in words[:-1] else "auto"
    if re.fullmatch(r"0?\.[0-9]+", told):
        return None if whole is None else int(float(told) * whole)
    return _quantity(told) or whole


def _quantity(words: Any) -> int | None:
    """Bytes of `2Gi`, `2GiB` or `1500M`; None of anything else, and of none."""
    found = re.fullmatch(r"([0-9]+)([KMGTk]?)(i?)B?", str(words))
    if found is None:
        return None
    return int(found[1]) * (1024 if found[3] else 1000) ** " KMGT".index((found[2] or " ").upper()) or None
