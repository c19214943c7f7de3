"""Resuming: a killed run finishes with the same tables and repeats only unfinished blocks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from support.run_processes import read_tables, run_command, start_process, wait_for_blocks, write_small_source

IMAGES = 96


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_source(tmp_path_factory.mktemp("source") / "street.zarr", images=IMAGES)


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    out = tmp_path_factory.mktemp("out") / "undisturbed"
    subprocess.run(run_command(source, out, "--executor.kind", "serial"), check=False, capture_output=True)
    return read_tables(out)


def rerun(args: list[str], out: Path) -> dict[str, pa.Table]:
    """Run the same command again. The exit code is 3: one image has no valid pixel."""
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    return read_tables(out)


def reused_blocks(out: Path, stage: str) -> int:
    record = json.loads((out / "run.json").read_text())
    return next(part["reused_blocks"] for part in record["stages"] if part["name"] == stage)


def test_client_killed_before_the_ranking_resumes_without_scoring_again(
    source: Path, undisturbed: dict[str, pa.Table], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    args = run_command(source, out, "--executor.workers", "2")
    run = start_process(args)
    wait_for_blocks(out, "condense", 1, run)
    blocks = json.loads((out / "manifest/plan.json").read_text())["blocks"]
    wait_for_blocks(out, "score", blocks, run)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert not (out / "run.json").exists()
    assert rerun(args, out) == undisturbed
    assert reused_blocks(out, "score") == blocks


@pytest.mark.parametrize(("kind", "stage"), [("local", "condense"), ("local", "score"), ("serial", "score")])
def test_client_killed_within_a_stage_resumes(
    source: Path, undisturbed: dict[str, pa.Table], tmp_path: Path, kind: str, stage: str
) -> None:
    out = tmp_path / "out"
    args = run_command(source, out, "--executor.kind", kind, "--executor.workers", "2")
    run = start_process(args)
    wait_for_blocks(out, stage, 4, run)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert not (out / "run.json").exists()
    assert rerun(args, out) == undisturbed
    assert reused_blocks(out, stage) >= 4


@pytest.mark.parametrize("interrupts", [1, 20])
def test_ctrl_c_exits_with_5_and_a_hint_to_resume(
    source: Path, undisturbed: dict[str, pa.Table], tmp_path: Path, interrupts: int
) -> None:
    out = tmp_path / "out"
    args = run_command(source, out, "--executor.workers", "2")
    run = start_process(args)
    wait_for_blocks(out, "condense", 3, run)
    for _ in range(interrupts):  # a user may press again while the run is closing
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGINT)  # like a terminal: the workers receive it too
            time.sleep(0.1)
    _, message = run.communicate(timeout=120)
    assert run.returncode == 5
    assert "interrupted. Finished blocks are kept. Run the same command again to resume." in message
    assert "Traceback" not in message
    assert rerun(args, out) == undisturbed
    assert reused_blocks(out, "condense") >= 3


@pytest.mark.parametrize("stage", ["condense", "score"])
def test_run_with_a_killed_worker_gives_the_same_tables(
    source: Path, undisturbed: dict[str, pa.Table], tmp_path: Path, stage: str
) -> None:
    out = tmp_path / "out"
    run = start_process(run_command(source, out, "--executor.workers", "2"))
    wait_for_blocks(out, stage, 2, run)
    workers = [p for p in psutil.Process(run.pid).children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
    workers[0].kill()
    _, message = run.communicate(timeout=120)
    assert run.returncode == 3, message
    assert read_tables(out) == undisturbed


@pytest.fixture
def cluster() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A scheduler and a worker as separate processes: (address, scheduler)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"], **quiet
    )  # type: ignore[call-overload]
    worker = subprocess.Popen([*dask, "worker", address, "--nthreads", "1", "--no-dashboard"], **quiet)  # type: ignore[call-overload]
    try:
        yield address, scheduler
    finally:
        for process in (scheduler, worker):
            for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
                child.kill()
            process.kill()
            process.wait()


def test_run_that_loses_its_scheduler_exits_with_5_and_resumes_on_another(
    source: Path,
    undisturbed: dict[str, pa.Table],
    tmp_path: Path,
    cluster: tuple[str, subprocess.Popen[bytes]],
    scheduler_address: str,
) -> None:
    out = tmp_path / "out"
    where, scheduler = cluster
    run = start_process(run_command(source, out, "--executor.kind", "dask", "--executor.address", where))
    wait_for_blocks(out, "condense", 3, run)
    scheduler.kill()
    _, message = run.communicate(timeout=120)
    assert run.returncode == 5, message
    assert "was lost" in message
    assert "Traceback" not in message
    finishing = run_command(source, out, "--executor.kind", "dask", "--executor.address", scheduler_address)
    assert rerun(finishing, out) == undisturbed
    assert reused_blocks(out, "condense") >= 3


def test_second_run_into_the_same_output_is_refused_and_the_first_finishes(
    source: Path, undisturbed: dict[str, pa.Table], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = start_process(run_command(source, out, "--executor.workers", "2"))
    wait_for_blocks(out, "condense", 3, first)
    os.kill(first.pid, signal.SIGSTOP)  # alive, but its heartbeat stops
    args = run_command(source, out, "--executor.kind", "serial")
    second = subprocess.run(args, capture_output=True, text=True, check=False)
    os.kill(first.pid, signal.SIGCONT)
    assert second.returncode == 2
    assert f"{out} is in use by another run (process {first.pid} on {socket.gethostname()})" in second.stderr
    _, message = first.communicate(timeout=120)
    assert first.returncode == 3, message
    assert read_tables(out) == undisturbed


def test_complete_run_writes_nothing(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = run_command(source, out, "--executor.kind", "serial")
    rerun(args, out)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "complete already" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == stamps
