"""What a run needs of Kubernetes, as a component of kustomize for the manifests in `deploy/kubernetes`.

Arithmetic over a plan, and text. A test holds the shares below to the manifests' own settings.
"""

from __future__ import annotations

import json
from typing import Any

from masksift.core.units import format_bytes
from masksift.engine.planning.plan import Plan

MIB, GIB = 1 << 20, 1 << 30
WORKER_MEMORY_SHARE = 0.9
"""Of a worker pod's memory, what the worker is told that it has (`--memory-limit`)."""
PAUSE_SHARE, TERMINATE_SHARE = 0.8, 0.95
"""Of that, where a worker takes no further tasks, and where the process that watches it starts it anew."""
NANNY_BYTES = 128 * MIB
"""What that process and its helper take (measured: 92 MiB)."""
MEMORY_STEP_BYTES = 64 * MIB
"""Memory of pods is told in multiples of it."""
BLOCKS_PER_WORKER = 8
"""With fewer, a node's start costs more than it saves, and most workers wait for the last one's block."""
MAX_WORKERS = 200
"""As many as one scheduler was measured to keep busy."""
CLIENT_BYTES = 2 * GIB
"""Of the client: it held 1.65 GiB while it ranked a hundred million images."""
SORT_BYTES_PER_IMAGE = 200
"""Bytes of an image in temporary files while they are ranked: 147 measured, with all scores; ids may be longer."""


def pod_memory(memory: int) -> int:
    """Bytes that the pod of a worker needs for a projected peak of so many bytes: the worker is not paused at the peak,
    and is started anew before the kernel ends the whole pod."""
    least = max(memory / (WORKER_MEMORY_SHARE * PAUSE_SHARE), NANNY_BYTES / (1 - WORKER_MEMORY_SHARE * TERMINATE_SHARE))
    return -int(-least // MEMORY_STEP_BYTES) * MEMORY_STEP_BYTES


def worker_count(blocks: int) -> int:
    """Workers that so many blocks keep busy."""
    return max(1, min(MAX_WORKERS, -(-blocks // BLOCKS_PER_WORKER)))


def scratch_bytes(images: int) -> int:
    """Bytes of temporary files of the client, in whole GiB."""
    return (1 + -(-images * SORT_BYTES_PER_IMAGE // GIB)) * GIB


def kustomize_component(plan: Plan, most: int | None = None) -> str:
    """A `kustomization.yaml` that gives the workers and the client of any of the bases what the plan needs. ``most``:
    workers that there may be, where that is settled."""
    busy = worker_count(len(plan.blocks))
    workers = min(busy, most or busy)
    files = scratch_bytes(plan.images)
    worker, client = _resources(pod_memory(plan.memory), 2 * GIB), _resources(CLIENT_BYTES, files + GIB)
    return "\n".join(
        [
            f"# {plan.images:,} images in {len(plan.blocks):,} blocks, enough for {busy} workers.",
            f"# Projected peak of a worker: {format_bytes(plan.memory)}.",
            "# A component of kustomize: keep it as sizes/kustomization.yaml, and list `sizes` last among the",
            "# components of an overlay.",
            f"# In the run's TOML, so that the client keeps them all busy: [executor] workers = {workers}",
            "apiVersion: kustomize.config.k8s.io/v1alpha1",
            "kind: Component",
            "patches:",
            *_patch("DaskCluster", _worker("/spec/worker", "/spec/worker/spec", workers, worker)),
            *_patch("DaskAutoscaler", [_set("/spec/maximum", workers)]),
            *_patch(
                "DaskJob",
                _worker("/spec/cluster/spec/worker", "/spec/cluster/spec/worker/spec", workers, worker)
                + _client("/spec/job/spec", client, files),
            ),
            *_patch("Deployment, name: masksift-worker", _worker("/spec", "/spec/template/spec", workers, worker)),
            *_patch("Job, name: masksift", _client("/spec/template/spec", client, files)),
        ]
    )


def _worker(place: str, pod: str, workers: int, resources: dict[str, Any]) -> list[str]:
    return [
        _set(f"{place}/replicas", workers),
        _same(f"{pod}/containers/0/name", "worker"),
        _set(f"{pod}/containers/0/resources", resources),
    ]


def _client(pod: str, resources: dict[str, Any], files: int) -> list[str]:
    return [
        _same(f"{pod}/containers/0/name", "masksift"),
        _set(f"{pod}/containers/0/resources", resources),
        _same(f"{pod}/volumes/0/name", "scratch"),
        _set(f"{pod}/volumes/0/emptyDir/sizeLimit", _quantity(files)),
    ]


def _resources(memory: int, storage: int) -> dict[str, Any]:
    """One thread and what it waits with; what is asked for of memory and disk is what there is."""
    same = {"memory": _quantity(memory), "ephemeral-storage": _quantity(storage)}
    return {"requests": {"cpu": "1", **same}, "limits": {"cpu": "2", **same}}


def _patch(kind: str, changes: list[str]) -> list[str]:
    """One patch: its target, and the changes below it."""
    return [f"  - target: {{kind: {kind}}}", "    patch: |", *(f"      - {change}" for change in changes)]


def _set(path: str, value: Any) -> str:
    """A change, in that form of JSON that YAML reads."""
    return json.dumps({"op": "replace", "path": path, "value": value})


def _same(path: str, value: str) -> str:
    """That the manifest is the one that was reckoned with: kustomize ends where it is not."""
    return json.dumps({"op": "test", "path": path, "value": value})


def _quantity(count: int) -> str:
    return f"{count // GIB}Gi" if count % GIB == 0 else f"{count // MIB}Mi"
