"""Cluster and job of the manifests, as pods are made of them, over a small data set on the S3 test server."""

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
from support.run_processes import tables, write
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
"""Of a run over the sources here, each of which is one."""
SOURCES, OUT = "segmentation", "quality/first"
"""Where the manifests' run.toml has them, in the bucket `lake`."""


def write_sources(folder: Path, *, sources: int = BLOCKS, images: int = 2) -> Path:
    """Small sources, of which each is a block."""
    for number in range(sources):
        data = make_dataset(number, images=images, classes=5, height=24, width=32, dtype="uint8")
        write(folder / f"scene{number:02d}.zarr", data)
    return folder


def local_tables(folder: Path, out: Path) -> dict[str, pa.Table]:
    """What one loop in this process makes of the same sources."""
    assert run_cli("run", "--source", f"{folder}/*.zarr", "--out", out) == 0
    return tables(out)


@dataclass(frozen=True)
class Stored:
    """What a run reads and leaves in the bucket: its sources where the manifests have them, its results in a place of
    its own."""

    server: S3Server
    out: str

    @classmethod
    def beside(cls, server: S3Server, folder: Path) -> Self:
        """With those sources, put there once, and a place that nobody has used."""
        if not server.filesystem().exists(f"lake/{SOURCES}"):
            server.filesystem().put(f"{folder}/", f"lake/{SOURCES}/", recursive=True)
        return cls(server, f"quality/{uuid.uuid4().hex}")

    @property
    def place(self) -> dict[str, str]:
        """What stands in the manifests, and what for it."""
        return {f"s3://lake/{OUT}": f"s3://lake/{self.out}"}

    @property
    def there(self) -> bool:
        """Whether anything has been left."""
        return bool(self.server.filesystem().exists(f"lake/{self.out}"))

    def record(self) -> dict[str, Any]:
        """The run's run.json."""
        found: dict[str, Any] = json.loads(self.server.filesystem().cat_file(f"lake/{self.out}/run.json"))
        return found

    def products(self, stage: str) -> int:
        """How many blocks of a stage are done."""
        return len(self.server.filesystem().glob(f"lake/{self.out}/manifest/{stage}/*.zip"))

    def tables(self, folder: Path) -> dict[str, pa.Table]:
        """All tables, brought to a folder."""
        self.server.filesystem().get(f"lake/{self.out}/", f"{folder}/", recursive=True)
        return tables(folder)


def executing(worker: Pod) -> int:
    """How many tasks a worker is at, by its own metrics."""
    connection = HTTPConnection(worker.address, 8788, timeout=5)
    try:
        connection.request("GET", "/metrics")
        told = connection.getresponse().read().decode()
    finally:
        connection.close()
    (line,) = [line for line in told.splitlines() if line.startswith('dask_worker_tasks{state="executing"}')] or ["0"]
    return int(float(line.split()[-1]))


@contextmanager
def kubelet(
    folder: Path, network: Network, server: S3Server, tls: Mapping[str, str], url: str, manifests: str = MINIO
) -> Iterator[Kubelet]:
    """A kubelet with what a user of the manifests brings along: certificates, and keys of a bucket at ``url``."""
    keys = {"masksift-tls": tls, "masksift-s3": server.environment}
    made = Kubelet(folder, network, render(manifests), keys, {STORE: url})
    if manifests != MINIO:  # the store of the cloud itself, to which the service account is known
        made.identity = {**server.environment, "AWS_ENDPOINT_URL": url}
    with made:
        yield made


@dataclass
class Cluster:
    """Scheduler and workers of the manifests as running pods, and the pod of the job, which has not been started."""

    kubelet: Kubelet
    scheduler: Pod
    workers: list[Pod]
    job: Object

    def run(self, stored: Stored, **secrets: Mapping[str, str]) -> Pod:
        """Start the job, whose results go to that place; with other secrets than the cluster has, where they are
        given."""
        mine = self.kubelet
        its = Kubelet(
            mine.folder, mine.network, mine.objects, {**mine.secrets, **secrets}, {**mine.instead, **stored.place}
        )
        its.identity = mine.identity
        pod = its.start(f"masksift-runner-{len(mine.pods)}", self.job)
        mine.pods[pod.name] = pod
        return pod


def cluster(kubelet: Kubelet, workers: int = 2) -> Cluster:
    """Start the pods of the manifests but the job's, and wait until they are ready."""
    is_dask_job = any(o["kind"] == "DaskJob" for o in kubelet.objects)
    scheduler, worker, job = _by_operator(kubelet) if is_dask_job else _by_deployments(kubelet)
    pods = [kubelet.start("masksift-scheduler", scheduler, "masksift-scheduler")]
    pods += [kubelet.start(f"masksift-default-worker-{n}", worker(n)) for n in range(workers)]
    for pod in pods:
        pod.wait_for("readinessProbe")
    return Cluster(kubelet, pods[0], pods[1:], job)


def _by_operator(kubelet: Kubelet) -> tuple[Object, Callable[[int], Object], Object]:
    """What the Dask operator makes of the DaskJob, by its own functions."""
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
    """Those of the manifests without the operator."""
    scheduler, workers, job = (
        named(kubelet.objects, kind, name)["spec"]["template"]
        for kind, name in (("Deployment", "masksift-scheduler"), ("Deployment", "masksift-worker"), ("Job", "masksift"))
    )
    return scheduler, lambda _: workers, job
