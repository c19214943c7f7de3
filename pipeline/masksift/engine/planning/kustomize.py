"""Sizes of the pods of a run, as a kustomize component for the manifests in `deploy/kubernetes`.

A test compares the shares below with the settings of the manifests.
"""

from __future__ import annotations

import json
from typing import Any

from masksift.core.units import format_bytes
from masksift.engine.planning.plan import Plan

MIB, GIB = 1 << 20, 1 << 30
WORKER_MEMORY_SHARE = 0.9
"""Memory limit of a worker (`--memory-limit`), as a share of its pod's memory."""
PAUSE_SHARE, TERMINATE_SHARE = 0.8, 0.95
"""Shares of the limit at which a worker takes no further tasks, and at which its nanny restarts it."""
NANNY_BYTES = 128 * MIB
"""Memory of the nanny and its helper process (92 MiB measured)."""
MEMORY_STEP_BYTES = 64 * MIB
"""Granularity of the memory of pods."""
BLOCKS_PER_WORKER = 8
"""With fewer blocks, starting a node costs more than it saves, and most workers wait for the last block."""
MAX_WORKERS = 200
"""Workers that one scheduler keeps busy (measured)."""
CLIENT_BYTES = 2 * GIB
"""Memory of the client, which used 1.65 GiB to rank a hundred million images."""
SORT_BYTES_PER_IMAGE = 200
"""Temporary files for ranking: 147 bytes per image measured, with all scores; ids may be longer."""


def pod_memory(memory: int) -> int:
    """Return the memory of a pod whose worker is not paused at its peak, and is restarted before it is killed."""
    least = max(memory / (WORKER_MEMORY_SHARE * PAUSE_SHARE), NANNY_BYTES / (1 - WORKER_MEMORY_SHARE * TERMINATE_SHARE))
    return -int(-least // MEMORY_STEP_BYTES) * MEMORY_STEP_BYTES


def worker_count(blocks: int) -> int:
    """Return the number of workers that so many blocks keep busy."""
    return max(1, min(MAX_WORKERS, -(-blocks // BLOCKS_PER_WORKER)))


def scratch_bytes(images: int) -> int:
    """Return the bytes of the client's temporary files, in whole GiB."""
    return (1 + -(-images * SORT_BYTES_PER_IMAGE // GIB)) * GIB


def kustomize_component(plan: Plan, max_workers: int | None = None) -> str:
    """Return a `kustomization.yaml` that sizes the client and at most ``max_workers`` workers of any base."""
    busy = worker_count(len(plan.blocks))
    workers = min(busy, max_workers or busy)
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


def _worker(path: str, pod: str, workers: int, resources: dict[str, Any]) -> list[str]:
    return [
        _set(f"{path}/replicas", workers),
        _test(f"{pod}/containers/0/name", "worker"),
        _set(f"{pod}/containers/0/resources", resources),
    ]


def _client(pod: str, resources: dict[str, Any], files: int) -> list[str]:
    return [
        _test(f"{pod}/containers/0/name", "masksift"),
        _set(f"{pod}/containers/0/resources", resources),
        _test(f"{pod}/volumes/0/name", "scratch"),
        _set(f"{pod}/volumes/0/emptyDir/sizeLimit", _quantity(files)),
    ]


def _resources(memory: int, storage: int) -> dict[str, Any]:
    """Return requests and limits for one computing thread and its I/O threads; memory and disk are guaranteed."""
    same = {"memory": _quantity(memory), "ephemeral-storage": _quantity(storage)}
    return {"requests": {"cpu": "1", **same}, "limits": {"cpu": "2", **same}}


def _patch(target: str, changes: list[str]) -> list[str]:
    """Return the lines of one patch: its target and changes."""
    return [f"  - target: {{kind: {target}}}", "    patch: |", *(f"      - {change}" for change in changes)]


def _set(path: str, value: Any) -> str:
    """Return a change as JSON, which YAML reads."""
    return json.dumps({"op": "replace", "path": path, "value": value})


def _test(path: str, value: str) -> str:
    """Return a test of the manifest, which makes kustomize fail on another manifest."""
    return json.dumps({"op": "test", "path": path, "value": value})


def _quantity(count: int) -> str:
    return f"{count // GIB}Gi" if count % GIB == 0 else f"{count // MIB}Mi"
