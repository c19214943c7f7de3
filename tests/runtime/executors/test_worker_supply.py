"""Clusters that lose their workers: a run gets others, or ends and says why."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed.core import Status

from masksift.core.errors import RunFailed, UsageError
from masksift.runtime.executors import Executor, make_executor, worker_supply, worker_watch
from masksift.runtime.executors import dask as executors
from runtime.executors import task_functions as jobs
from system.executors.processes import until

QUEUE = "runtime.executors.task_functions.QueueCluster"


@pytest.fixture(autouse=True)
def _checks_are_frequent(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(worker_supply, "CHECK_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(worker_watch, "THREAD_COUNT_AGE_SECONDS", 0.1)
    monkeypatch.setattr(executors, "POLL_TIMEOUT_SECONDS", 0.1)
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "100ms"}):
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a queue whose `squeue` prints the file `queue`."""
    (tmp_path / "squeue").write_text(f"#!/bin/sh\ncat {tmp_path}/queue\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def open_queue(folder: Path, timeout: float = 30, notify: Callable[..., None] = lambda *_, **__: None) -> Executor:
    return make_executor(QUEUE, workers=2, memory=None, options={"folder": str(folder)}, timeout=timeout, notify=notify)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("QueueCluster", {}),
        ("QueueCluster", {"names": ["-0", "-1"]}),
        ("queue_cluster", {"hosts": 2}),
        ("OpaqueCluster", None),
    ],
    ids=["job", "job of two workers", "hosts", "opaque"],
)
def test_run_gets_workers_again_when_all_are_lost(
    name: str, options: dict[str, Any] | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frequent = worker_supply.CHECK_INTERVAL_SECONDS
    monkeypatch.setattr(worker_supply, "CHECK_INTERVAL_SECONDS", 60)  # lost before the next regular check
    with make_executor(
        f"runtime.executors.task_functions.{name}",
        workers=2,
        memory=None,
        options=None if options is None else {"folder": str(folder), **options},
        timeout=30,
    ) as executor:
        for _ in range(2):
            answers = executor.map(jobs.slow_square, range(8), "lost")
            found = [next(answers)]
            monkeypatch.setattr(worker_supply, "CHECK_INTERVAL_SECONDS", frequent)
            (jobs.OpaqueCluster if options is None else jobs.QueueCluster).last.cancel()
            assert sorted(found + list(answers)) == [i * i for i in range(8)]
        assert executor.reduce(jobs.square, range(8), jobs.add, "sum") == 140


@pytest.mark.parametrize(("name", "options"), [("QueueCluster", {}), ("OpaqueCluster", None)])
def test_cluster_shrinks_to_later_stages_and_is_released_before_work_of_the_client(
    name: str, options: dict[str, Any] | None, folder: Path
) -> None:
    with make_executor(
        f"runtime.executors.task_functions.{name}",
        workers=2,
        memory=None,
        options=None if options is None else {"folder": str(folder), **options},
        timeout=30,
    ) as executor:
        cluster: Any = (jobs.OpaqueCluster if options is None else jobs.QueueCluster).last
        executor.client.wait_for_workers(2, timeout=30)  # type: ignore[attr-defined]
        executor.limit_workers(1)
        until(lambda: len(executor.workers()) == 1, "one worker is left")
        assert sorted(executor.map(jobs.square, range(8), "small")) == [i * i for i in range(8)]
        assert len(executor.workers()) == 1, "the closed worker is not replaced"
        executor.release()
        assert cluster.status == Status.closed
        assert executor.cluster.kind.endswith(name)


def test_lost_job_of_several_workers_is_replaced_while_others_run(folder: Path) -> None:
    options = {"folder": str(folder), "names": ["-0", "-1"]}
    with make_executor(QUEUE, workers=2, memory=None, options=options, timeout=30) as executor:
        cluster = jobs.QueueCluster.last
        executor.client.wait_for_workers(4, timeout=30)  # type: ignore[attr-defined]
        list(executor.map(jobs.slow_square, range(8), "start"))
        first = cluster.workers[0]
        cluster.sync(first.cancel)
        list(executor.map(jobs.slow_square, range(20), "replaced"))
        assert cluster.workers[0] is not first


def test_run_waits_for_pending_jobs_longer_than_the_timeout(folder: Path) -> None:
    messages: list[str] = []

    def notify(text: str, **fields: object) -> None:
        messages.append(text)
        if "pending job" in text:
            time.sleep(2)  # longer than the timeout
            (folder / "hold").unlink()
            jobs.QueueCluster.last.cancel()

    with open_queue(folder, timeout=1.5, notify=notify) as executor:
        answers = executor.map(jobs.slow_square, range(8), "pending")
        found = [next(answers)]
        (folder / "hold").touch()
        jobs.QueueCluster.last.cancel()
        assert sorted(found + list(answers)) == [i * i for i in range(8)]
    lines = [line.removeprefix(f"no worker of {QUEUE} is connected") for line in messages[1:]]
    assert lines[0] == "; none is pending; waiting up to 2 s for one"
    assert re.fullmatch(r" for \d+ s; waiting for 2 pending jobs \(squeue: \d+ PENDING Resources\)", lines[1])
    assert re.fullmatch(rf"workers of {QUEUE} are back: [12]", lines[-1])


def test_run_without_workers_and_pending_jobs_ends_with_the_error_of_the_queue(folder: Path) -> None:
    message = (
        rf"No worker of {QUEUE} has been connected for \d s, and none is pending\. Finished blocks are kept\. .*"
        r"sbatch: error: partition is down.*Run the same command again"
    )
    with open_queue(folder, timeout=2) as executor:
        answers = executor.map(jobs.slow_square, range(100), "refused")
        next(answers)
        (folder / "refuse").touch()
        jobs.QueueCluster.last.cancel()
        with pytest.raises(RunFailed, match=message):
            list(answers)


def test_queue_that_refuses_every_job_from_the_start_is_a_usage_error(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "refuse").touch()
    with (
        pytest.raises(
            UsageError, match=r"No worker could be requested \(.*partition is down\)\. Check executor.options"
        ),
        open_queue(folder),
    ):
        pass
    gc.collect()
    assert capfd.readouterr().err == ""


def test_jobs_that_end_before_their_worker_connects_are_requested_again(folder: Path) -> None:
    (folder / "hold").touch()
    messages: list[str] = []

    def notify(text: str, **fields: object) -> None:
        messages.append(text)
        if text.startswith("waiting for the first worker"):
            (folder / "hold").unlink()
            (folder / "queue").write_text("")

    with open_queue(folder, notify=notify) as executor:
        assert sorted(executor.map(jobs.square, range(4), "again")) == [0, 1, 4, 9]
    assert messages[0] == f"waiting for the first worker of {QUEUE}, up to 30 s"


def test_pending_jobs_are_not_requested_again(folder: Path) -> None:
    (folder / "hold").touch()
    with pytest.raises(RunFailed, match="has connected to the scheduler within 1 s"), open_queue(folder, timeout=1):
        pass
    assert (folder / "queue").read_text().count("PENDING") == 2


def test_function_that_returns_no_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(UsageError, match=r"'os.path.join', which is not a Dask cluster class \(it has no scale and"),
        make_executor("os.path.join", workers=1, memory=None, options={"a": "x"}),
    ):
        pass
