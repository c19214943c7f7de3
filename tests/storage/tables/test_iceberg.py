"""Iceberg tables: idempotent publishing, schema evolution, catalogs, refusals."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.table.update.snapshot import UpdateSnapshot
from pyiceberg.types import NestedField, StringType

from masksift.core import retry
from masksift.core.errors import Interrupted, RunFailed, UsageError
from masksift.storage.credentials import StorageOptions, redact_uri
from masksift.storage.tables import iceberg
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.iceberg import RUN_COLUMNS, IcebergTables
from masksift.storage.tables.schemas import images_schema, ranking_schema
from support.errors import raises
from support.iceberg_rest_catalog import run_rest_catalog

COLUMNS = ranking_schema(["softmin"], ["day"])
NAME = "masksift.ranking"
START = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)


def make_ranking(count: int, *, source: str = "a", columns: pa.Schema = COLUMNS) -> pa.Table:
    """Make rows of a ranking. The nullable partition column is null in every other row."""
    rows: list[dict[str, Any]] = [
        {
            "rank": i + 1,
            "percentile": 100.0 * (i + 1) / count,
            "image_id": f"{source}/{i}",
            "source": source,
            "index": i,
            "ranked_by": "softmin",
            "score": i / count,
            "day": None if i % 2 else "2026-11-23",
        }
        for i in range(count)
    ]
    scores = {column.name: 0.5 for column in columns if column.type == pa.float64()}
    return table_from_rows([{**scores, **row} for row in rows], columns)


@pytest.fixture(params=["database", "server"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[IcebergTables]:
    """Empty namespace in a database and in a REST catalog."""
    if request.param == "database":
        yield local_tables(tmp_path)
    else:
        with run_rest_catalog(tmp_path) as server:
            yield IcebergTables(server.url, None, "masksift")


def local_tables(directory: Path, namespace: str = "masksift") -> IcebergTables:
    return IcebergTables(f"sqlite:///{directory}/catalog.db", str(directory / "lake"), namespace)


@contextmanager
def open_catalog(lake: IcebergTables) -> Iterator[Catalog]:
    """Open the catalog with pyiceberg alone."""
    catalog_class = RestCatalog if lake.catalog.startswith("http") else SqlCatalog
    with catalog_class(
        "default", uri=lake.catalog, **({"warehouse": lake.warehouse} if lake.warehouse else {})
    ) as catalog:
        yield catalog


def read_ranking(lake: IcebergTables, run_id: str | None = None) -> pa.Table:
    """Read the ranking of one run, or of all with the columns of runs, by source and rank."""
    with open_catalog(lake) as catalog:
        table = catalog.load_table(NAME).scan().to_arrow()
    rows = table if run_id is None else table.filter(pc.field("run_id") == run_id).drop_columns(RUN_COLUMNS.names)
    return rows.sort_by([("source", "ascending"), ("rank", "ascending")])


def publish(lake: IcebergTables, run_id: str, *tables: pa.Table) -> iceberg.Published:
    lake.create_or_evolve({"ranking": tables[0].schema})
    return lake.publish("ranking", run_id, START, iter(tables), "s3://lake/out")


def snapshot_operations(lake: IcebergTables) -> list[str]:
    """Return the operation of every snapshot of the ranking."""
    with open_catalog(lake) as catalog:
        snapshots = catalog.load_table(NAME).snapshots()
    return [str(snapshot.summary.operation.value) for snapshot in snapshots if snapshot.summary]


# ------------------------------------------------------------------------------------------------ publishing


def test_publish_stores_rows_with_their_types_and_run(lake: IcebergTables) -> None:
    published = publish(lake, "one", make_ranking(5))
    table_rows = read_ranking(lake)
    assert table_rows.schema.names == [*RUN_COLUMNS.names, *COLUMNS.names]
    for column in (*RUN_COLUMNS, *COLUMNS):
        field = table_rows.schema.field(column.name)
        assert field.nullable == column.nullable, column.name
        assert str(field.type).removeprefix("large_") == str(column.type), column.name
    assert table_rows.drop_columns(RUN_COLUMNS.names).to_pylist() == make_ranking(5).to_pylist()
    assert set(table_rows["run_id"].to_pylist()) == {"one"}
    assert set(table_rows["run_started"].to_pylist()) == {START}
    with open_catalog(lake) as catalog:
        table = catalog.load_table(NAME)
    assert [str(part.transform) for part in table.spec().fields] == ["identity"]
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert (published.table, published.snapshot, published.rows) == (NAME, snapshot.snapshot_id, 5)
    assert snapshot.summary is not None
    assert (snapshot.summary["masksift.run_id"], snapshot.summary["masksift.out"]) == ("one", "s3://lake/out")


def test_publish_of_a_published_run_replaces_its_rows(lake: IcebergTables) -> None:
    publish(lake, "one", make_ranking(5))
    publish(lake, "two", make_ranking(4, source="b"))
    publish(lake, "one", make_ranking(3))
    assert read_ranking(lake, "one").to_pylist() == make_ranking(3).to_pylist()
    assert read_ranking(lake, "two").to_pylist() == make_ranking(4, source="b").to_pylist()
    assert len(read_ranking(lake)) == 7
    assert snapshot_operations(lake) == ["append", "append", "delete", "append"]
    assert (lake.rows("ranking", "one"), lake.rows("ranking", "two"), lake.rows("ranking", "x")) == (3, 4, 0)
    assert lake.rows("images", "one") == 0, "the table does not exist"


def test_publish_of_a_run_without_scored_images_adds_no_rows(lake: IcebergTables) -> None:
    assert publish(lake, "one", COLUMNS.empty_table()).rows == 0
    assert len(read_ranking(lake)) == 0


def test_publish_of_many_tables_writes_few_files_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, size = local_tables(tmp_path), make_ranking(10).nbytes
    monkeypatch.setattr(iceberg, "FILE_BYTES", 3 * size)
    written: list[int] = []
    consumed = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal consumed
        for i in range(8):
            consumed += 1
            assert consumed - 3 * len(written) <= 3, "earlier rows are written"
            yield make_ranking(10, source=f"s{i}")

    import pyiceberg.io.pyarrow

    real = pyiceberg.io.pyarrow.write_file

    def write_file(*args: Any) -> Any:
        for file in real(*args):
            written.append(file.record_count)
            yield file

    monkeypatch.setattr(pyiceberg.io.pyarrow, "write_file", write_file)
    lake.create_or_evolve({"ranking": COLUMNS})
    published = lake.publish("ranking", "one", START, tables(), "out")
    assert (published.rows, written) == (80, [30, 30, 20])
    assert snapshot_operations(lake) == ["append"]
    assert read_ranking(lake, "one").to_pylist() == [
        row for i in range(8) for row in make_ranking(10, source=f"s{i}").to_pylist()
    ]


def test_published_files_contain_all_columns_for_other_engines(tmp_path: Path) -> None:
    import duckdb

    lake = local_tables(tmp_path)
    publish(lake, "one", make_ranking(5))
    publish(lake, "one", make_ranking(4))
    with open_catalog(lake) as catalog:
        files = [task.file.file_path for task in catalog.load_table(NAME).scan().plan_files()]
    rows = duckdb.connect().sql(f"select run_id, rank, image_id, score from read_parquet({files}) order by rank")
    assert rows.fetchall() == [
        ("one", row["rank"], row["image_id"], row["score"]) for row in make_ranking(4).to_pylist()
    ]


# -------------------------------------------------------------------------------------- interruptions and conflicts


def test_publish_interrupted_while_writing_changes_nothing(
    lake: IcebergTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(lake, "one", make_ranking(5))
    monkeypatch.setattr(iceberg, "FILE_BYTES", 1)

    def tables() -> Iterator[pa.Table]:
        yield make_ranking(3)
        raise Interrupted("The run was interrupted", "Finished tasks are kept", "Run it again")

    with raises(Interrupted, "The run was interrupted"):
        lake.publish("ranking", "one", START, tables(), "out")
    assert read_ranking(lake, "one").to_pylist() == make_ranking(5).to_pylist()
    publish(lake, "one", make_ranking(3))
    assert read_ranking(lake, "one").to_pylist() == make_ranking(3).to_pylist()


@pytest.mark.parametrize(
    "step", [(UpdateSnapshot, "fast_append"), (Transaction, "commit_transaction")], ids=["append", "commit"]
)
def test_publish_interrupted_before_the_commit_changes_nothing(
    lake: IcebergTables, monkeypatch: pytest.MonkeyPatch, step: tuple[type, str]
) -> None:
    publish(lake, "one", make_ranking(5))

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*step, interrupt)
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            lake.publish("ranking", "one", START, iter([make_ranking(3)]), "out")
    assert read_ranking(lake, "one").to_pylist() == make_ranking(5).to_pylist()
    publish(lake, "one", make_ranking(3))
    assert read_ranking(lake, "one").to_pylist() == make_ranking(3).to_pylist()


def on_first_commit(monkeypatch: pytest.MonkeyPatch, act: Callable[[Callable[[], None]], None]) -> None:
    """Call `act` instead of the first commit, with the commit as its argument."""
    real, first = Table._do_commit, True

    def commit(self: Table, *args: Any, **kwargs: Any) -> None:
        nonlocal first
        if first:
            first = False
            act(lambda: real(self, *args, **kwargs))
        else:
            real(self, *args, **kwargs)

    monkeypatch.setattr(Table, "_do_commit", commit)


@pytest.mark.parametrize("other", ["one", "two"])
def test_publish_with_a_conflicting_commit_retries(
    lake: IcebergTables, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """The other commit may be of the same run."""
    lake.create_or_evolve({"ranking": COLUMNS})

    def act(commit: Callable[[], None]) -> None:
        publish(lake, other, make_ranking(4, source="b"))
        commit()

    on_first_commit(monkeypatch, act)
    published = publish(lake, "one", make_ranking(5))
    assert read_ranking(lake, "one").to_pylist() == make_ranking(5).to_pylist()
    assert len(read_ranking(lake)) == (9 if other == "two" else 5)
    with open_catalog(lake) as catalog:
        snapshot = catalog.load_table(NAME).current_snapshot()
    assert snapshot is not None
    assert published.snapshot == snapshot.snapshot_id


@pytest.mark.parametrize("lost", [CommitStateUnknownException, CommitFailedException])
def test_publish_whose_commit_response_is_lost_commits_once(
    lake: IcebergTables, monkeypatch: pytest.MonkeyPatch, lost: type[Exception]
) -> None:
    publish(lake, "one", make_ranking(5))

    def act(commit: Callable[[], None]) -> None:
        commit()
        raise lost("unknown state")

    on_first_commit(monkeypatch, act)
    lake.publish("ranking", "one", START, iter([make_ranking(4)]), "out")
    assert read_ranking(lake, "one").to_pylist() == make_ranking(4).to_pylist()
    assert snapshot_operations(lake) == ["append", "delete", "append"]


def test_publish_with_endless_conflicts_fails_after_the_last_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = local_tables(tmp_path)
    lake.create_or_evolve({"ranking": COLUMNS})
    attempts = 0

    def refuse(table: Table, *args: Any) -> int:
        nonlocal attempts
        attempts += 1
        raise CommitFailedException("another commit was first")

    monkeypatch.setattr(iceberg, "_replace", refuse)
    monkeypatch.setattr(retry, "MAX_BACKOFF_SECONDS", 0.0)
    with raises(
        RunFailed, r"did not take masksift\.ranking \(CommitFailedException: another commit was first\)\. .*again"
    ):
        lake.publish("ranking", "one", START, iter([make_ranking(3)]), "out")
    assert attempts == retry.MAX_ATTEMPTS


# `_replace` suppresses this warning, but leaving the suppression in one thread restores it in the others.
@pytest.mark.filterwarnings("ignore:Delete operation did not match any records:UserWarning")
def test_concurrent_publishes_store_every_run_once(tmp_path: Path) -> None:
    lake = local_tables(tmp_path)
    lake.create_or_evolve({"ranking": COLUMNS})
    errors: list[BaseException] = []

    def work(run_id: str, count: int) -> None:
        try:
            lake.publish("ranking", run_id, START, iter([make_ranking(count, source=run_id)]), "out")
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(name, n)) for name, n in (("a", 3), ("b", 4), ("c", 5))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, [str(error) for error in errors]
    assert [lake.rows("ranking", name) for name in ("a", "b", "c")] == [3, 4, 5]


# ---------------------------------------------------------------------------------------------------- schema evolution


def test_publish_of_runs_with_other_columns_adds_columns_and_fills_nulls(lake: IcebergTables) -> None:
    wide = ranking_schema(["softmin", "clc"], ["day", "site"])
    publish(lake, "one", make_ranking(2))
    publish(
        lake, "two", make_ranking(2, columns=wide, source="b").set_column(6, wide.field("site"), pa.array(["x", "y"]))
    )
    publish(lake, "three", make_ranking(2, source="c"))
    rows = read_ranking(lake).to_pylist()
    assert [(row["run_id"], row["site"], row["clc"], row["softmin"]) for row in rows] == [
        ("one", None, None, 0.5),
        ("one", None, None, 0.5),
        ("two", "x", 0.5, 0.5),
        ("two", "y", 0.5, 0.5),
        ("three", None, None, 0.5),
        ("three", None, None, 0.5),
    ]


def test_create_or_evolve_twice_creates_both_tables_empty(lake: IcebergTables) -> None:
    lake.create_or_evolve({"ranking": COLUMNS, "images": images_schema(["softmin"])})
    lake.create_or_evolve({"ranking": COLUMNS, "images": images_schema(["softmin"])})
    with open_catalog(lake) as catalog:
        assert set(catalog.load_table("masksift.images").schema().column_names) >= {"status", "worst_given"}
        assert catalog.load_table(NAME).current_snapshot() is None


def test_column_of_another_type_is_refused(lake: IcebergTables) -> None:
    publish(lake, "one", make_ranking(2))
    other = ranking_schema(["clc"], ["softmin"])
    with raises(
        UsageError,
        r"'softmin' of table masksift\.ranking has type double, but string in this run\. .*--iceberg\.namespace",
    ):
        lake.create_or_evolve({"ranking": other})


def create_foreign_table(lake: IcebergTables, *fields: NestedField) -> None:
    with open_catalog(lake) as catalog:
        catalog.create_namespace("masksift")
        catalog.create_table(NAME, Schema(*fields))


def test_table_with_a_foreign_layout_is_refused(tmp_path: Path) -> None:
    lake = local_tables(tmp_path)
    create_foreign_table(lake, NestedField(1, "run_id", StringType(), required=True))
    with raises(UsageError, r"Table masksift\.ranking is partitioned by nothing\. .*--iceberg\.namespace"):
        lake.create_or_evolve({"ranking": COLUMNS})
    with open_catalog(lake) as catalog, catalog.load_table(NAME).update_spec() as spec:
        spec.add_field("run_id", "bucket[4]")
    with raises(UsageError, r"Table masksift\.ranking is partitioned by bucket\[4\]\(run_id\)\. "):
        lake.publish("ranking", "one", START, iter([make_ranking(2)]), "out")
    other = local_tables(tmp_path / "lake")
    (tmp_path / "lake").mkdir(exist_ok=True)
    create_foreign_table(other, NestedField(1, "owner", StringType(), required=True))
    with raises(UsageError, r"Table masksift\.ranking requires a column 'owner', .*--iceberg\.namespace"):
        other.create_or_evolve({"ranking": COLUMNS})


# ------------------------------------------------------------------------------------------------------- catalogs


def test_named_catalog_is_read_from_environment_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYICEBERG_CATALOG__DEPOT__URI", f"sqlite:///{tmp_path}/depot.db")
    monkeypatch.setenv("PYICEBERG_CATALOG__DEPOT__WAREHOUSE", f"file://{tmp_path}/depot")
    publish(IcebergTables("depot", None, "masksift"), "one", make_ranking(5))
    with SqlCatalog("depot", uri=f"sqlite:///{tmp_path}/depot.db") as catalog:
        assert len(catalog.load_table(NAME).scan().to_arrow()) == 5


def test_named_catalog_of_a_file_uses_the_configured_warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYICEBERG_HOME", str(tmp_path))
    (tmp_path / ".pyiceberg.yaml").write_text(f"catalog:\n  depot:\n    uri: sqlite:///{tmp_path}/depot.db\n")
    publish(IcebergTables("depot", f"file://{tmp_path}/elsewhere", "a.b"), "one", make_ranking(5))
    with SqlCatalog("depot", uri=f"sqlite:///{tmp_path}/depot.db") as catalog:
        assert catalog.load_table("a.b.ranking").location() == f"file://{tmp_path}/elsewhere/a.b/ranking"


def test_catalog_uri_ignores_the_configuration_of_other_catalogs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYICEBERG_CATALOG__DEFAULT__TOKEN", "token-of-another-catalog")
    with run_rest_catalog(tmp_path) as server:
        IcebergTables(server.url, "depot", "masksift").create_or_evolve({"ranking": COLUMNS})
        assert server.warehouses == {"depot"}
        assert "POST /v1/namespaces/masksift/tables" in server.requests
        assert "token-of-another-catalog" not in str(server.headers)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_unreachable_catalog_is_refused_with_the_cause(tmp_path: Path) -> None:
    missing = IcebergTables(f"sqlite:///{tmp_path}/none/catalog.db", str(tmp_path), "masksift")
    with raises(UsageError, r"sqlite:.*none/catalog\.db cannot be used \(OperationalError: .*unable to open.*\)\. "):
        missing.create_or_evolve({"ranking": COLUMNS})
    with raises(UsageError, r"http://127\.0\.0\.1:\d+ cannot be used \(ConnectionError: .*\)\. .*--iceberg\.catalog"):
        IcebergTables(f"http://127.0.0.1:{closed_port()}", None, "masksift").create_or_evolve({"ranking": COLUMNS})
    with raises(UsageError, r"cannot be read \(OperationalError: .*\)\. The state of the published tables"):
        missing.rows("ranking", "one")


def test_unknown_catalog_name_or_scheme_is_refused() -> None:
    with raises(UsageError, r"pyiceberg has no catalog 'depott'\. .*PYICEBERG_CATALOG__<NAME>__URI"):
        IcebergTables("depott", None, "masksift").create_or_evolve({"ranking": COLUMNS})
    with raises(UsageError, r"thrift://h:9083 has none of the schemes http, https, sqlite, postgresql\. .*pyiceberg"):
        IcebergTables("thrift://h:9083", None, "masksift").create_or_evolve({"ranking": COLUMNS})


def test_database_without_a_warehouse_is_refused() -> None:
    with raises(UsageError, r"iceberg\.catalog is sqlite:///c\.db and iceberg\.warehouse is not given\. .*s3://"):
        IcebergTables("sqlite:///c.db", None, "masksift")


def test_missing_pyiceberg_is_refused_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiceberg.catalog", None)
    with raises(UsageError, r"pyiceberg is not installed\. .*pip install 'masksift\[iceberg\]'"):
        IcebergTables("depot", None, "masksift")


@pytest.mark.parametrize(
    ("uri", "package"), [("postgresql://u:secret@h/db", "psycopg"), ("postgresql+psycopg2://u:secret@h/db", "psycopg2")]
)
def test_missing_driver_of_a_database_is_refused_with_its_package(
    uri: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with raises(UsageError, rf"^The Iceberg catalog .*://\*\*\*@h/db needs the package {package}, .*Install"):
        IcebergTables(uri, "w", "masksift")


@pytest.mark.parametrize("uri", ["postgresql+nodriver://u:secret@h/db", "postgresql://u:secret@h:port/db"])
def test_uri_that_is_no_database_is_refused_without_its_password(uri: str) -> None:
    with pytest.raises(UsageError, match=r"is not a URI of a database") as caught:
        IcebergTables(uri, "w", "masksift")
    assert "secret" not in str(caught.value)


# ----------------------------------------------------------------------------------------------------- credentials


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql+psycopg://u:se@cr/et@h:5432/db", "postgresql+psycopg://***@h:5432/db"),
        ("postgresql://h/db?user=u&password=secret", "postgresql://h/db?***"),
        ("http://token@h:8181/c", "http://***@h:8181/c"),
        ("sqlite:////data/catalog.db", "sqlite:////data/catalog.db"),
        ("depot", "depot"),
    ],
)
def test_catalog_uri_is_shown_without_credentials(uri: str, shown: str) -> None:
    lake = IcebergTables(uri, "w", "masksift", StorageOptions(s3={"key": "secret"}))
    assert (redact_uri(uri), lake.shown) == (shown, shown)
    assert uri not in repr(lake) or uri == shown
    assert "secret" not in repr(lake)


def test_catalog_error_contains_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"http://user:secret@127.0.0.1:{closed_port()}"
    with raises(UsageError, r"http://\*\*\*@127\.0\.0\.1:\d+ cannot be used") as caught:
        IcebergTables(uri, None, "masksift").create_or_evolve({"ranking": COLUMNS})
    assert "secret" not in str(caught)


def test_s3_options_are_translated_for_pyiceberg() -> None:
    defaults = {"endpoint_url": None, "region": None, "anonymous": False, "path_style": False}
    assert iceberg._for_pyiceberg({}) == {}
    assert iceberg._for_pyiceberg(defaults) == {"s3.force-virtual-addressing": "true"}
    with_endpoint = iceberg._for_pyiceberg({**defaults, "endpoint_url": "http://h:9000"})
    assert (with_endpoint["s3.endpoint"], with_endpoint["s3.region"]) == ("http://h:9000", "us-east-1")
    all_options = {
        "endpoint_url": "http://h:9000",
        "region": "eu-central-1",
        "anonymous": True,
        "path_style": True,
        "key": "k",
        "secret": "s",
        "token": "t",
    }
    assert iceberg._for_pyiceberg(all_options) == {
        "s3.endpoint": "http://h:9000",
        "s3.region": "eu-central-1",
        "s3.anonymous": "true",
        "s3.access-key-id": "k",
        "s3.secret-access-key": "s",
        "s3.session-token": "t",
        "s3.force-virtual-addressing": "false",
    }
