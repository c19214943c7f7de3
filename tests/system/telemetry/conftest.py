"""A cluster of processes with full telemetry, a run with quarantined images and a failing run on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from support.dask_processes import Processes, dask_processes
from support.run_processes import write_small_source
from support.telemetry_collectors import Collector, ObservedRun, collecting, documented_config, run_on


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="session")
def span_settings(collector: Collector) -> dict[str, str]:
    """Environment variables that send spans to the collector soon after they end."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, span_settings: dict[str, str]) -> Iterator[Processes]:
    """Scheduler and two workers with the documented configuration."""
    with dask_processes(tmp_path_factory.mktemp("cluster"), documented_config(), more=span_settings) as running:
        yield running


@pytest.fixture(scope="session")
def first(cluster: Processes, span_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> ObservedRun:
    """Run of 40 images; image 3 is fully ignored and a chunk of predictions of image 5 is missing."""
    directory = tmp_path_factory.mktemp("first")
    source = write_small_source(directory / "street.zarr", images=40)
    (source / "predictions/c/5/0/0/0").unlink()
    return run_on(cluster, source, directory / "out", span_settings)


@pytest.fixture(scope="session")
def failed(
    first: ObservedRun, cluster: Processes, span_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> ObservedRun:
    """Copy of the run whose block 5 cannot be scored, because the input of scoring is gone."""
    out = tmp_path_factory.mktemp("failed") / "out"
    shutil.copytree(first.out, out)
    for file in [out / "run.json", sorted((out / "manifest/score").iterdir())[5]]:
        file.unlink()
    return run_on(cluster, first.source, out, span_settings)
