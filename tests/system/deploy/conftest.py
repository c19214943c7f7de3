"""Fixtures of the deployment tests: data set, certificates, and the tables of a local run."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from support.certificates import certificates, secret
from system.deploy.helpers.manifest_cluster import local_tables, write_sources


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Data of the Secret `masksift-tls`."""
    return secret(certificates(tmp_path_factory.mktemp("tls")))


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="session")
def undisturbed(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """Tables of a serial local run."""
    return local_tables(sources, tmp_path_factory.mktemp("local") / "out")
