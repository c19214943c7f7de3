"""Failures of stores and disks: results equal those of an undisturbed run, or the run fails and can be resumed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from masksift.core import retry
from masksift.engine.stages import RunStages
from masksift.storage import clients
from masksift.storage import retry as store_retry
from masksift.storage.sources import labeled_source
from masksift.storage.sources import open as open_sources
from support.cli import error_message, run_cli
from support.fault_proxy import Faults, run_fault_proxy
from support.run_processes import run_command, start_process, write_small_source
from support.s3_server import S3Server
from support.sources import make_data, write_source

CLIENTS = ("obstore", "s3fs")
TABLES = ("images", "ranking", "thresholds.parquet", "class_pairs.parquet", "class_quality.parquet")


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeouts of a second, pauses of hundredths, and as many attempts at opening as at other requests."""
    for module in (clients, store_retry):
        monkeypatch.setattr(module, "REQUEST_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(clients, "_REQUEST_TIMEOUT", "1s")
    for module in (labeled_source, open_sources):
        monkeypatch.setattr(module, "MAX_ATTEMPTS_ON_OPEN", retry.MAX_ATTEMPTS)
    monkeypatch.setattr(retry, "INITIAL_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(retry, "MAX_BACKOFF_SECONDS", 0.1)


def remote_tables(server: S3Server, place: str, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Download all tables of a run from the server."""
    server.filesystem().get(f"lake/{place}/", f"{folder}/", recursive=True)
    return read_tables(folder)


def read_tables(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: pq.read_table(folder / name).to_pylist() for name in TABLES}


FAULT_RATES = {
    "20 % SlowDown": Faults(slow_down=0.2),
    "10 % resets": Faults(reset_before=0.05, reset_after=0.05),
    "2 % hangs": Faults(hang=0.02, seed=1),
    "all of them": Faults(slow_down=0.2, reset_before=0.05, reset_after=0.05, hang=0.02, seed=2),
}


@pytest.mark.parametrize(("client", "rate"), [*(("obstore", rate) for rate in FAULT_RATES), ("s3fs", "all of them")])
def test_run_with_failing_requests_gives_the_same_tables(
    s3_server: S3Server, s3_credentials: None, short_timeouts: None, tmp_path: Path, client: str, rate: str
) -> None:
    shards = (4, 4, 8, 10) if rate == "all of them" else None
    source = write_source(tmp_path / "a.zarr", make_data(images=16), chunks=(1, 4, 4, 10), shards=shards)
    assert run_cli("run", "--source", source, "--out", tmp_path / "undisturbed") == 0
    place = f"{client}-{list(FAULT_RATES).index(rate)}"
    s3_server.filesystem().put(f"{source.path}/", f"lake/{place}/a.zarr/", recursive=True)
    with run_fault_proxy(s3_server.port, FAULT_RATES[rate]) as between:
        args = ("--storage.endpoint_url", between.url, "--storage.client", client)
        out = f"s3://lake/{place}-out"
        assert run_cli("run", "--source", f"s3://lake/{place}/a.zarr", "--out", out, *args) == 0
    faults = [name for name in ("slow_down", "reset_before", "reset_after", "hang") if getattr(FAULT_RATES[rate], name)]
    assert all(between.outcomes[name] for name in faults), "each fault was injected"
    injected = sum(between.outcomes[name] for name in faults)
    assert remote_tables(s3_server, f"{place}-out", tmp_path / "out") == read_tables(tmp_path / "undisturbed")
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["repeated"] <= injected
    assert record["repeated"] > 0 or injected < 10, "few faults may all hit requests before the first task"
    assert record["retries"] == 0, "no task was run again"
    assert between.max_concurrent <= 16 + 8, "chunks, and part files of tables"


@pytest.mark.parametrize("client", CLIENTS)
def test_run_gives_up_on_a_failing_store_and_resumes_later(
    s3_server: S3Server,
    s3_credentials: None,
    short_timeouts: None,
    tmp_path: Path,
    client: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = write_source(tmp_path / "a.zarr", make_data())
    assert run_cli("run", "--source", source, "--out", tmp_path / "undisturbed") == 0
    place = f"given-up-{client}"
    s3_server.filesystem().put(f"{source.path}/", f"lake/{place}/a.zarr/", recursive=True)
    args = ("--source", source, "--out", f"s3://lake/{place}-out", "--storage.client", client)
    capsys.readouterr()
    with run_fault_proxy(s3_server.port, Faults(slow_down=0.95)) as between:
        assert run_cli("run", *args, "--storage.endpoint_url", between.url) == 5
    message = error_message(capsys)
    assert re.match(rf"The store did not answer s3://lake/{place}-out/\S+ in 12 attempts over \d+ s \(.*S", message)
    assert "run the same command again" in message
    assert run_cli("run", *args, *s3_server.cli_args) == 0
    assert remote_tables(s3_server, f"{place}-out", tmp_path / "out") == read_tables(tmp_path / "undisturbed")


# ------------------------------------------------------------------------------------------------ killed servers


def finished_blocks(server: S3Server, place: str, stage: str) -> int:
    """Count the finished blocks of a stage."""
    files = server.filesystem()
    return len(files.glob(f"lake/{place}/manifest/{stage}/*.zip"))


@pytest.mark.parametrize(("stage", "client"), [("condense", "obstore"), ("score", "s3fs")])
def test_run_survives_a_killed_and_restarted_server(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path, stage: str, client: str
) -> None:
    source = write_small_source(tmp_path / "a.zarr", images=24)
    place = f"killed-{stage}-{client}"
    subprocess.run(run_command(source, tmp_path / "undisturbed", "--executor.kind", "serial"), capture_output=True)
    s3_server.filesystem().put(f"{source}/", f"lake/{place}/a.zarr/", recursive=True)
    args = run_command(
        f"s3://lake/{place}/a.zarr",
        f"s3://lake/{place}-out",
        *s3_server.cli_args,
        *("--storage.client", client, "--executor.kind", "local"),
    )
    run = start_process(args)
    until = time.monotonic() + 120
    while finished_blocks(s3_server, f"{place}-out", stage) < 4:
        assert time.monotonic() < until
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    s3_server.kill()
    time.sleep(1)
    assert run.poll() is None
    s3_server.start()
    _, message = run.communicate(timeout=300)
    assert run.returncode == 3, message  # one image has no valid pixel
    assert remote_tables(s3_server, f"{place}-out", tmp_path / "out") == read_tables(tmp_path / "undisturbed")


# ----------------------------------------------------------------------------------------------- sources and disks


def test_run_with_deleted_source_fails_with_its_url_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(tmp_path / "a.zarr", make_data())
    copy = shutil.copytree(source.path, tmp_path / "copy.zarr")
    find_thresholds = RunStages.find_thresholds

    def find_and_delete(*args: Any) -> Any:
        thresholds = find_thresholds(*args)
        shutil.rmtree(source.path)
        return thresholds

    with monkeypatch.context() as between:
        between.setattr(RunStages, "find_thresholds", find_and_delete)
        assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 5
    message = error_message(capsys)
    assert str(source.path) in message
    assert "Finished blocks are kept" in message
    shutil.copytree(copy, source.path)
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 0
    assert run_cli("run", "--source", source, "--out", tmp_path / "undisturbed") == 0
    assert read_tables(tmp_path / "out") == read_tables(tmp_path / "undisturbed")


@pytest.mark.parametrize("blocks", [24, 150])
def test_run_on_a_full_disk_fails_and_resumes_with_more_space(
    tmp_path: Path, blocks: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file system of that many KiB: the first pass does not fit into the smaller one."""
    source = write_source(tmp_path / "a.zarr", make_data(images=16))
    disk = tmp_path / "disk"
    disk.mkdir()
    small_disk = ["mount", "-t", "tmpfs", "-o", f"size={blocks}k", "none", disk]
    if shutil.which("mount") is None or subprocess.run(small_disk, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        args = ("--source", source, "--out", disk / "out")
        assert run_cli("run", *args) == 5
        message = error_message(capsys)
        assert "No space left on device" in message
        assert "Finished blocks are kept" in message
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        assert run_cli("run", *args) == 0
        assert run_cli("run", "--source", source, "--out", tmp_path / "undisturbed") == 0
        assert read_tables(disk / "out") == read_tables(tmp_path / "undisturbed")
        assert not list((disk / "out").rglob("*.partial"))
    finally:
        subprocess.run(["umount", disk], check=True)
