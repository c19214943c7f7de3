"""Priority, worker resources and the performance report of the tasks of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Scheduler, SpecCluster, Worker

from masksift.core.errors import UsageError
from masksift.runtime.executors import dask, make_executor
from masksift.runtime.executors.dask import DaskExecutor
from runtime.executors import task_functions as jobs


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Address of a cluster with one worker that offers a GPU and one that does not."""
    host = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    options: dict[str, Any] = {"host": "127.0.0.1", "nthreads": 1}
    workers = {
        "plain": {"cls": Worker, "options": options},
        "accelerated": {"cls": Worker, "options": {**options, "resources": {"GPU": 1}}},
    }
    with SpecCluster(workers, scheduler={"cls": Scheduler, "options": host}) as cluster:
        yield cluster.scheduler_address


def test_only_stages_that_need_resources_wait_for_them(address: str) -> None:
    with make_executor("dask", workers=None, memory=None, address=address, resources={"GPU": 1}) as executor:
        assert set(executor.map(jobs.worker_name, range(20), "fit", needs_resources=True)) == {"accelerated"}
        assert "plain" in set(executor.map(jobs.worker_name, range(20), "blocks"))


def test_resources_that_no_worker_offers_are_refused(address: str) -> None:
    message = r"stage fit require GPU = 2, TPU = 1 \(executor.resources\), which no worker.*--resources \"GPU=2 TPU=1\""
    resources = {"GPU": 2, "TPU": 1}
    with (
        make_executor("dask", workers=None, memory=None, address=address, resources=resources) as executor,
        pytest.raises(UsageError, match=message),
    ):
        list(executor.map(jobs.square, range(3), "fit", needs_resources=True))


def test_all_tasks_have_the_priority(address: str) -> None:
    with make_executor("dask", workers=None, memory=None, address=address, priority=7) as executor:
        assert isinstance(executor, DaskExecutor)
        answers = executor.map(jobs.slow_square, range(20), "urgent")
        next(answers)
        assert executor.client.run_on_scheduler(jobs.priorities) == {7}


def test_performance_report_without_bokeh_at_the_scheduler_is_refused(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask, "_has_bokeh", lambda: False)
    with (
        pytest.raises(UsageError, match=r"requires bokeh on the scheduler.*omit --performance_report"),
        make_executor("dask", workers=1, memory=None, address=address, performance_report=str(tmp_path / "r.html")),
    ):
        pass
    assert not list(tmp_path.iterdir())
