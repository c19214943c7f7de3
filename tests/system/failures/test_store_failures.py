"""Whatever fails on the way, the results are those of the run in which nothing failed, or the run says what is lost."""

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
from masksift.engine import stages
from masksift.storage import credentials
from masksift.storage import retry as store_retry
from support.fault_proxy import Faults, proxy
from support.run_processes import command, small, start
from support.s3_server import Server
from support.sources import complaint, masksift, plain, write_source

CLIENTS = ("obstore", "s3fs")
TABLES = ("images", "ranking", "thresholds.parquet", "class_pairs.parquet", "class_quality.parquet")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become hundredths: a hang is given up soon, and pauses are short."""
    for module in (credentials, store_retry):
        monkeypatch.setattr(module, "REQUEST_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(retry, "INITIAL_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(retry, "MAX_BACKOFF_SECONDS", 0.1)


def tables(server: Server, place: str, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All tables of a run on the server, brought to a folder."""
    server.filesystem().get(f"lake/{place}/", f"{folder}/", recursive=True)
    return local(folder)


def local(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: pq.read_table(folder / name).to_pylist() for name in TABLES}


STORMS = {
    "20 % SlowDown": Faults(slow_down=0.2),
    "10 % resets": Faults(reset_before=0.05, reset_after=0.05),
    "2 % hangs": Faults(hang=0.02, seed=1),
    "all of them": Faults(slow_down=0.2, reset_before=0.05, reset_after=0.05, hang=0.02, seed=2),
}


@pytest.mark.parametrize(("client", "storm"), [*(("obstore", storm) for storm in STORMS), ("s3fs", "all of them")])
def test_a_store_that_fails_now_and_then_changes_nothing(
    server: Server, keys: None, hurried: None, tmp_path: Path, client: str, storm: str
) -> None:
    shards = (4, 4, 8, 10) if storm == "all of them" else None
    source = write_source(tmp_path / "a.zarr", plain(images=16), chunks=(1, 4, 4, 10), shards=shards)
    assert masksift("run", "--source", source, "--out", tmp_path / "undisturbed") == 0
    place = f"{client}-{list(STORMS).index(storm)}"
    server.filesystem().put(f"{source.path}/", f"lake/{place}/a.zarr/", recursive=True)
    with proxy(server.port, STORMS[storm]) as between:
        words = ("--storage.endpoint_url", between.url, "--storage.client", client)
        out = f"s3://lake/{place}-out"
        assert masksift("run", "--source", f"s3://lake/{place}/a.zarr", "--out", out, *words) == 0
    faults = [name for name in ("slow_down", "reset_before", "reset_after", "hang") if getattr(STORMS[storm], name)]
    assert all(between.done[name] for name in faults), "each of them has happened"
    spoilt = sum(between.done[name] for name in faults)
    assert tables(server, f"{place}-out", tmp_path / "out") == local(tmp_path / "undisturbed")
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["repeated"] <= spoilt
    assert record["repeated"] > 0 or spoilt < 10, "few may all have befallen what is asked before the first task"
    assert record["retries"] == 0, "no task had to be run again"
    assert between.most <= 16 + 8, "chunks, and parts of tables"


@pytest.mark.parametrize("client", CLIENTS)
def test_a_store_that_fails_most_of_the_time_is_given_up_and_the_run_goes_on_later(
    server: Server, keys: None, hurried: None, tmp_path: Path, client: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(tmp_path / "a.zarr", plain())
    assert masksift("run", "--source", source, "--out", tmp_path / "undisturbed") == 0
    place = f"given-up-{client}"
    server.filesystem().put(f"{source.path}/", f"lake/{place}/a.zarr/", recursive=True)
    words = ("--source", source, "--out", f"s3://lake/{place}-out", "--storage.client", client)
    capsys.readouterr()
    with proxy(server.port, Faults(slow_down=0.95)) as between:
        assert masksift("run", *words, "--storage.endpoint_url", between.url) == 5
    said = complaint(capsys)
    assert re.match(rf"The store did not answer s3://lake/{place}-out/\S+ in 12 attempts over \d+ s \(.*S", said)
    assert "run the same command again" in said
    assert masksift("run", *words, *server.flags) == 0
    assert tables(server, f"{place}-out", tmp_path / "out") == local(tmp_path / "undisturbed")


# ------------------------------------------------------------------------------------------- a server that dies


def products(server: Server, place: str, stage: str) -> int:
    """How many blocks of a stage are done."""
    files = server.filesystem()
    return len(files.glob(f"lake/{place}/manifest/{stage}/*.zip"))


@pytest.mark.parametrize(("stage", "client"), [("condense", "obstore"), ("score", "s3fs")])
def test_a_server_killed_with_9_and_started_again_changes_nothing(
    server: Server, keys: None, tmp_path: Path, stage: str, client: str
) -> None:
    source = small(tmp_path / "a.zarr", images=24)
    place = f"killed-{stage}-{client}"
    subprocess.run(command(source, tmp_path / "undisturbed", "--executor.kind", "serial"), capture_output=True)
    server.filesystem().put(f"{source}/", f"lake/{place}/a.zarr/", recursive=True)
    words = command(f"s3://lake/{place}/a.zarr", f"s3://lake/{place}-out", *server.flags, "--storage.client", client)
    run = start(words)
    until = time.monotonic() + 120
    while products(server, f"{place}-out", stage) < 4:
        assert time.monotonic() < until
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    server.kill()
    time.sleep(1)
    assert run.poll() is None
    server.start()
    _, said = run.communicate(timeout=300)
    assert run.returncode == 3, said  # for one image is ignored as a whole
    assert tables(server, f"{place}-out", tmp_path / "out") == local(tmp_path / "undisturbed")


# --------------------------------------------------------------------------------- what happens to source and results


def test_a_source_that_is_deleted_between_the_passes_ends_the_run_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(tmp_path / "a.zarr", plain())
    kept = shutil.copytree(source.path, tmp_path / "kept.zarr")
    straight = stages.find_thresholds

    def and_delete(*words: Any) -> Any:
        found = straight(*words)
        shutil.rmtree(source.path)
        return found

    with monkeypatch.context() as between:
        between.setattr(stages, "find_thresholds", and_delete)
        assert masksift("run", "--source", source, "--out", tmp_path / "out") == 5
    said = complaint(capsys)
    assert str(source.path) in said
    assert "what is done is kept" in said
    shutil.copytree(kept, source.path)
    assert masksift("run", "--source", source, "--out", tmp_path / "out") == 0
    assert masksift("run", "--source", source, "--out", tmp_path / "undisturbed") == 0
    assert local(tmp_path / "out") == local(tmp_path / "undisturbed")


@pytest.mark.parametrize("blocks", [24, 150])
def test_a_disk_that_fills_ends_the_run_and_with_more_room_it_goes_on(
    tmp_path: Path, blocks: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file system of so many KiB; with as few, the first pass does not fit."""
    source = write_source(tmp_path / "a.zarr", plain(images=16))
    disk = tmp_path / "disk"
    disk.mkdir()
    small_disk = ["mount", "-t", "tmpfs", "-o", f"size={blocks}k", "none", disk]
    if shutil.which("mount") is None or subprocess.run(small_disk, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        words = ("--source", source, "--out", disk / "out")
        assert masksift("run", *words) == 5
        said = complaint(capsys)
        assert "No space left on device" in said
        assert "what is done is kept" in said
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        assert masksift("run", *words) == 0
        assert masksift("run", "--source", source, "--out", tmp_path / "undisturbed") == 0
        assert local(disk / "out") == local(tmp_path / "undisturbed")
        assert not list((disk / "out").rglob("*.partial"))
    finally:
        subprocess.run(["umount", disk], check=True)
