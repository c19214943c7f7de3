"""Life cycle of the DaskJob of the manifests: a simulated API server, the real Dask operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from support.s3_server import S3Server
from system.deploy.helpers.kube_api import KubeApi, api_server
from system.deploy.helpers.kubelet import NAMESPACE, Kubelet, named
from system.deploy.helpers.manifest_cluster import Stored, kubelet
from system.deploy.helpers.netns import Loopback
from system.deploy.helpers.node import node, operator, wait_until


@dataclass
class JobRun:
    """An applied DaskJob and the objects that belong to it."""

    api: KubeApi
    pods: Kubelet
    folder: Path

    @property
    def statuses(self) -> list[str]:
        """All values of its status, in order."""
        history = [o.get("status", {}).get("jobStatus") for plural, _, o in self.api.history if plural == "daskjobs"]
        return [
            status for status, before in zip(history, [None, *history], strict=False) if status not in (None, before)
        ]

    def wait_for(self, status: str) -> None:
        log = self.folder / "operator.log"
        wait_until(f"the job is {status} ({log})", lambda: status in self.statuses, 120)

    def left(self) -> list[str]:
        """Kinds of the remaining objects, without the job, its runner pod and events."""
        return sorted({plural for plural, _, name in self.api.objects if (plural, name) not in KEPT} - {"events"})


KEPT = {("daskjobs", "masksift"), ("pods", "masksift-runner")}


@contextmanager
def applied(stored: Stored, tls: dict[str, str], folder: Path, **instead: str) -> Iterator[JobRun]:
    with api_server() as api, kubelet(folder / "pods", Loopback(), stored.server, tls, stored.server.url) as pods:
        pods.instead = {**pods.instead, **stored.place, **instead}
        job = named(pods.objects, "DaskJob", "masksift")
        with node(api, pods), operator(api, pods, folder, "masksift-scheduler"):
            api.create("daskjobs", NAMESPACE, job)
            yield JobRun(api, pods, folder)


def test_job_creates_its_cluster_and_removes_it_at_the_end(
    s3_server: S3Server, sources: Path, tls: dict[str, str], undisturbed: dict[str, pa.Table], tmp_path: Path
) -> None:
    stored = Stored.upload(s3_server, sources)
    with applied(stored, tls, tmp_path) as life:
        life.wait_for("Running")
        assert life.api.get("daskjobs", NAMESPACE, "masksift")["status"]["clusterName"] == "masksift"
        life.wait_for("Successful")
        assert life.statuses == ["JobCreated", "ClusterCreated", "Running", "Successful"]
        assert life.api.get("pods", NAMESPACE, "masksift-runner")["status"]["phase"] == "Succeeded"
        wait_until("the cluster is gone", lambda: life.left() == [])
        wait_until("its processes too", lambda: not any(pod.running for pod in life.pods.pods.values()))
    assert stored.tables(tmp_path / "out") == undisturbed
    assert stored.record()["finished"] is not None


def test_failed_job_is_reported_and_removes_its_cluster(
    s3_server: S3Server, sources: Path, tls: dict[str, str], tmp_path: Path
) -> None:
    """Exit code 2: the sources do not exist."""
    stored = Stored.upload(s3_server, sources)
    with applied(stored, tls, tmp_path, **{"s3://lake/segmentation/*.zarr": "s3://lake/nothing/*.zarr"}) as life:
        life.wait_for("Failed")
        assert life.statuses[-1] == "Failed"
        assert life.pods.pods["masksift-runner"].wait(1) == 2
        wait_until("the cluster is gone", lambda: life.left() == [])
    assert not stored.there
