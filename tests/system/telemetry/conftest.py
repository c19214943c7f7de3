"""One cluster of real processes, which tells all that it can, and a run on it that meets what runs meet."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from support.dask_processes import Processes, dask_processes
from support.run_processes import write_small_source
from support.telemetry_collectors import Collector, Told, collecting, documented_config, run_on


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture(scope="session")
def surroundings(collector: Collector) -> dict[str, str]:
    """The environment of whoever sends spans, soon after they end."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, surroundings: dict[str, str]) -> Iterator[Processes]:
    """Scheduler and two workers, with the very configuration that the documentation shows."""
    with dask_processes(tmp_path_factory.mktemp("cluster"), documented_config(), more=surroundings) as running:
        yield running


@pytest.fixture(scope="session")
def first(cluster: Processes, surroundings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A run of forty images, of which number 3 is ignored as a whole, and the predictions of number 5 are lost."""
    folder = tmp_path_factory.mktemp("first")
    source = write_small_source(folder / "street.zarr", images=40)
    (source / "predictions/c/5/0/0/0").unlink()
    return run_on(cluster, source, folder / "out", surroundings)


@pytest.fixture(scope="session")
def failed(
    first: Told, cluster: Processes, surroundings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Told:
    """The same run, as far as it was condensed, which then finds that the evidence of images 15 to 17 is lost."""
    out = tmp_path_factory.mktemp("failed") / "out"
    shutil.copytree(first.out, out)
    for product in [out / "run.json", *(out / "manifest/score").iterdir()]:
        product.unlink()
    (out / "evidence/street.zarr/self_confidence/c/5/0/0").unlink()
    return run_on(cluster, first.source, out, surroundings)
