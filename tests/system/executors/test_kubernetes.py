"""DaskCluster of a run, against an emulated API server.

Not tested here: a real API server with its admission and its operator, and service names as pods resolve them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml

from masksift.core.errors import RunFailed, UsageError
from masksift.runtime.executors import Executor, make_executor, memory_limit
from masksift.runtime.executors.kubernetes import KubernetesClusterProvider, pod_state
from masksift.runtime.executors.kubernetes_manifest import read_manifest, render_manifest
from runtime.executors import task_functions as jobs
from system.executors.kmock_api import NAMESPACE, ApiServer
from system.executors.processes import until

ADDRESS = "tls://masksift-scheduler.masksift.svc.cluster.local:8786"


def manifest(**changed: Any) -> dict[str, Any]:
    """Return a DaskCluster similar to the output of `kubectl kustomize`."""
    own = {"dask.org/cluster-name": "masksift"}
    scheduler = {
        "service": {
            "selector": {**own, "dask.org/component": "scheduler"},
            "ports": [{"name": "tcp-comm", "port": 8786}, {"name": "http-dashboard", "port": 8787}],
        },
        "spec": {"containers": [{"name": "scheduler", "args": ["dask", "scheduler"]}]},
    }
    worker = {
        "replicas": 4,
        "spec": {
            "topologySpreadConstraints": [{"labelSelector": {"matchLabels": own}}],
            "containers": [
                {
                    "name": "worker",
                    "args": ["dask", "worker", "--memory-limit", "0.5", "--preload", "masksift-scheduler:8786"],
                    "env": [
                        {"name": "DASK_SCHEDULER_ADDRESS", "value": ADDRESS},
                        {"name": "ELSEWHERE", "value": "masksift-scheduler-tls"},
                    ],
                    "resources": {"limits": {"memory": "2Gi"}},
                }
            ],
        },
    }
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": "masksift", "labels": {"app.kubernetes.io/name": "masksift"}},
        "spec": {"scheduler": scheduler, "worker": worker},
        **changed,
    }


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Write a file with a cluster without TLS after another document."""
    cluster = manifest()
    del cluster["spec"]["worker"]["spec"]["containers"][0]["env"]
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump_all([{"kind": "ConfigMap"}, cluster]))
    return str(tmp_path / "cluster.yaml")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("api")).running() as running:
        yield running


@pytest.fixture
def api(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """Return a namespace that contains the cluster of another user."""
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    server.emulator.objects["daskclusters.v1.kubernetes.dask.org", NAMESPACE, "other"] = manifest(
        metadata={"name": "other", "namespace": NAMESPACE}
    )
    del server.emulator._requests[:]
    server.broken = server.absent = False
    yield server
    assert list(server.clusters) == ["other"]
    until(lambda: not server.processes, "the operator has stopped the processes")


def kubernetes(file: str, *, address: str | None, timeout: float = 60.0, **kwargs: Any) -> Executor:
    return make_executor(
        "kubernetes", workers=None, memory=None, manifest=file, address=address, timeout=timeout, **kwargs
    )


def deleted(api: ApiServer) -> list[str]:
    return [path for method, path in api.changes if method == "DELETE"]


def test_run_creates_uses_and_deletes_only_its_cluster(api: ApiServer, file: str) -> None:
    messages: list[str] = []

    def notify(text: str, **facts: object) -> None:
        messages.append(text)

    with kubernetes(file, address=api.address, items=3, notify=notify) as executor:
        (name,) = api.clusters.keys() - {"other"}
        assert sorted(executor.map(jobs.square, range(5), "square")) == [0, 1, 4, 9, 16]
        assert api.clusters[name]["spec"]["worker"]["replicas"] == 3  # of the four that the manifest has
        assert executor.cluster.kind == "kubernetes"
        assert executor.cluster.dashboard == f"http://{name}-scheduler.{NAMESPACE}.svc.cluster.local:8787/status"
    place = f"/apis/kubernetes.dask.org/v1/namespaces/{NAMESPACE}/daskclusters"
    assert api.changes == [("POST", place), ("DELETE", f"{place}/{name}")]
    assert messages[0].startswith(
        f"created DaskCluster {name} in namespace {NAMESPACE}, workers: 3; waiting for its scheduler"
    )
    assert messages[-1].startswith(f"running on kubernetes at {api.address}: 1 worker")
    port = int(api.url.rsplit(":", 1)[1])
    left = [c.raddr for c in psutil.Process().net_connections("tcp") if c.raddr]
    assert port not in [address.port for address in left], "the connection to the API server is closed"


def test_cluster_shrinks_to_later_stages_and_is_deleted_before_work_of_the_client(api: ApiServer, file: str) -> None:
    with kubernetes(file, address=api.address) as executor:
        (name,) = api.clusters.keys() - {"other"}
        executor.limit_workers(10)  # more than the four that it has
        executor.limit_workers(2)
        assert api.clusters[name]["spec"]["worker"]["replicas"] == 2
        executor.release()
        assert list(api.clusters) == ["other"]
        assert executor.cluster.kind == "kubernetes"
    assert [method for method, _ in api.changes] == ["POST", "PATCH", "DELETE"]


def test_newer_kubernetes_version_causes_no_warning(api: ApiServer, file: str) -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with kubernetes(file, address=api.address):
            pass
    assert not [str(warning.message) for warning in shown if "Kubernetes" in str(warning.message)]


def test_scheduler_is_reached_through_a_forwarded_port_from_outside(api: ApiServer, file: str) -> None:
    with kubernetes(file, address=None) as executor:
        assert executor.reduce(jobs.square, range(5), jobs.add, "sum") == 30
        assert executor.cluster.address is not None
        assert executor.cluster.address not in (None, api.address)
    assert api.emulator.forwarded


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_cluster_is_deleted_after_an_error_or_ctrl_c(api: ApiServer, file: str, error: type[BaseException]) -> None:
    def use() -> None:
        with kubernetes(file, address=api.address):
            raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        use()
    assert len(deleted(api)) == 1


def test_cluster_without_starting_pods_fails_with_pod_states(api: ApiServer, file: str) -> None:
    api.broken = True
    with (
        pytest.raises(
            RunFailed,
            match=r"DaskCluster masksift-\w{8} in namespace masksift has no scheduler after 2 s\. Its phase is Pen.*"
            r"deleted\. Fix what its pods report: scheduler ImagePullBackOff \(manifest unknown\); FailedCreate \(ex",
        ),
        kubernetes(file, address=api.address, timeout=2),
    ):
        pass
    assert len(deleted(api)) == 1


def test_cluster_without_operator_fails(api: ApiServer, file: str) -> None:
    api.absent = True
    with (
        pytest.raises(
            RunFailed, match=r"The Dask operator has not processed it \(is it installed\?\).*the cluster has no pod"
        ),
        kubernetes(file, address=api.address, timeout=3),
    ):
        pass
    assert len(deleted(api)) == 1


def test_missing_api_server_raises_usage_error(tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with (
        pytest.raises(UsageError, match=r"API server has not created DaskCluster .*Check that kubectl reaches it"),
        kubernetes(file, address=None),
    ):
        pass


def test_tls_cluster_without_certificates_is_not_created(api: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "tls.yaml").write_text(yaml.safe_dump(manifest()))
    with (
        pytest.raises(UsageError, match=r"requires TLS, but distributed.comm.tls.ca-file"),
        kubernetes(str(tmp_path / "tls.yaml"), address=None),
    ):
        pass
    assert api.changes == []


def test_render_manifest_renames_labels_selectors_and_addresses() -> None:
    before = manifest()
    made = render_manifest(before, "masksift-1a2b3c4d", "prod", 7)
    assert before == manifest()
    assert made["metadata"] == {
        "name": "masksift-1a2b3c4d",
        "namespace": "prod",
        "labels": {"app.kubernetes.io/name": "masksift"},
    }
    spec, own = made["spec"], {"dask.org/cluster-name": "masksift-1a2b3c4d"}
    assert (spec["worker"]["replicas"], spec["idleTimeout"]) == (7, 3600)
    assert spec["scheduler"]["service"]["selector"] == {**own, "dask.org/component": "scheduler"}
    pod = spec["worker"]["spec"]
    assert pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == own
    host = "masksift-1a2b3c4d-scheduler.prod.svc.cluster.local"
    assert pod["containers"][0]["args"][-1] == f"{host}:8786"
    assert pod["containers"][0]["env"] == [
        {"name": "DASK_SCHEDULER_ADDRESS", "value": f"tls://{host}:8786"},
        {"name": "ELSEWHERE", "value": "masksift-scheduler-tls"},
    ]


def test_render_manifest_keeps_the_idle_timeout() -> None:
    before = manifest()
    before["spec"]["idleTimeout"] = 60
    assert render_manifest(before, "masksift-1", "prod", 1)["spec"]["idleTimeout"] == 60


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], r"must contain one DaskCluster, found 0 \(empty file\)"),
        ([{"kind": "DaskJob"}], r"must contain one DaskCluster, found 0 \(DaskJob\)\. .*kubectl kustomize"),
        ([manifest(), manifest()], r"must contain one DaskCluster, found 2 \(DaskCluster, DaskCluster\)"),
        ([manifest(spec={})], r"The DaskCluster of .* is incomplete \(KeyError\('scheduler'\)\)"),
        ([manifest(metadata={})], r"is incomplete \(KeyError\('name'\)\)"),
    ],
)
def test_read_manifest_without_exactly_one_cluster_fails(tmp_path: Path, documents: Any, message: str) -> None:
    (tmp_path / "m.yaml").write_text(yaml.safe_dump_all(documents))
    with pytest.raises(UsageError, match=message):
        read_manifest(str(tmp_path / "m.yaml"))


def test_read_manifest_of_an_unreadable_file_fails(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Cannot read .*none.yaml \(No such file or directory\)"):
        read_manifest(str(tmp_path / "none.yaml"))
    (tmp_path / "m.yaml").write_text("a: [")
    with pytest.raises(UsageError, match=r"Cannot read .*m.yaml \(while parsing"):
        read_manifest(str(tmp_path / "m.yaml"))


@pytest.mark.parametrize(
    ("limit", "share", "size"),
    [
        ("2Gi", "0.5", 1 << 30),
        ("2Gi", "0.9", 1932735283),
        ("1500M", "auto", 1_500_000_000),
        ("2Gi", "1GiB", 1 << 30),
        (None, "auto", None),
        ("4096Mi", "0", 4 << 30),
    ],
)
def test_memory_limit_comes_from_the_manifest(tmp_path: Path, limit: str | None, share: str, size: int | None) -> None:
    before = manifest()
    container = before["spec"]["worker"]["spec"]["containers"][0]
    container["resources"] = {"limits": {"memory": limit}} if limit else {}
    container["args"][3] = share
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(before))
    assert memory_limit("kubernetes", workers=None, memory=None, manifest=str(tmp_path / "m.yaml")) == size
    assert memory_limit("kubernetes", workers=None, memory=5, manifest=str(tmp_path / "m.yaml")) == 5


def _waiting(reason: str, **more: Any) -> dict[str, Any]:
    return {"status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": reason}}, **more}]}}


def _ended(reason: str, code: int) -> dict[str, Any]:
    return {"status": {"containerStatuses": [{"state": {"terminated": {"reason": reason, "exitCode": code}}}]}}


def _unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"status": {"phase": "Pending", "conditions": [condition]}}


@pytest.mark.parametrize(
    ("pod", "message"),
    [
        ({"status": {"phase": "Running"}}, "Running"),
        ({}, "Unknown"),
        (_waiting("ContainerCreating"), "Pending"),
        (_waiting("CrashLoopBackOff", lastState={"terminated": {"exitCode": 137}}), "CrashLoopBackOff, exit code 137"),
        (_ended("OOMKilled", 137), "OOMKilled, exit code 137"),
        (_unscheduled("0/3 nodes:\nno memory"), "Unschedulable (0/3 nodes: no memory)"),
    ],
)
def test_pod_state_names_what_blocks_the_pod(pod: dict[str, Any], message: str) -> None:
    assert pod_state(pod) == message


def test_pods_that_wait_for_a_node_are_pending(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = KubernetesClusterProvider(file, None, None, address=None, timeout=None, notify=lambda *_, **__: None)
    pods = [_waiting("ImagePullBackOff"), _unscheduled("no node"), {"status": {"phase": "Running"}}]
    monkeypatch.setattr(provider, "_pods", lambda: [SimpleNamespace(raw=pod) for pod in pods])
    assert provider.renew(0) == "1 pending pod: Unschedulable (no node)"
    assert provider.renew(1) == ""
    monkeypatch.setattr(provider, "_pods", lambda: 1 / 0)  # the API server does not answer
    assert provider.renew(0) == ""
