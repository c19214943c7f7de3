"""A data set for the cluster of the manifests, its certificates, and what a local run makes of it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from support.certificates import certificates, secret
from system.deploy.helpers.manifest_cluster import local_tables, write_sources


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The Secret `masksift-tls`."""
    return secret(certificates(tmp_path_factory.mktemp("tls")))


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="session")
def undisturbed(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """The tables of a run in one loop, without a cluster or a store."""
    return local_tables(sources, tmp_path_factory.mktemp("local") / "out")
