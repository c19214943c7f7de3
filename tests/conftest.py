"""Shared by all tests: clusters and servers on loopback and free ports."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from dask import config
from distributed import LocalCluster
from hypothesis import HealthCheck, settings

from masksift.storage.credentials import resolve_credentials
from support.s3_server import Server, seaweedfs

# No test asserts a time: how long an example takes says how busy the machine is.
settings.register_profile("masksift", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("masksift")


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """A scheduler with two worker processes that somebody else started and owns. It is there for the whole session and
    idle for most of it: what Dask does in the background took a sixth of a core."""
    seldom = {
        "distributed.worker.profile.enabled": False,
        "distributed.worker.memory.monitor-interval": "1s",
        "distributed.admin.tick.interval": "1s",
    }
    with config.set(seldom):
        cluster = LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit="3GiB", dashboard_address="127.0.0.1:0", host="127.0.0.1"
        )
    with cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An S3 server for the whole session."""
    with seaweedfs(tmp_path_factory.mktemp("weed")) as running:
        yield running


@pytest.fixture(scope="module")
def server(store: Server) -> Iterator[Server]:
    """An S3 server with an empty bucket called `lake`."""
    yield store
    if not store.running:  # a test that ends it has failed before it started it again
        store.start()
    files = store.filesystem()
    for bucket in files.ls(""):
        files.rm(bucket, recursive=True)
    files.mkdir("lake")


@pytest.fixture
def keys(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of somebody who may read and write there."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.keys.items():
        monkeypatch.setenv(name, value)
    resolve_credentials.cache_clear()
    yield
    resolve_credentials.cache_clear()
