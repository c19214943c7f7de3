"""Executors: every executor gives the same results and survives the same failures."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.core.errors import RunFailed, UsageError
from masksift.runtime.executors import Executor, dask_stage, make_executor, memory_limit
from masksift.runtime.executors.base import split_items
from masksift.runtime.executors.dask import DaskExecutor
from runtime.executors import task_functions as jobs
from system.executors.processes import SOURCES

GIB = 1 << 30


@pytest.fixture(scope="module", params=["serial", "local", "dask"])
def executor(request: pytest.FixtureRequest, scheduler_address: str) -> Iterator[Executor]:
    kind = request.param
    with make_executor(
        kind, workers=2, memory=2 * GIB, address=scheduler_address if kind == "dask" else None
    ) as opened:
        yield opened


@pytest.fixture
def local() -> Iterator[Executor]:
    with make_executor("local", workers=2, memory=2 * GIB) as opened:
        yield opened


@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_map_returns_every_result_once(executor: Executor, count: int) -> None:
    assert sorted(executor.map(jobs.square, range(count), "square")) == [i * i for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 300])
def test_reduce_merges_every_result_once(executor: Executor, count: int) -> None:
    assert executor.reduce(jobs.square, range(count), jobs.add, "sum") == sum(i * i for i in range(count))


def test_workers_have_memory_and_versions(executor: Executor) -> None:
    workers = executor.workers()
    assert len(workers) in (1, 2)
    assert all(worker.memory in (2 * GIB, 3 * GIB) for worker in workers)
    if len(workers) == 2:
        assert all("masksift" in worker.versions for worker in workers)


def test_failed_task_is_retried(local: Executor, tmp_path: Path) -> None:
    answers = local.map(partial(jobs.fails_at_first, str(tmp_path)), range(4), "hiccup")
    assert sorted(answers) == [0, 1, 2, 3]
    assert local.retries == 4


def test_retry_of_an_item_with_a_long_description_logs_its_beginning(
    local: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[str] = []
    monkeypatch.setattr(dask_stage.log, "warning", lambda text, *values: messages.append(text % values))
    list(local.map(partial(jobs.fails_once, str(tmp_path)), [["block 7", *["0" * 90] * 99]], "hiccup"))
    (message,) = messages
    assert message.startswith("hiccup of ['block 7',")
    assert message.endswith("... failed (temporary failure); attempt 2")
    assert len(message) < 300


def test_failed_item_of_a_task_with_several_is_retried_alone(local: Executor, tmp_path: Path) -> None:
    answers = local.map(partial(jobs.record_and_fail_once, str(tmp_path), 150), range(300), "alone")
    assert sorted(answers) == list(range(300))
    assert local.retries == 1
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.pop("150") == 2
    assert set(sizes.values()) == {1}


def test_reduction_merges_before_the_last_item_is_finished(
    local: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_stage, "FAN_IN", 2)
    function = partial(jobs.wait_for_merge, str(tmp_path), 19)
    assert local.reduce(function, range(20), partial(jobs.mark_and_add, str(tmp_path)), "sum") == sum(range(20))


def test_stages_have_spans_and_readable_prefixes(local: Executor) -> None:
    assert isinstance(local, DaskExecutor)
    list(local.map(jobs.square, range(3), "condense"))
    list(local.map(jobs.square, range(2), "score"))
    local.reduce(jobs.square, range(4), jobs.add, "pairs")
    spans = local.client.run_on_scheduler(jobs.span_names)
    assert set(spans) == {("masksift",), *(("masksift", stage) for stage in ("condense", "score", "pairs"))}
    assert spans["masksift", "condense"] == 3
    assert {"condense", "score", "pairs", "pairs-merge"} <= local.client.run_on_scheduler(jobs.group_names)


def test_error_after_all_retries_is_raised(executor: Executor) -> None:
    with pytest.raises(ValueError, match="item 0 is invalid"):
        list(executor.map(jobs.always_fails, [0], "invalid"))


def test_os_error_of_a_task_is_not_a_lost_connection(executor: Executor) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        list(executor.map(jobs.runs_out_of_disk, [0], "full"))
    with pytest.raises(OSError, match="No space left on device"):
        executor.reduce(jobs.runs_out_of_disk, [0], jobs.add, "full")


def test_killed_worker_loses_no_result(local: Executor, tmp_path: Path) -> None:
    answers = local.map(partial(jobs.kills_its_worker_once, str(tmp_path)), range(8), "killed")
    assert sorted(answers) == list(range(8))


def test_task_that_kills_every_worker_raises_run_failed(local: Executor) -> None:
    with pytest.raises(RunFailed, match=r"killed every worker that ran it.*--executor.memory"):
        list(local.map(jobs.kills_every_worker, [1], "poison"))


def test_scheduler_holds_a_bounded_number_of_tasks(local: Executor, tmp_path: Path) -> None:
    answers = local.map(partial(jobs.record_start, str(tmp_path)), range(100_000), "window")
    assert next(answers) in range(100_000)
    assert isinstance(local, DaskExecutor)
    window = 3 * 2
    assert local.client.run_on_scheduler(jobs.count_tasks) <= 2 * window, "finished tasks are released a little later"


def test_closed_map_cancels_its_tasks(local: Executor, tmp_path: Path) -> None:
    answers = local.map(partial(jobs.record_start, str(tmp_path)), range(1000), "left")
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    time.sleep(0.5)
    before = len(list(tmp_path.iterdir()))
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) == before


def test_missing_scheduler_raises_usage_error(unused_port: int) -> None:
    with (
        pytest.raises(UsageError, match=rf"No scheduler at tcp://127.0.0.1:{unused_port} answered within 1 s"),
        make_executor("dask", workers=1, memory=None, address=f"tcp://127.0.0.1:{unused_port}", timeout=1),
    ):
        pass


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_lost_scheduler_raises_run_failed(unused_port: int) -> None:
    dask = [sys.executable, "-m", "dask"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(SOURCES)}
    address = f"tcp://127.0.0.1:{unused_port}"
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(unused_port), "--no-dashboard"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    worker = subprocess.Popen(
        [*dask, "worker", address, "--nthreads", "1", "--no-dashboard"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    try:
        with make_executor("dask", workers=1, memory=None, address=address, timeout=30) as executor:
            answers = executor.map(jobs.slow_square, range(1000), "lost")
            next(answers)
            scheduler.kill()
            with pytest.raises(RunFailed, match=r"connection to the scheduler tcp://127.0.0.1.* was lost"):
                list(answers)
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()


def test_memory_limit_defaults_to_an_even_share_of_the_machine() -> None:
    assert memory_limit("serial", workers=2, memory=None) is None
    assert memory_limit("dask", workers=2, memory=None) is None
    assert memory_limit("local", workers=2, memory=GIB) == GIB
    whole = memory_limit("local", workers=1, memory=None)
    assert whole is not None
    assert memory_limit("local", workers=2, memory=None) == whole // 2


@given(st.lists(st.integers(), max_size=50), st.integers(1, 60))
def test_split_items_keeps_order_and_size(items: list[int], size: int) -> None:
    parts = list(split_items(items, size))
    assert [item for part in parts for item in part] == items
    assert all(len(part) == size for part in parts[:-1])
