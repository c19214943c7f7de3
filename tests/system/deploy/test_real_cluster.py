"""Scheduler, workers and job of the manifests as local processes with their arguments, environment and files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from masksift.engine.planning.kustomize import WORKER_MEMORY_SHARE
from support.certificates import certificates, secret
from support.fault_proxy import FaultProxy, Faults, run_fault_proxy
from support.s3_server import S3Server
from system.deploy.helpers.manifest_cluster import BLOCKS, MINIO, PLAIN, Cluster, Stored, cluster, kubelet
from system.deploy.helpers.netns import Loopback
from system.deploy.helpers.node import wait_until


@pytest.fixture(scope="module")
def slow(s3_server: S3Server) -> Iterator[FaultProxy]:
    """Proxy in front of the store whose ``faults`` can change while it runs."""
    with run_fault_proxy(s3_server.port, Faults()) as between:
        yield between


@pytest.fixture
def stored(s3_server: S3Server, sources: Path) -> Stored:
    return Stored.upload(s3_server, sources)


@pytest.fixture(scope="module", params=[PLAIN, MINIO])
def running(
    request: pytest.FixtureRequest,
    s3_server: S3Server,
    slow: FaultProxy,
    tls: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """Cluster of the manifests, ready for the job, without and with the Dask operator."""
    with kubelet(tmp_path_factory.mktemp("pods"), Loopback(), s3_server, tls, slow.url, request.param) as made:
        yield cluster(made)


def test_job_writes_the_same_results_as_a_local_run(
    running: Cluster, stored: Stored, undisturbed: dict[str, pa.Table], tmp_path: Path
) -> None:
    for pod in (running.scheduler, *running.workers):
        assert pod.healthy("livenessProbe"), pod.log
    job = running.run(stored)
    assert job.wait(240) == 0, job.log
    assert stored.tables(tmp_path / "out") == undisturbed
    record = stored.record()
    assert record["finished"] is not None
    assert record["retries"] == 0
    limit = int(WORKER_MEMORY_SHARE * (2 << 30))
    assert [worker["memory"] for worker in record["workers"]] == [limit] * 2, "a share of the pod's limit"
    for pod in (running.scheduler, *running.workers):
        assert pod.running, pod.log
        assert "Traceback" not in pod.log
        for line in pod.log.splitlines():
            assert isinstance(json.loads(line), dict), line


@pytest.mark.parametrize("running", [MINIO], indirect=True)
def test_client_with_a_certificate_of_another_ca_is_refused(
    running: Cluster, stored: Stored, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The worst case: everything that Dask requires except the right signature."""
    others = secret(certificates(tmp_path_factory.mktemp("other")))
    job = running.run(stored, **{"masksift-tls": others})
    wait_until("it has been refused", lambda: "TLS" in running.scheduler.log and "handshake" in running.scheduler.log)
    job.kill()
    assert not stored.there
    assert all(pod.healthy("readinessProbe") for pod in (running.scheduler, *running.workers))


@pytest.mark.parametrize("running", [MINIO], indirect=True)
def test_run_with_a_drained_worker_gives_the_same_tables(
    running: Cluster, stored: Stored, slow: FaultProxy, undisturbed: dict[str, pa.Table], tmp_path: Path
) -> None:
    """`preStop`, then SIGTERM in the middle of the first pass, like a drained spot node."""
    slow.faults = Faults(delay=0.5)
    job = running.run(stored)
    wait_until("some blocks are condensed", lambda: stored.products("condense") >= 1, 240)
    assert running.workers[0].terminate() == 0, running.workers[0].log
    done = stored.products("condense")
    slow.faults = Faults()
    assert job.wait(240) == 0, job.log
    assert done < BLOCKS, "it was in the middle"
    assert "Retire worker" in running.scheduler.log
    assert stored.tables(tmp_path / "out") == undisturbed
    assert stored.record()["retries"] == 0
