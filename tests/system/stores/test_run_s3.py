"""Runs on a real S3 server: the tables of a run on disk, requests as planned, and no credentials in any output."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from masksift.cli.main import main
from masksift.config.load import build_run_config
from masksift.core.errors import DataError, UsageError
from masksift.engine.work_items import BlockTasks
from masksift.runner import make_run_context, open_and_plan
from masksift.storage.credentials import StorageOptions, StoreConfig, resolve_credentials
from masksift.storage.objects import ObjectDirectory
from support.cli import error_message, run_cli
from support.errors import raises
from support.fault_proxy import Faults, run_fault_proxy
from support.results import read_rows
from support.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from support.sources import make_data, write_source

CLIENTS = ("obstore", "s3fs")
TABLES = ("thresholds.parquet", "class_pairs.parquet", "class_quality.parquet")


def upload(server: S3Server, directory: Path, name: str) -> str:
    """Upload a directory to the bucket and return its URL."""
    server.filesystem().put(f"{directory}/", f"lake/{name}/", recursive=True)
    return f"s3://lake/{name}"


def read_object(server: S3Server, name: str) -> list[dict[str, Any]]:
    """Return the rows of a Parquet object."""
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(server.filesystem().cat_file(name))).to_pylist()
    return rows


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("shards", [None, (4, 4, 8, 10)])
def test_run_on_s3_writes_the_tables_of_the_run_on_disk(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path, client: str, shards: Any
) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(), chunks=(2, 4, 4, 10), shards=shards)
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 0
    prefix = f"{client}-{shards is None}"
    url = upload(s3_server, source.path, f"{prefix}/a.zarr")
    out = f"s3://lake/{prefix}-out"
    args = ("--source", url, "--out", out, *s3_server.cli_args, "--storage.client", client)
    assert run_cli("run", *args) == 0
    for name in TABLES:
        assert read_object(s3_server, f"lake/{prefix}-out/{name}") == pq.read_table(tmp_path / "out" / name).to_pylist()
    (part,) = s3_server.filesystem().glob(f"lake/{prefix}-out/ranking/*.parquet")
    assert read_object(s3_server, part) == read_rows(tmp_path / "out", "ranking")
    record = json.loads(s3_server.filesystem().cat_file(f"lake/{prefix}-out/run.json"))
    condense = next(stage for stage in record["stages"] if stage["name"] == "condense")
    assert condense["requests"] > 8
    assert run_cli("run", *args) == 0, "a complete run is not repeated"
    assert run_cli("score", out, "--out", f"{out}-again", *s3_server.cli_args, "--softmin.temperature", "0.2") == 0


@pytest.mark.parametrize("client", CLIENTS)
def test_prefix_with_any_name_is_taken_literally(
    s3_server: S3Server,
    s3_credentials: None,
    tmp_path: Path,
    client: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, prefix = write_source(tmp_path / "a.zarr", make_data()), f"lake/we[1]*?::%20# ü {client}"
    files = s3_server.filesystem()
    for file in (path for path in source.path.rglob("*") if path.is_file()):
        files.pipe_file(f"{prefix}/a.zarr/{file.relative_to(source.path)}", file.read_bytes())
    more = (*s3_server.cli_args, "--storage.client", client, "--report.top", 0)
    for name in ("a.zarr", "*.zarr"):
        assert run_cli("run", "--source", f"s3://{prefix}/{name}", "--out", f"s3://{prefix}/out", *more) == 0
    assert f"{prefix}/out/run.json" in files.find(prefix)
    before, _ = files.find(prefix), capsys.readouterr()
    for out, relation in (("a.zarr/out", "is inside the input"), ("", "contains the input")):
        assert run_cli("run", "--source", f"s3://{prefix}/a.zarr", "--out", f"s3a://{prefix}/{out}", *more) == 2
        assert relation in error_message(capsys)
    assert files.find(prefix) == before


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("shards", [None, (4, 4, 8, 10)])
def test_run_on_an_archive_on_s3_equals_the_run_on_its_directory(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path, client: str, shards: Any
) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(), chunks=(2, 4, 4, 10), shards=shards).path
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 0
    shutil.make_archive(str(source), "zip", source)
    url = f"lake/zip-{client}-{shards is None}/a.zarr.zip"
    s3_server.filesystem().put(f"{source}.zip", url)
    pattern = f"s3://{url.replace('a.zarr', '*.zarr')}"
    flags = ("--report.top", 0, *s3_server.cli_args, "--storage.client", client)
    assert run_cli("run", "--source", pattern, "--out", tmp_path / "remote", *flags) == 0
    assert read_rows(tmp_path / "remote") == read_rows(tmp_path / "out")
    two = ("--labels", f"s3://{url}/labels", "--predictions", f"s3://{url}/predictions")
    assert main(["plan", *two, "--out", str(tmp_path / "two"), *s3_server.cli_args]) == 0


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_plan_counts_the_requests_that_a_run_makes(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(
        tmp_path / "a.zarr", make_data(images=24, dtype=dtype), chunks=(1, 4, 8, 10), shards=(4, 4, 8, 10)
    )
    url, out = upload(s3_server, source.path, f"requests-{dtype}/a.zarr"), f"s3://lake/requests-{dtype}-out"
    args = ["--source", url, "--out", out, "--evidence.dtype", "float32"]
    prices = ["--storage.price_reads", "0.4", "--storage.price_writes", "5"]
    assert main(["plan", *args, *s3_server.cli_args, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert main(["plan", *args, *s3_server.cli_args, *prices]) == 0
    cost = plan["reads"] / 1000 * 0.4 + plan["writes"] / 1000 * 5
    message = f"{plan['reads']:,} reads, {plan['writes']:,} writes, 16 at a time per worker: {cost:.2f} at 0.4 and 5 a"
    assert message in capsys.readouterr().out
    with run_fault_proxy(s3_server.port, Faults()) as between:
        assert run_cli("run", *args, "--storage.endpoint_url", between.url) == 0
    assert plan["reads"] == pytest.approx(between.methods["GET"] + between.methods["HEAD"], rel=0.1)
    assert plan["writes"] == pytest.approx(between.methods["PUT"], rel=0.1)
    assert 0 < between.max_concurrent <= plan["requests_at_once"]


def test_workers_started_without_credentials_use_those_of_the_client(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path, scheduler_address: str
) -> None:
    source = write_source(tmp_path / "a.zarr", make_data())
    url = upload(s3_server, source.path, "cluster/a.zarr")
    out = "s3://lake/cluster-out"
    args = ["run", "--source", url, "--out", out, *s3_server.cli_args, "--log-format", "quiet"]
    assert main([*args, "--executor.kind", "dask", "--executor.address", scheduler_address]) == 0
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 0
    for name in TABLES:
        assert read_object(s3_server, f"lake/cluster-out/{name}") == pq.read_table(tmp_path / "out" / name).to_pylist()


def test_run_with_a_glob_on_s3_has_columns_from_the_paths(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path
) -> None:
    for day in ("2026-11-22", "2026-11-23"):
        upload(s3_server, write_source(tmp_path / day, make_data(images=2)).path, f"days/dt={day}/site=a")
    out = tmp_path / "out"
    assert run_cli("run", "--source", "s3://lake/days/dt=*/site=*", "--out", out, *s3_server.cli_args) == 0
    assert [(row["dt"], row["site"], row["index"]) for row in read_rows(out)] == [
        (day, "a", i) for day in ("2026-11-22", "2026-11-23") for i in range(2)
    ]


@pytest.mark.parametrize("client", CLIENTS)
def test_run_with_a_base_reuses_a_source_on_s3_until_an_object_changes(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path, client: str
) -> None:
    source = write_source(tmp_path / "a.zarr", make_data())
    url = upload(s3_server, source.path, f"grown-{client}/a.zarr")
    args = ("--source", url, *s3_server.cli_args, "--storage.client", client)

    def reused_sources(out: str, *more: object) -> int:
        assert run_cli("run", *args, "--out", tmp_path / out, *more) == 0
        count: int = json.loads((tmp_path / out / "run.json").read_text())["kept_sources"]
        return count

    assert reused_sources("base") == 0
    assert reused_sources("same", "--base", tmp_path / "base") == 1
    other = write_source(tmp_path / "other" / "a.zarr", make_data(seed=5)).chunk_file("predictions", 0, 0, 0, 0)
    place = f"lake/grown-{client}/a.zarr/{source.chunk_file('predictions', 0, 0, 0, 0).relative_to(source.path)}"
    s3_server.filesystem().pipe_file(place, other.read_bytes())
    assert reused_sources("changed", "--base", tmp_path / "base") == 0


@pytest.mark.parametrize("client", CLIENTS)
def test_run_quarantines_the_images_of_missing_and_damaged_chunks_on_s3(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path, client: str
) -> None:
    source = write_source(tmp_path / "a.zarr", make_data())
    source.chunk_file("predictions", 1, 0, 0, 0).unlink()
    file = source.chunk_file("labels", 2, 0, 0)
    file.write_bytes(file.read_bytes()[:-4])
    url = upload(s3_server, source.path, f"lost-{client}/a.zarr")
    out = tmp_path / "out"
    assert run_cli("run", "--source", url, "--out", out, *s3_server.cli_args, "--storage.client", client) == 3
    status = [row["status"] for row in read_rows(out)]
    assert status == ["scored"] * 2 + ["missing_chunk"] * 2 + ["unreadable"] * 2 + ["scored"] * 2


# ---------------------------------------------------------------------------------------------------- credentials


def test_credentials_are_in_no_file_log_error_or_repr(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path
) -> None:
    source = write_source(tmp_path / "a.zarr", make_data())
    url, out = upload(s3_server, source.path, "secret/a.zarr"), tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "masksift",
        "run",
        "--source",
        url,
        "--out",
        str(out),
        *s3_server.cli_args,
        "--executor.workers",
        "1",
        "--log-format",
        "json",
    ]
    environment = {**os.environ, **s3_server.environment, "MASKSIFT_TRACEBACK": "1"}
    good = subprocess.run(command, capture_output=True, env=environment, check=True)
    command[command.index(url)] = "s3://nobucket/a.zarr"
    bad = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert bad.returncode == 2
    config = build_run_config({"sources": [url], "out": str(out), "storage": {"endpoint_url": s3_server.url}}, {})
    sources, plan = open_and_plan(config)
    job = make_run_context(config, BlockTasks.from_plan(plan, sources, config.out))
    assert job.options["s3"]["secret"] == SECRET_KEY, "static keys are sent to the workers"
    assert pickle.loads(pickle.dumps(job)).options == job.options
    texts = [
        good.stdout,
        good.stderr,
        bad.stdout,
        bad.stderr,
        repr(job).encode(),
        repr(job.options).encode(),
        f"{job.options}".encode(),
        repr(ObjectDirectory(out.as_uri(), job.options)).encode(),
        repr(sources).encode(),
        json.dumps(plan.as_json()).encode(),
    ]
    texts += [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    for text in texts:
        assert SECRET_KEY.encode() not in text
        assert ACCESS_KEY.encode() not in text


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("flag", ["--source", "--labels_from"])
def test_run_with_wrong_credentials_fails_with_the_url_and_without_keys(
    s3_server: S3Server,
    s3_credentials: None,
    monkeypatch: pytest.MonkeyPatch,
    client: str,
    flag: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    args = {"--source": str(write_source(tmp_path / "a.zarr"))} | {flag: "s3://lake/a.zarr"}
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-of-the-tests")
    resolve_credentials.cache_clear()
    pairs = [word for pair in args.items() for word in pair]
    assert run_cli("run", *pairs, "--out", tmp_path / "out", *s3_server.cli_args, "--storage.client", client) == 2
    message = error_message(capsys)
    assert message.startswith("s3://lake/a.zarr cannot be read")
    assert "wrong-secret" not in message
    assert ACCESS_KEY not in message


@pytest.mark.parametrize("client", CLIENTS)
def test_run_from_a_bucket_that_does_not_exist_fails_with_the_url(
    s3_server: S3Server, s3_credentials: None, client: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flags = ("--storage.client", client, "--out", tmp_path / "out")
    assert run_cli("run", "--source", "s3://nobucket/a.zarr", *flags, *s3_server.cli_args) == 2
    assert "s3://nobucket/a.zarr" in error_message(capsys)


def test_unknown_profile_is_refused(tmp_path: Path, s3_credentials: None) -> None:
    with raises(UsageError, r"AWS profile 'nobody' does not exist here"):
        resolve_credentials(StoreConfig(profile="nobody"))


def test_credentials_come_from_the_profile_and_an_anonymous_reader_has_none(
    tmp_path: Path, s3_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    file.write_text(f"[lake]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = from-the-profile\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    found = resolve_credentials(StoreConfig(profile="lake", region="eu-central-1"))
    assert (found["key"], found["secret"], found["region"]) == (ACCESS_KEY, "from-the-profile", "eu-central-1")
    anonymous = resolve_credentials(StoreConfig(anonymous=True))
    assert anonymous["anonymous"]
    assert "key" not in anonymous


def test_local_stores_need_no_options() -> None:
    config = build_run_config({"sources": ["a.zarr"], "out": "out"}, {})
    assert config.options() == StorageOptions()
    with pytest.raises(DataError, match=r"There is no Zarr group at a\.zarr"):
        open_and_plan(config)
