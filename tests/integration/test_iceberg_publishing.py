"""Runs that publish ranking and images to Iceberg tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog

from masksift.engine.resumable_job import ResumableJob
from masksift.engine.stages import RunStages
from masksift.storage.credentials import resolve_credentials
from masksift.storage.tables.iceberg import RUN_COLUMNS, IcebergTables
from support.cli import error_message, run_cli
from support.iceberg_rest_catalog import run_rest_catalog
from support.results import read_files, read_rows
from support.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from support.sources import Source, erase_chunks, make_data, write_source

TABLES = ("ranking", "images")
ORDER = {"ranking": "rank", "images": "index"}


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Source of eight images, two of them without predictions, with a date in its path."""
    made = write_source(tmp_path / "dt=2026-11-23" / "a.zarr", make_data())
    erase_chunks(made.predictions, slice(2, 4))
    return made


@pytest.fixture
def catalog_args(tmp_path: Path) -> tuple[str, ...]:
    """Arguments for a catalog in a database and a warehouse on disk."""
    return (
        "--table",
        "iceberg",
        "--iceberg.catalog",
        f"sqlite:///{tmp_path}/catalog.db",
        "--iceberg.warehouse",
        str(tmp_path / "lake"),
    )


@contextmanager
def catalog(catalog_args: tuple[str, ...]) -> Iterator[Catalog]:
    with SqlCatalog("default", uri=catalog_args[3]) as opened:
        yield opened


def read_iceberg_rows(catalog_args: tuple[str, ...], table: str, run_id: str | None = None) -> list[dict[str, Any]]:
    """Read the rows of one run, with the columns of its tables, or of all runs."""
    with catalog(catalog_args) as opened:
        found = opened.load_table(f"masksift.{table}").scan().to_arrow().sort_by(ORDER[table])
    if run_id is not None:
        found = found.filter(pc.field("run_id") == run_id).drop_columns(RUN_COLUMNS.names)
    answer: list[dict[str, Any]] = found.to_pylist()
    return answer


def record_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "run.json").read_text())
    return found


def assert_published_once(catalog_args: tuple[str, ...], out: Path) -> None:
    """Check that the catalog has the rows of the run's own tables and no others."""
    run_id = record_of(out)["fingerprint"]
    for table in TABLES:
        own = sorted(read_rows(out, table), key=lambda row: row[ORDER[table]])
        assert own
        assert read_iceberg_rows(catalog_args, table, run_id) == own
        assert len(read_iceberg_rows(catalog_args, table)) == len(own)


def list_snapshots(catalog_args: tuple[str, ...]) -> list[int]:
    with catalog(catalog_args) as opened:
        return [one.snapshot_id for table in TABLES for one in opened.load_table(f"masksift.{table}").snapshots()]


# ------------------------------------------------------------------------------------------------------ published rows


def test_iceberg_tables_have_the_rows_of_the_run(
    source: Source, catalog_args: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_cli("run", "--source", source, "--out", out, *catalog_args) == 3, "two images are quarantined"
    assert_published_once(catalog_args, out)
    assert {row["dt"] for row in read_iceberg_rows(catalog_args, "ranking")} == {"2026-11-23"}
    record = record_of(out)
    started = datetime.fromisoformat(record["started"])
    assert {row["run_started"] for table in TABLES for row in read_iceberg_rows(catalog_args, table)} == {started}
    with catalog(catalog_args) as opened:
        assert record["iceberg"] == {
            "catalog": catalog_args[3],
            "tables": [
                {
                    "table": f"masksift.{name}",
                    "rows": count,
                    "snapshot": opened.load_table(f"masksift.{name}").metadata.current_snapshot_id,
                }
                for name, count in (("ranking", 6), ("images", 8))
            ],
        }
    assert [stage["name"] for stage in record["stages"]][-3:] == ["rank", "report", "publish"]
    assert "tables: masksift.ranking (6 rows), masksift.images (8 rows)" in capsys.readouterr().out


def test_repeated_run_publishes_nothing(source: Source, catalog_args: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = ("run", "--source", source, "--out", out, *catalog_args)
    assert run_cli(*args) == 3
    before, history = read_files(out), list_snapshots(catalog_args)
    assert run_cli(*args) == 3
    assert (read_files(out), list_snapshots(catalog_args)) == (before, history)
    assert_published_once(catalog_args, out)


def test_same_run_in_another_directory_leaves_one_copy(
    source: Source, catalog_args: tuple[str, ...], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        assert run_cli("run", "--source", source, "--out", tmp_path / name, *catalog_args) == 3
    assert_published_once(catalog_args, tmp_path / "two")


def test_two_runs_are_published_side_by_side(source: Source, catalog_args: tuple[str, ...], tmp_path: Path) -> None:
    first, second, third = tmp_path / "first", tmp_path / "second", tmp_path / "third"
    assert run_cli("run", "--source", source, "--out", first, *catalog_args, "--methods", "softmin") == 3
    again = ("score", first, "--softmin.temperature", "0.5")
    assert run_cli(*again, "--out", third) == 3
    assert "iceberg" not in record_of(third), "rescoring does not inherit the destination"
    assert run_cli(*again, "--out", second, "--methods", "softmin,clc", *catalog_args) == 3
    for out in (first, second):
        found = read_iceberg_rows(catalog_args, "ranking", record_of(out)["fingerprint"])
        assert [{"clc": None, **row} for row in read_rows(out, "ranking")] == found
    assert len(read_iceberg_rows(catalog_args, "images")) == 16


# ------------------------------------------------------------------------------------------ complete, killed, repeated


def test_complete_run_is_published_later_without_computing(
    source: Source, catalog_args: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    args = ("run", "--source", source, "--out", out)
    assert run_cli(*args) == 3
    before = record_of(out)
    for stage in ("condense", "find_thresholds", "score", "rank"):
        monkeypatch.delattr(RunStages, stage)
    assert run_cli(*args, *catalog_args) == 3
    assert_published_once(catalog_args, out)
    after = record_of(out)
    assert {row["run_started"] for row in read_iceberg_rows(catalog_args, "images")} == {
        datetime.fromisoformat(before["started"])
    }
    assert after.pop("iceberg")["catalog"] == catalog_args[3]
    assert [stage["name"] for stage in after["stages"]] == [stage["name"] for stage in before["stages"]] + ["publish"]
    assert {**after, "stages": None} == {**before, "stages": None}


def test_complete_run_is_published_again_if_rows_are_missing_or_the_catalog_changes(
    source: Source, catalog_args: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    args = ("run", "--source", source, "--out", out)
    assert run_cli(*args, *catalog_args) == 3
    with catalog(catalog_args) as opened:
        opened.drop_table("masksift.images")
    assert run_cli(*args, *catalog_args) == 3
    assert_published_once(catalog_args, out)
    other = (*catalog_args[:3], f"sqlite:///{tmp_path}/other.db", *catalog_args[4:5], str(tmp_path / "other"))
    assert run_cli(*args, *other) == 3
    assert_published_once(other, out)
    assert record_of(out)["iceberg"]["catalog"] == other[3]


@pytest.mark.parametrize("moment", ["before the images", "before the record"])
def test_run_killed_while_publishing_leaves_one_copy_when_repeated(
    source: Source, catalog_args: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    out = tmp_path / "out"
    args = ("run", "--source", source, "--out", out, *catalog_args)
    real = IcebergTables.publish

    def publish(self: IcebergTables, name: str, *rest: Any) -> Any:
        if name == "images":
            raise KeyboardInterrupt
        return real(self, name, *rest)

    def write(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "before the images":
            patch.setattr(IcebergTables, "publish", publish)
        else:
            patch.setattr(ResumableJob, "write_record", write)
        assert run_cli(*args) == 5
    assert not (out / "run.json").exists(), "the run is complete after its tables"
    assert len(read_iceberg_rows(catalog_args, "ranking")) == 6
    assert len(read_iceberg_rows(catalog_args, "images")) == (0 if moment == "before the images" else 8)
    assert run_cli(*args) == 3
    assert_published_once(catalog_args, out)
    condense = record_of(out)["stages"][0]
    assert condense["reused_blocks"] == condense["blocks"]


# ------------------------------------------------------------------------------------------- refusals before computing


def rejection_message(out: Path, capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """Return the error message of a run that is refused before it computes or writes anything."""
    assert run_cli("run", "--out", out, *args) == 2
    assert not out.exists()
    return error_message(capsys)


def test_unreachable_catalog_is_rejected_before_computing(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, args = tmp_path / "out", ("--source", source, "--table", "iceberg")
    invalid_catalog = ("--iceberg.catalog", f"sqlite:///{tmp_path}/none/c.db", "--iceberg.warehouse", tmp_path / "lake")
    assert "cannot be used (OperationalError" in rejection_message(out, capsys, *args, *invalid_catalog)
    assert "pyiceberg has no catalog 'default'" in rejection_message(out, capsys, *args)
    assert "iceberg.warehouse is not given" in rejection_message(out, capsys, *args, *invalid_catalog[:2])


def test_missing_pyiceberg_is_rejected_before_computing(
    source: Source,
    catalog_args: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyiceberg.catalog", None)
    assert "pip install 'masksift[iceberg]'" in rejection_message(
        tmp_path / "out", capsys, "--source", source, *catalog_args
    )
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 3, "pyiceberg is optional"


def test_column_of_another_type_is_rejected_before_computing(
    source: Source, catalog_args: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("run", "--source", source, "--out", tmp_path / "one", *catalog_args) == 3
    other = write_source(tmp_path / "iou=high" / "b.zarr", make_data())
    capsys.readouterr()
    message = rejection_message(tmp_path / "two", capsys, "--source", other, "--methods", "softmin", *catalog_args)
    assert "Column 'iou' of table masksift.ranking has type double, but string in this run" in message


@pytest.mark.parametrize("name", ["run_id", "run_started"])
def test_path_column_named_like_a_table_column_is_rejected(
    catalog_args: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    other = write_source(tmp_path / f"{name}=7" / "b.zarr", make_data())
    message = rejection_message(tmp_path / "out", capsys, "--source", other, *catalog_args)
    assert f"The path of a source contains {name}=" in message


# --------------------------------------------------------------------------------------------- servers and credentials


def test_rest_catalog_credentials_are_written_to_no_file(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with run_rest_catalog(tmp_path / "rest") as server:
        uri = server.url.replace("//", "//somebody:the-password@")
        args = ("run", "--source", source, "--out", out, "--table", "iceberg", "--iceberg.catalog", uri)
        for _ in range(2):
            assert run_cli(*args, "--iceberg.namespace", "quality") == 3
        with RestCatalog("any", uri=server.url) as opened:
            for table in TABLES:
                found = opened.load_table(f"quality.{table}").scan().to_arrow().sort_by(ORDER[table])
                assert found.drop_columns(RUN_COLUMNS.names).to_pylist() == read_rows(out, table)
    assert record_of(out)["iceberg"]["catalog"] == server.url.replace("//", "//***@")
    printed = capsys.readouterr()
    for text in (printed.out.encode(), printed.err.encode(), *read_files(tmp_path).values()):
        assert b"the-password" not in text


def test_s3_warehouse_uses_resolved_credentials_and_writes_them_to_no_file(
    source: Source,
    catalog_args: tuple[str, ...],
    tmp_path: Path,
    s3_server: S3Server,
    s3_credentials: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    args = ("run", "--source", source, "--out", out, *catalog_args[:-1], "s3://lake/tables", *s3_server.cli_args)
    assert run_cli(*args) == 3
    assert run_cli(*args) == 3
    s3 = {"s3.endpoint": s3_server.url, "s3.access-key-id": ACCESS_KEY, "s3.secret-access-key": SECRET_KEY}
    with SqlCatalog("default", uri=catalog_args[3], **s3, **{"s3.region": "us-east-1"}) as opened:
        for table in TABLES:
            found = opened.load_table(f"masksift.{table}").scan().to_arrow().sort_by(ORDER[table])
            assert found.drop_columns(RUN_COLUMNS.names).to_pylist() == read_rows(out, table)
    files = s3_server.filesystem().find("lake/tables")
    assert any(file.endswith(".parquet") for file in files)
    contents = [s3_server.filesystem().cat_file(file) for file in files]
    printed = capsys.readouterr()
    contents += [printed.out.encode(), printed.err.encode(), (tmp_path / "catalog.db").read_bytes()]
    contents += read_files(out).values()
    for content in contents:
        assert ACCESS_KEY.encode() not in content
        assert SECRET_KEY.encode() not in content


def test_rejected_credentials_are_rejected_before_computing(
    source: Source,
    catalog_args: tuple[str, ...],
    tmp_path: Path,
    s3_server: S3Server,
    s3_credentials: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-of-the-tests")
    resolve_credentials.cache_clear()
    args = (*catalog_args[:-1], "s3://lake/others", *s3_server.cli_args)
    message = rejection_message(tmp_path / "out", capsys, "--source", source, *args)
    assert "cannot be used" in message
    assert "wrong-secret" not in message
    assert ACCESS_KEY not in message


def test_run_without_iceberg_has_no_table_record(source: Source, tmp_path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 3
    record = record_of(tmp_path / "out")
    assert "iceberg" not in record
    assert "publish" not in [stage["name"] for stage in record["stages"]]
    assert datetime.fromisoformat(record["started"]) >= before
