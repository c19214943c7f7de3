"""Runs on a real SLURM whose jobs are canceled, kept waiting, refused, or reach their time limit."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from masksift.core.errors import UsageError
from masksift.runtime.executors import make_executor
from runtime.executors import task_functions as tasks
from support.run_processes import read_tables, run_command, start_process, wait_for_blocks, write_small_source
from system.executors.processes import SOURCES, until
from system.executors.slurm import Slurm, require_slurm, running_slurm

CLUSTER = "dask_jobqueue.SLURMCluster"
JOB: dict[str, Any] = {
    "cores": 1,
    "memory": "1 GiB",
    "processes": 1,
    "nanny": False,
    "interface": "lo",
    "walltime": "01:00:00",
    "job_directives_skip": ["--mem"],  # the node of this test has no configured memory
    "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    require_slurm()
    with running_slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture
def environment(slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and its children find SLURM, notice lost workers soon, and write the logs of jobs elsewhere."""
    more = {
        **slurm.environment,
        "PYTHONPATH": os.pathsep.join(SOURCES),
        "DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT": "1s",
    }
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DASK_LOGGING", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_source(tmp_path_factory.mktemp("source") / "street.zarr", images=96)


@pytest.fixture(scope="module")
def serial(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    out = tmp_path_factory.mktemp("out") / "serial"
    subprocess.run(run_command(source, out, "--executor.kind", "serial"), check=False, capture_output=True)
    return read_tables(out)


def start_run(source: Path, out: Path, timeout: int, **options: Any) -> subprocess.Popen[str]:
    """Start a run with two jobs that checks its workers every half second."""
    table = json.dumps({**JOB, **options}).replace('":', '" =')  # a TOML table
    flags = {"kind": CLUSTER, "workers": "2", "timeout": str(timeout), "options": table}
    args = run_command(source, out, *(word for key, value in flags.items() for word in (f"--executor.{key}", value)))
    args[2] = (
        f"from masksift.runtime.executors import worker_supply; worker_supply.CHECK_INTERVAL_SECONDS = 0.5; {args[2]}"
    )
    return start_process(args)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("options", [{}, {"cores": 2, "processes": 2, "nanny": True}], ids=["1 worker", "2 workers"])
def test_run_whose_jobs_are_canceled_in_each_stage_gives_the_serial_result(
    slurm: Slurm, source: Path, serial: dict[str, pa.Table], tmp_path: Path, options: dict[str, Any]
) -> None:
    out, canceled = tmp_path / "out", []
    run = start_run(source, out, 60, **options)

    def cancel() -> None:
        canceled.append(set(slurm.jobs()))
        slurm.cancel()

    for stage in ("condense", "score"):
        wait_for_blocks(out, stage, 2, run)
        cancel()
    until(lambda: (out / "report").exists() or run.poll() is not None, "the report", 120)
    cancel()
    _, log = run.communicate(timeout=120)
    assert run.returncode == 3, log  # one image has no valid pixel
    assert read_tables(out) == serial
    assert all(canceled)
    assert not set.intersection(*canceled)
    assert log.count(f"no worker of {CLUSTER} is connected; ") >= 2  # the report may end before it misses a worker
    assert "Traceback" not in log
    until(lambda: not slurm.jobs(), "the end of all jobs")


@pytest.mark.usefixtures("environment")
def test_run_waits_for_pending_jobs_longer_than_its_timeout(
    slurm: Slurm, source: Path, serial: dict[str, pa.Table], tmp_path: Path
) -> None:
    out, node = tmp_path / "out", slurm.run("sinfo", "--noheader", "--format=%n").strip()
    run = start_run(source, out, 12)
    wait_for_blocks(out, "condense", 2, run)
    slurm.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    slurm.cancel()
    log = _read_until(run, "pending job")
    assert re.search(
        rf"no worker of {CLUSTER} is connected for \d+ s; waiting for \d pending jobs? \(squeue: \d+ PEND", log
    )
    with pytest.raises(subprocess.TimeoutExpired):
        run.wait(14)
    slurm.run("scontrol", "update", f"nodename={node}", "state=resume")
    _, log = run.communicate(timeout=120)
    assert run.returncode == 3, log
    assert read_tables(out) == serial


def _read_until(run: subprocess.Popen[str], text: str) -> str:
    """Read messages up to one with a text."""
    assert run.stderr is not None
    log = ""
    while text not in log:
        line = run.stderr.readline()
        assert line, log
        log += line
    return log


@pytest.mark.usefixtures("environment")
def test_run_that_the_queue_refuses_ends_resumable(
    slurm: Slurm, source: Path, serial: dict[str, pa.Table], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = start_run(source, out, 12)
    wait_for_blocks(out, "condense", 2, run)
    slurm.run("scontrol", "update", "partitionname=main", "state=inactive")
    try:
        slurm.cancel()
        _, log = run.communicate(timeout=120)
    finally:
        slurm.run("scontrol", "update", "partitionname=main", "state=up")
    assert run.returncode == 5
    assert re.search(
        r"been connected for \d+ s, and none is pending\. Finished blocks are kept\. .*sbatch: error: ", log
    )
    assert "Traceback" not in log
    run = start_run(source, out, 60)
    _, log = run.communicate(timeout=120)
    assert run.returncode == 3, log
    assert read_tables(out) == serial


@pytest.mark.usefixtures("environment")
def test_job_that_reaches_its_time_limit_is_replaced(tmp_path: Path) -> None:
    # SLURM's limits are whole minutes, and it checks them twice a minute
    options = {**JOB, "walltime": "00:01:00"}
    with make_executor(CLUSTER, workers=1, memory=None, options=options, timeout=60) as executor:
        assert list(executor.map(partial(tasks.hangs_once, str(tmp_path)), [7], "limit")) == [7]


@pytest.mark.usefixtures("environment")
def test_invalid_partition_is_reported_at_once() -> None:
    with (
        pytest.raises(
            UsageError, match=r"No worker could be requested .*sbatch: error: invalid partition specified: gpu"
        ),
        make_executor(CLUSTER, workers=1, memory=None, options={**JOB, "queue": "gpu"}, timeout=60),
    ):
        pass
