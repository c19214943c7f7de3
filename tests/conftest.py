"""Shared by all tests: clusters that live as long as the session, on loopback and free ports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from distributed import LocalCluster


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """A scheduler with two worker processes that somebody else started and owns."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit="3GiB", dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as cluster:
        yield cluster.scheduler_address
