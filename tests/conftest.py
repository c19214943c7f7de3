"""Fixtures of all tests: a Dask cluster and an S3 server on free loopback ports."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from dask import config
from distributed import LocalCluster
from hypothesis import HealthCheck, settings

from masksift.storage.credentials import resolve_credentials
from support.s3_server import S3Server, run_s3_server

# No deadline: the time of an example depends on the load of the machine.
settings.register_profile("masksift", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("masksift")


@pytest.fixture(scope="session")
def scheduler_address() -> Iterator[str]:
    """Address of a running scheduler with two worker processes.

    Monitoring is slowed down: with Dask's defaults the idle cluster used a sixth of a core.
    """
    quiet = {
        "distributed.worker.profile.enabled": False,
        "distributed.worker.memory.monitor-interval": "1s",
        "distributed.admin.tick.interval": "1s",
    }
    with config.set(quiet):
        cluster = LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit="3GiB", dashboard_address="127.0.0.1:0", host="127.0.0.1"
        )
    with cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="session")
def s3_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """S3 server process of the session."""
    with run_s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def s3_server(s3_process: S3Server) -> Iterator[S3Server]:
    """S3 server with an empty bucket `lake`."""
    yield s3_process
    if not s3_process.running:  # a test that kills it may fail before the restart
        s3_process.start()
    files = s3_process.filesystem()
    for bucket in files.ls(""):
        files.rm(bucket, recursive=True)
    files.mkdir("lake")


@pytest.fixture
def s3_credentials(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the credentials of the S3 server into the environment, and no others."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    resolve_credentials.cache_clear()
    yield
    resolve_credentials.cache_clear()
