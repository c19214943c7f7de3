"""Runs that publish to an Iceberg catalog in a real PostgreSQL database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import duckdb
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from masksift.storage.tables.iceberg import RUN_COLUMNS
from support.cli import error_message, run_cli
from support.postgres_server import PASSWORD, PostgresServer, run_postgres
from support.results import read_files, read_rows
from support.sources import make_data, write_source


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with run_postgres() as server:
        yield server


def table_args(uri: str, tmp_path: Path) -> tuple[str, ...]:
    """Return the arguments that publish to a catalog, in a namespace of the test."""
    place = ("--iceberg.warehouse", str(tmp_path / "lake"), "--iceberg.namespace", tmp_path.name)
    return ("--table", "iceberg", "--iceberg.catalog", uri, *place)


def published(postgres: PostgresServer, tmp_path: Path, table: str) -> pa.Table:
    """Read a table as another program does: from the catalog in the database, with another driver."""
    with SqlCatalog("default", uri=postgres.uri(driver="+psycopg")) as catalog:
        return catalog.load_table(f"{tmp_path.name}.{table}").scan().to_arrow()


def test_run_published_twice_to_postgres_is_there_once_and_another_run_beside_it(
    postgres: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [write_source(tmp_path / f"{name}.zarr", make_data(seed=seed)) for name, seed in (("a", 1), ("b", 2))]
    args = table_args(postgres.uri(), tmp_path)
    for source, out in ((0, "first"), (0, "first"), (0, "again"), (1, "second")):
        assert run_cli("run", "--source", sources[source].path, "--out", tmp_path / out, *args) == 0
    ranking = published(postgres, tmp_path, "ranking")
    found = duckdb.sql(
        "select run_id, count(*) n, min(rank) low, max(rank) high from ranking group by run_id"
    ).fetchall()
    assert sorted(row[1:] for row in found) == [(8, 1, 8), (8, 1, 8)], "the run of two directories is one run"
    run_id = json.loads((tmp_path / "second/manifest/plan.json").read_text())["fingerprint"]
    rows = ranking.filter(pa.compute.equal(ranking["run_id"], run_id)).sort_by("rank")
    assert rows.drop_columns(RUN_COLUMNS.names).to_pylist() == read_rows(tmp_path / "second", "ranking")
    printed = capsys.readouterr()
    texts = [printed.out.encode(), printed.err.encode(), *read_files(tmp_path).values()]
    for secret in (PASSWORD, quote(PASSWORD, safe="")):
        assert not any(secret.encode() in text for text in texts)


@pytest.mark.parametrize("change", ["password", "port", "database"])
def test_catalog_that_refuses_is_reported_before_the_run_without_the_password(
    postgres: PostgresServer, tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = {
        "password": postgres.uri("wrong-secret"),
        "port": postgres.uri().replace(f":{postgres.port}/", ":1/"),
        "database": f"{postgres.uri()}_missing",
    }[change]
    source = write_source(tmp_path / "a.zarr", make_data(images=2))
    assert run_cli("run", "--source", source.path, "--out", tmp_path / "out", *table_args(uri, tmp_path)) == 2
    message = error_message(capsys)
    assert message.startswith("The Iceberg catalog postgresql://***@127.0.0.1:")
    assert not any(secret in message for secret in ("wrong-secret", PASSWORD, quote(PASSWORD, safe="")))
    assert not (tmp_path / "out").exists()


def test_catalog_of_the_configuration_of_pyiceberg_is_used_in_a_process_of_its_own(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__URI", postgres.uri().replace(f":{quote(PASSWORD, safe='')}", ""))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    source = write_source(tmp_path / "a.zarr", make_data(images=2))
    args = ("run", "--source", source.path, "--out", tmp_path / "out", *table_args("lake", tmp_path))
    command = [sys.executable, "-m", "masksift", *map(str, args), "--executor.kind", "serial", "--log-format", "quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with SqlCatalog("lake", uri=postgres.uri(driver="+psycopg")) as catalog:
        assert catalog.load_table(f"{tmp_path.name}.images").scan().to_arrow().num_rows == 2


def test_runs_that_publish_at_once_are_both_there(postgres: PostgresServer, tmp_path: Path) -> None:
    serial = ("--executor.kind", "serial", "--log-format", "quiet")
    processes = []
    for seed in range(3):
        source = write_source(tmp_path / f"{seed}.zarr", make_data(images=4, seed=seed))
        args = ("run", "--source", source.path, "--out", tmp_path / f"out{seed}", *table_args(postgres.uri(), tmp_path))
        command = [sys.executable, "-m", "masksift", *map(str, args), *serial]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    for table in ("ranking", "images"):
        assert published(postgres, tmp_path, table).num_rows == 12
