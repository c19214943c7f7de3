"""Each pod on its own host: network namespaces on a bridge, one of which loses its link without notice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from support.fault_proxy import FaultProxy, Faults, run_fault_proxy
from support.s3_server import S3Server
from system.deploy.helpers.kubelet import Pod
from system.deploy.helpers.manifest_cluster import BLOCKS, Cluster, Stored, cluster, executing, kubelet
from system.deploy.helpers.netns import Bridge, remove_stale_bridges
from system.deploy.helpers.node import wait_until

SHORT_TIMEOUTS = {"worker-ttl: 60s": "worker-ttl: 12s", "tcp: 30s": "tcp: 12s"}
"""Timeouts of the manifests for silent workers, shortened for the tests."""


@pytest.fixture(scope="module")
def network() -> Iterator[Bridge]:
    with Bridge() as made:
        yield made


@pytest.fixture(scope="module")
def slow(s3_server: S3Server, network: Bridge) -> Iterator[FaultProxy]:
    """The store at this machine's address on the bridge."""
    with run_fault_proxy(s3_server.port, Faults(), network.gateway) as between:
        yield between


@pytest.fixture(scope="module")
def running(
    network: Bridge,
    slow: FaultProxy,
    s3_server: S3Server,
    tls: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    with kubelet(tmp_path_factory.mktemp("pods"), network, s3_server, tls, slow.url) as pods:
        pods.instead = {**pods.instead, **SHORT_TIMEOUTS}
        yield cluster(pods)


def test_network_of_a_killed_process_is_removed(network: Bridge) -> None:
    program = "import os; from system.deploy.helpers.netns import Bridge; b = Bridge(); b.__enter__()"
    program += "; print(b.name, b.block, flush=True)"
    args = [sys.executable, "-c", f"{program}; os._exit(0)"]
    configured = subprocess.run(args, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout
    name, block = configured.split()
    assert block != network.block, "two networks of the same addresses: a pod of one is looked for in the other"
    assert name in links()
    remove_stale_bridges()
    assert name not in links()
    assert network.name in links(), "that of a process which lives"


def links() -> str:
    return subprocess.run(["ip", "link", "show"], capture_output=True, text=True, check=True).stdout


def stage_is_half_done(stored: Stored, stage: str) -> bool:
    if stage == "thresholds":
        return stored.products("condense") == BLOCKS
    return 1 <= stored.products(stage) < BLOCKS - 1


@pytest.mark.parametrize("stage", ["condense", "thresholds", "score"])
def test_run_with_a_disconnected_worker_gives_the_same_tables(
    running: Cluster,
    network: Bridge,
    slow: FaultProxy,
    s3_server: S3Server,
    sources: Path,
    undisturbed: dict[str, pa.Table],
    tmp_path: Path,
    stage: str,
) -> None:
    stored = Stored.upload(s3_server, sources)
    slow.faults = Faults(delay=0.1)
    job = running.run(stored)
    wait_until(f"{stage} is in its middle", lambda: stage_is_half_done(stored, stage), 240)
    cut = disconnect_busy_worker(running, network, slow)
    assert job.wait(240) == 0, job.log
    assert stored.tables(tmp_path / "out") == undisturbed
    assert stored.record()["retries"] == 0, "no task failed: those of the worker were given to another"
    if stage == "condense":
        wait_until("a worker without a network ends", lambda: not cut.running, 240)
    cut.kill()
    network.reconnect(cut.name)
    cut.begin()  # as its kubelet does
    cut.wait_for("readinessProbe")


def disconnect_busy_worker(running: Cluster, network: Bridge, slow: FaultProxy) -> Pod:
    """Disconnect a worker within a task that is slowed down so that it cannot finish first."""
    slow.faults = Faults(delay=3)
    busy: list[Pod] = []
    wait_until("a worker is busy", lambda: busy.extend(pod for pod in running.workers if executing(pod)) or busy)
    network.cut(busy[0].name)
    slow.faults = Faults()
    return busy[0]
