"""Cluster and job of the manifests as pods, over a small data set on the S3 test server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from support.cli import run_cli
from support.datasets import make_dataset
from support.run_processes import read_tables, write_dataset_source
from support.s3_server import S3Server
from system.deploy.helpers.kubelet import NAMESPACE, Kubelet, Pod, named
from system.deploy.helpers.kustomize import render
from system.deploy.helpers.netns import Network

__all__ = [
    "BLOCKS",
    "MINIO",
    "PLAIN",
    "Cluster",
    "Stored",
    "cluster",
    "executing",
    "kubelet",
    "local_tables",
    "write_sources",
]

Object = dict[str, Any]

MINIO, PLAIN = "overlays/minio", "plain"
STORE = "http://minio.minio.svc.cluster.local:9000"
BLOCKS = 8
"""Blocks of the run: one for each source."""
SOURCES, OUT = "segmentation", "quality/first"
"""Location in the bucket `lake`, as in run.toml of the manifests."""


def write_sources(folder: Path, *, sources: int = BLOCKS, images: int = 2) -> Path:
    """Write small sources of one block each."""
    for number in range(sources):
        data = make_dataset(number, images=images, classes=5, height=24, width=32, dtype="uint8")
        write_dataset_source(folder / f"scene{number:02d}.zarr", data)
    return folder


def local_tables(folder: Path, out: Path) -> dict[str, pa.Table]:
    """Return the tables of a serial run over the same sources."""
    assert run_cli("run", "--source", f"{folder}/*.zarr", "--out", out) == 0
    return read_tables(out)


@dataclass(frozen=True)
class Stored:
    """Sources and results of a run in the bucket: sources at the path of the manifests, results at a unique one."""

    server: S3Server
    out: str

    @classmethod
    def upload(cls, server: S3Server, folder: Path) -> Self:
        """Upload the sources once and reserve a new result path."""
        if not server.filesystem().exists(f"lake/{SOURCES}"):
            server.filesystem().put(f"{folder}/", f"lake/{SOURCES}/", recursive=True)
        return cls(server, f"quality/{uuid.uuid4().hex}")

    @property
    def place(self) -> dict[str, str]:
        """Map the paths of the manifests to those of this test."""
        return {f"s3://lake/{OUT}": f"s3://lake/{self.out}"}

    @property
    def there(self) -> bool:
        """Return whether results exist."""
        return bool(self.server.filesystem().exists(f"lake/{self.out}"))

    def record(self) -> dict[str, Any]:
        """Return run.json."""
        found: dict[str, Any] = json.loads(self.server.filesystem().cat_file(f"lake/{self.out}/run.json"))
        return found

    def products(self, stage: str) -> int:
        """Count the finished blocks of a stage."""
        return len(self.server.filesystem().glob(f"lake/{self.out}/manifest/{stage}/*.zip"))

    def tables(self, folder: Path) -> dict[str, pa.Table]:
        """Download all tables."""
        self.server.filesystem().get(f"lake/{self.out}/", f"{folder}/", recursive=True)
        return read_tables(folder)


def executing(worker: Pod) -> int:
    """Return how many tasks a worker executes, from its metrics."""
    connection = HTTPConnection(worker.address, 8788, timeout=5)
    try:
        connection.request("GET", "/metrics")
        metrics = connection.getresponse().read().decode()
    finally:
        connection.close()
    (line,) = [line for line in metrics.splitlines() if line.startswith('dask_worker_tasks{state="executing"}')] or [
        "0"
    ]
    return int(float(line.split()[-1]))


@contextmanager
def kubelet(
    folder: Path, network: Network, server: S3Server, tls: Mapping[str, str], url: str, manifests: str = MINIO
) -> Iterator[Kubelet]:
    """Kubelet with the secrets that a user provides: certificates, and keys of a bucket at ``url``."""
    keys = {"masksift-tls": tls, "masksift-s3": server.environment}
    made = Kubelet(folder, network, render(manifests), keys, {STORE: url})
    if manifests != MINIO:  # the store of the cloud itself, to which the service account is known
        made.identity = {**server.environment, "AWS_ENDPOINT_URL": url}
    with made:
        yield made


@dataclass
class Cluster:
    """Running scheduler and workers of the manifests, and the template of the job."""

    kubelet: Kubelet
    scheduler: Pod
    workers: list[Pod]
    job: Object

    def run(self, stored: Stored, **secrets: Mapping[str, str]) -> Pod:
        """Start the job that writes to ``stored``, optionally with other secrets than the cluster."""
        mine = self.kubelet
        its = Kubelet(
            mine.folder, mine.network, mine.objects, {**mine.secrets, **secrets}, {**mine.instead, **stored.place}
        )
        its.identity = mine.identity
        pod = its.start(f"masksift-runner-{len(mine.pods)}", self.job)
        mine.pods[pod.name] = pod
        return pod


def cluster(kubelet: Kubelet, workers: int = 2) -> Cluster:
    """Start all pods of the manifests except the job and wait until they are ready."""
    is_dask_job = any(o["kind"] == "DaskJob" for o in kubelet.objects)
    scheduler, worker, job = _by_operator(kubelet) if is_dask_job else _by_deployments(kubelet)
    pods = [kubelet.start("masksift-scheduler", scheduler, "masksift-scheduler")]
    pods += [kubelet.start(f"masksift-default-worker-{n}", worker(n)) for n in range(workers)]
    for pod in pods:
        pod.wait_for("readinessProbe")
    return Cluster(kubelet, pods[0], pods[1:], job)


def _by_operator(kubelet: Kubelet) -> tuple[Object, Callable[[int], Object], Object]:
    """Objects that the Dask operator's functions create from the DaskJob."""
    from dask_kubernetes.operator.controller import controller as by

    spec = named(kubelet.objects, "DaskJob", "masksift")["spec"]
    parts, run = spec["cluster"]["spec"], spec["job"]
    labels = {kind: parts[kind]["metadata"]["labels"] for kind in ("scheduler", "worker")}
    scheduler = by.build_scheduler_deployment_spec("masksift", parts["scheduler"]["spec"], {}, labels["scheduler"])

    def worker(number: int) -> Object:
        args = ("masksift-default", NAMESPACE, "masksift", str(number), parts["worker"]["spec"], {}, labels["worker"])
        template: Object = by.build_worker_deployment_spec(*args)["spec"]["template"]
        return template

    job = by.build_job_pod_spec("masksift", "masksift", NAMESPACE, run["spec"], {}, run["metadata"]["labels"])
    return scheduler["spec"]["template"], worker, job


def _by_deployments(kubelet: Kubelet) -> tuple[Object, Callable[[int], Object], Object]:
    """Objects of the manifests without the operator."""
    scheduler, workers, job = (
        named(kubelet.objects, kind, name)["spec"]["template"]
        for kind, name in (("Deployment", "masksift-scheduler"), ("Deployment", "masksift-worker"), ("Job", "masksift"))
    )
    return scheduler, lambda _: workers, job
