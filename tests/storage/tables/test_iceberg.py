"""Iceberg tables: one copy of each run, whatever happened before; columns that come later; what is refused, and how."""

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
from masksift.storage.tables import iceberg as module
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.iceberg import RUN_COLUMNS, IcebergTables
from masksift.storage.tables.schemas import images_schema, ranking_schema
from support.errors import raises
from support.iceberg_rest_catalog import run_rest_catalog

COLUMNS = ranking_schema(["softmin"], ["day"])
NAME = "masksift.ranking"
START = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)


def ranked(count: int, *, source: str = "a", columns: pa.Schema = COLUMNS) -> pa.Table:
    """So many rows of a ranking; what may be null is, in every other row."""
    told: list[dict[str, Any]] = [
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
    return table_from_rows([{**scores, **row} for row in told], columns)


@pytest.fixture(params=["database", "server"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[IcebergTables]:
    """The same tests for both kinds of catalog."""
    if request.param == "database":
        yield local(tmp_path)
    else:
        with run_rest_catalog(tmp_path) as server:
            yield IcebergTables(server.url, None, "masksift")


def local(folder: Path, namespace: str = "masksift") -> IcebergTables:
    return IcebergTables(f"sqlite:///{folder}/catalog.db", str(folder / "lake"), namespace)


@contextmanager
def opened(lake: IcebergTables) -> Iterator[Catalog]:
    """The catalog as somebody else opens it, who has not heard of masksift."""
    kind = RestCatalog if lake.catalog.startswith("http") else SqlCatalog
    with kind("default", uri=lake.catalog, **({"warehouse": lake.warehouse} if lake.warehouse else {})) as catalog:
        yield catalog


def stored(lake: IcebergTables, run_id: str | None = None) -> pa.Table:
    """What a reader finds in the table, of one run or of all, in the order of ranks."""
    with opened(lake) as catalog:
        found = catalog.load_table(NAME).scan().to_arrow()
    chosen = found if run_id is None else found.filter(pc.field("run_id") == run_id).drop_columns(RUN_COLUMNS.names)
    return chosen.sort_by([("source", "ascending"), ("rank", "ascending")])


def publish(lake: IcebergTables, run_id: str, *parts: pa.Table) -> module.Published:
    lake.create_or_evolve({"ranking": parts[0].schema})
    return lake.publish("ranking", run_id, START, iter(parts), "s3://lake/out")


def snapshots(lake: IcebergTables) -> list[str]:
    """What was done to the table, one word a snapshot."""
    with opened(lake) as catalog:
        return [str(one.summary.operation.value) for one in catalog.load_table(NAME).snapshots() if one.summary]


# ------------------------------------------------------------------------------------------------ what is there


def test_the_rows_of_a_run_are_there_with_their_types_and_the_run_they_are_of(lake: IcebergTables) -> None:
    said = publish(lake, "one", ranked(5))
    found = stored(lake)
    assert found.schema.names == [*RUN_COLUMNS.names, *COLUMNS.names]
    for column in (*RUN_COLUMNS, *COLUMNS):
        kind = found.schema.field(column.name)
        assert kind.nullable == column.nullable, column.name
        assert str(kind.type).removeprefix("large_") == str(column.type), column.name
    assert found.drop_columns(RUN_COLUMNS.names).to_pylist() == ranked(5).to_pylist()
    assert set(found["run_id"].to_pylist()) == {"one"}
    assert set(found["run_started"].to_pylist()) == {START}
    with opened(lake) as catalog:
        table = catalog.load_table(NAME)
    assert [str(part.transform) for part in table.spec().fields] == ["identity"]
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert (said.table, said.snapshot, said.rows) == (NAME, snapshot.snapshot_id, 5)
    assert snapshot.summary is not None
    assert (snapshot.summary["masksift.run_id"], snapshot.summary["masksift.out"]) == ("one", "s3://lake/out")


def test_a_run_published_twice_is_there_once_as_it_was_the_last_time(lake: IcebergTables) -> None:
    publish(lake, "one", ranked(5))
    publish(lake, "two", ranked(4, source="b"))
    publish(lake, "one", ranked(3))
    assert stored(lake, "one").to_pylist() == ranked(3).to_pylist()
    assert stored(lake, "two").to_pylist() == ranked(4, source="b").to_pylist()
    assert len(stored(lake)) == 7
    assert snapshots(lake) == ["append", "append", "delete", "append"]
    assert (lake.rows("ranking", "one"), lake.rows("ranking", "two"), lake.rows("ranking", "x")) == (3, 4, 0)
    assert lake.rows("images", "one") == 0, "where there is no table there are no rows"


def test_a_run_without_a_scored_image_has_no_rows(lake: IcebergTables) -> None:
    assert publish(lake, "one", COLUMNS.empty_table()).rows == 0
    assert len(stored(lake)) == 0


def test_many_parts_become_few_files_in_one_snapshot_and_are_never_held_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, size = local(tmp_path), ranked(10).nbytes
    monkeypatch.setattr(module, "FILE_BYTES", 3 * size)
    written: list[int] = []
    asked = 0

    def parts() -> Iterator[pa.Table]:
        nonlocal asked
        for i in range(8):
            asked += 1
            assert asked - 3 * len(written) <= 3, "the rows before are written by now"
            yield ranked(10, source=f"s{i}")

    import pyiceberg.io.pyarrow

    real = pyiceberg.io.pyarrow.write_file

    def write_file(*args: Any) -> Any:
        for file in real(*args):
            written.append(file.record_count)
            yield file

    monkeypatch.setattr(pyiceberg.io.pyarrow, "write_file", write_file)
    lake.create_or_evolve({"ranking": COLUMNS})
    said = lake.publish("ranking", "one", START, parts(), "out")
    assert (said.rows, written) == (80, [30, 30, 20])
    assert snapshots(lake) == ["append"]
    assert stored(lake, "one").to_pylist() == [row for i in range(8) for row in ranked(10, source=f"s{i}").to_pylist()]


def test_other_engines_read_the_files_by_themselves(tmp_path: Path) -> None:
    import duckdb

    lake = local(tmp_path)
    publish(lake, "one", ranked(5))
    publish(lake, "one", ranked(4))
    with opened(lake) as catalog:
        files = [task.file.file_path for task in catalog.load_table(NAME).scan().plan_files()]
    said = duckdb.connect().sql(f"select run_id, rank, image_id, score from read_parquet({files}) order by rank")
    assert said.fetchall() == [("one", row["rank"], row["image_id"], row["score"]) for row in ranked(4).to_pylist()]


# ------------------------------------------------------------------------------------------- killed, and overtaken


def test_who_is_killed_while_rows_are_written_changes_nothing(
    lake: IcebergTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(lake, "one", ranked(5))
    monkeypatch.setattr(module, "FILE_BYTES", 1)

    def parts() -> Iterator[pa.Table]:
        yield ranked(3)
        raise Interrupted("the run was interrupted", "what is done is kept", "Run it again")

    with raises(Interrupted, "the run was interrupted"):
        lake.publish("ranking", "one", START, parts(), "out")
    assert stored(lake, "one").to_pylist() == ranked(5).to_pylist()
    publish(lake, "one", ranked(3))
    assert stored(lake, "one").to_pylist() == ranked(3).to_pylist()


@pytest.mark.parametrize(
    "step", [(UpdateSnapshot, "fast_append"), (Transaction, "commit_transaction")], ids=["append", "commit"]
)
def test_who_is_killed_between_deleting_and_appending_changes_nothing(
    lake: IcebergTables, monkeypatch: pytest.MonkeyPatch, step: tuple[type, str]
) -> None:
    publish(lake, "one", ranked(5))

    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*step, killed)
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            lake.publish("ranking", "one", START, iter([ranked(3)]), "out")
    assert stored(lake, "one").to_pylist() == ranked(5).to_pylist()
    publish(lake, "one", ranked(3))
    assert stored(lake, "one").to_pylist() == ranked(3).to_pylist()


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[Callable[[], None]], None]) -> None:
    """Let something happen at the first commit from here on; it is given the commit itself to call, or not."""
    real, first = Table._do_commit, True

    def commit(self: Table, *args: Any, **named: Any) -> None:
        nonlocal first
        if first:
            first = False
            act(lambda: real(self, *args, **named))
        else:
            real(self, *args, **named)

    monkeypatch.setattr(Table, "_do_commit", commit)


@pytest.mark.parametrize("other", ["one", "two"])
def test_a_commit_that_another_one_has_overtaken_is_repeated(
    lake: IcebergTables, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """Also where that is the same run, published by somebody else at the same time, for the first time."""
    lake.create_or_evolve({"ranking": COLUMNS})

    def act(commit: Callable[[], None]) -> None:
        publish(lake, other, ranked(4, source="b"))
        commit()

    meanwhile(monkeypatch, act)
    said = publish(lake, "one", ranked(5))
    assert stored(lake, "one").to_pylist() == ranked(5).to_pylist()
    assert len(stored(lake)) == (9 if other == "two" else 5)
    with opened(lake) as catalog:
        snapshot = catalog.load_table(NAME).current_snapshot()
    assert snapshot is not None
    assert said.snapshot == snapshot.snapshot_id


@pytest.mark.parametrize("lost", [CommitStateUnknownException, CommitFailedException])
def test_a_commit_whose_answer_is_lost_is_found_and_not_repeated(
    lake: IcebergTables, monkeypatch: pytest.MonkeyPatch, lost: type[Exception]
) -> None:
    publish(lake, "one", ranked(5))

    def act(commit: Callable[[], None]) -> None:
        commit()
        raise lost("nobody knows")

    meanwhile(monkeypatch, act)
    lake.publish("ranking", "one", START, iter([ranked(4)]), "out")
    assert stored(lake, "one").to_pylist() == ranked(4).to_pylist()
    assert snapshots(lake) == ["append", "delete", "append"]


def test_who_is_overtaken_each_time_gives_up_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = local(tmp_path)
    lake.create_or_evolve({"ranking": COLUMNS})
    tried = 0

    def refuse(table: Table, *args: Any) -> int:
        nonlocal tried
        tried += 1
        raise CommitFailedException("somebody else was first")

    monkeypatch.setattr(module, "_replace", refuse)
    monkeypatch.setattr(retry, "MAX_BACKOFF_SECONDS", 0.0)
    with raises(
        RunFailed, r"did not take masksift\.ranking \(CommitFailedException: somebody else was first\)\. .*again"
    ):
        lake.publish("ranking", "one", START, iter([ranked(3)]), "out")
    assert tried == retry.MAX_ATTEMPTS


# what `_replace` lets pass for itself, another thread's end of doing so brings back: runs are processes, and do not
@pytest.mark.filterwarnings("ignore:Delete operation did not match any records:UserWarning")
def test_many_runs_at_the_same_time_are_all_there_once(tmp_path: Path) -> None:
    lake = local(tmp_path)
    lake.create_or_evolve({"ranking": COLUMNS})
    failed: list[BaseException] = []

    def work(run_id: str, count: int) -> None:
        try:
            lake.publish("ranking", run_id, START, iter([ranked(count, source=run_id)]), "out")
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=work, args=(name, n)) for name, n in (("a", 3), ("b", 4), ("c", 5))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, [str(each) for each in failed]
    assert [lake.rows("ranking", name) for name in ("a", "b", "c")] == [3, 4, 5]


# ---------------------------------------------------------------------------------------------------- more columns


def test_a_later_run_may_have_more_columns_and_a_still_later_one_fewer(lake: IcebergTables) -> None:
    wide = ranking_schema(["softmin", "clc"], ["day", "site"])
    publish(lake, "one", ranked(2))
    publish(lake, "two", ranked(2, columns=wide, source="b").set_column(6, wide.field("site"), pa.array(["x", "y"])))
    publish(lake, "three", ranked(2, source="c"))
    found = stored(lake).to_pylist()
    assert [(row["run_id"], row["site"], row["clc"], row["softmin"]) for row in found] == [
        ("one", None, None, 0.5),
        ("one", None, None, 0.5),
        ("two", "x", 0.5, 0.5),
        ("two", "y", 0.5, 0.5),
        ("three", None, None, 0.5),
        ("three", None, None, 0.5),
    ]


def test_both_tables_of_a_run_may_be_made(lake: IcebergTables) -> None:
    lake.create_or_evolve({"ranking": COLUMNS, "images": images_schema(["softmin"])})
    lake.create_or_evolve({"ranking": COLUMNS, "images": images_schema(["softmin"])})
    with opened(lake) as catalog:
        assert set(catalog.load_table("masksift.images").schema().column_names) >= {"status", "worst_given"}
        assert catalog.load_table(NAME).current_snapshot() is None


def test_a_column_of_another_type_is_refused(lake: IcebergTables) -> None:
    publish(lake, "one", ranked(2))
    other = ranking_schema(["clc"], ["softmin"])
    with raises(
        UsageError,
        r"'softmin' of table masksift\.ranking has type double, but string in this run\. .*--iceberg\.namespace",
    ):
        lake.create_or_evolve({"ranking": other})


def made_by_others(lake: IcebergTables, *fields: NestedField) -> None:
    with opened(lake) as catalog:
        catalog.create_namespace("masksift")
        catalog.create_table(NAME, Schema(*fields))


def test_a_table_that_masksift_has_not_made_is_refused(tmp_path: Path) -> None:
    lake = local(tmp_path)
    made_by_others(lake, NestedField(1, "run_id", StringType(), required=True))
    with raises(UsageError, r"Table masksift\.ranking is partitioned by nothing\. .*--iceberg\.namespace"):
        lake.create_or_evolve({"ranking": COLUMNS})
    with opened(lake) as catalog, catalog.load_table(NAME).update_spec() as spec:
        spec.add_field("run_id", "bucket[4]")
    with raises(UsageError, r"Table masksift\.ranking is partitioned by bucket\[4\]\(run_id\)\. "):
        lake.publish("ranking", "one", START, iter([ranked(2)]), "out")
    other = local(tmp_path / "lake")
    (tmp_path / "lake").mkdir(exist_ok=True)
    made_by_others(other, NestedField(1, "owner", StringType(), required=True))
    with raises(UsageError, r"Table masksift\.ranking requires a column 'owner', .*--iceberg\.namespace"):
        other.create_or_evolve({"ranking": COLUMNS})


# ------------------------------------------------------------------------------------------------------- catalogs


def test_a_catalog_of_pyicebergs_own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYICEBERG_CATALOG__DEPOT__URI", f"sqlite:///{tmp_path}/depot.db")
    monkeypatch.setenv("PYICEBERG_CATALOG__DEPOT__WAREHOUSE", f"file://{tmp_path}/depot")
    publish(IcebergTables("depot", None, "masksift"), "one", ranked(5))
    with SqlCatalog("depot", uri=f"sqlite:///{tmp_path}/depot.db") as catalog:
        assert len(catalog.load_table(NAME).scan().to_arrow()) == 5


def test_a_catalog_of_a_file_with_a_warehouse_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYICEBERG_HOME", str(tmp_path))
    (tmp_path / ".pyiceberg.yaml").write_text(f"catalog:\n  depot:\n    uri: sqlite:///{tmp_path}/depot.db\n")
    publish(IcebergTables("depot", f"file://{tmp_path}/elsewhere", "a.b"), "one", ranked(5))
    with SqlCatalog("depot", uri=f"sqlite:///{tmp_path}/depot.db") as catalog:
        assert catalog.load_table("a.b.ranking").location() == f"file://{tmp_path}/elsewhere/a.b/ranking"


def test_a_uri_has_nothing_of_another_catalogs_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYICEBERG_CATALOG__DEFAULT__TOKEN", "a-token-for-somebody-else")
    with run_rest_catalog(tmp_path) as server:
        IcebergTables(server.url, "depot", "masksift").create_or_evolve({"ranking": COLUMNS})
        assert server.warehouses == {"depot"}
        assert "POST /v1/namespaces/masksift/tables" in server.requests
        assert "a-token-for-somebody-else" not in str(server.headers)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_a_catalog_that_cannot_be_reached_is_said(tmp_path: Path) -> None:
    nowhere = IcebergTables(f"sqlite:///{tmp_path}/none/catalog.db", str(tmp_path), "masksift")
    with raises(UsageError, r"sqlite:.*none/catalog\.db cannot be used \(OperationalError: .*unable to open.*\)\. "):
        nowhere.create_or_evolve({"ranking": COLUMNS})
    with raises(UsageError, r"http://127\.0\.0\.1:\d+ cannot be used \(ConnectionError: .*\)\. .*--iceberg\.catalog"):
        IcebergTables(f"http://127.0.0.1:{closed_port()}", None, "masksift").create_or_evolve({"ranking": COLUMNS})
    with raises(UsageError, r"cannot be read \(OperationalError: .*\)\. The state of the published tables"):
        nowhere.rows("ranking", "one")


def test_a_catalog_that_nobody_knows_is_said() -> None:
    with raises(UsageError, r"pyiceberg has no catalog 'depott'\. .*PYICEBERG_CATALOG__<NAME>__URI"):
        IcebergTables("depott", None, "masksift").create_or_evolve({"ranking": COLUMNS})
    with raises(UsageError, r"thrift://h:9083 has none of the schemes http, https, sqlite, postgresql\. .*pyiceberg"):
        IcebergTables("thrift://h:9083", None, "masksift").create_or_evolve({"ranking": COLUMNS})


def test_a_database_needs_a_warehouse() -> None:
    with raises(UsageError, r"iceberg\.catalog is sqlite:///c\.db and iceberg\.warehouse is not given\. .*s3://"):
        IcebergTables("sqlite:///c.db", None, "masksift")


def test_without_pyiceberg_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiceberg.catalog", None)
    with raises(UsageError, r"pyiceberg is not installed\. .*pip install 'masksift\[iceberg\]'"):
        IcebergTables("depot", None, "masksift")


# ----------------------------------------------------------------------------------------------------- credentials


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql+psycopg2://u:se@cr/et@h:5432/db", "postgresql+psycopg2://***@h:5432/db"),
        ("postgresql://h/db?user=u&password=secret", "postgresql://h/db?***"),
        ("http://token@h:8181/c", "http://***@h:8181/c"),
        ("sqlite:////data/catalog.db", "sqlite:////data/catalog.db"),
        ("depot", "depot"),
    ],
)
def test_what_may_be_a_password_is_not_shown(uri: str, shown: str) -> None:
    lake = IcebergTables(uri, "w", "masksift", StorageOptions(key="secret"))
    assert (redact_uri(uri), lake.shown) == (shown, shown)
    assert uri not in repr(lake) or uri == shown
    assert "secret" not in repr(lake)


def test_a_failure_does_not_show_the_password_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"http://user:secret@127.0.0.1:{closed_port()}"
    with raises(UsageError, r"http://\*\*\*@127\.0\.0\.1:\d+ cannot be used") as said:
        IcebergTables(uri, None, "masksift").create_or_evolve({"ranking": COLUMNS})
    assert "secret" not in str(said)


def test_what_s3_is_reached_by_in_pyicebergs_words() -> None:
    nothing = {"endpoint_url": None, "region": None, "anonymous": False, "path_style": False}
    assert module._for_pyiceberg({}) == {}
    assert module._for_pyiceberg(nothing) == {"s3.force-virtual-addressing": "true"}
    here = module._for_pyiceberg({**nothing, "endpoint_url": "http://h:9000"})
    assert (here["s3.endpoint"], here["s3.region"]) == ("http://h:9000", "us-east-1")
    everything = {
        "endpoint_url": "http://h:9000",
        "region": "eu-central-1",
        "anonymous": True,
        "path_style": True,
        "key": "k",
        "secret": "s",
        "token": "t",
    }
    assert module._for_pyiceberg(everything) == {
        "s3.endpoint": "http://h:9000",
        "s3.region": "eu-central-1",
        "s3.anonymous": "true",
        "s3.access-key-id": "k",
        "s3.secret-access-key": "s",
        "s3.session-token": "t",
        "s3.force-virtual-addressing": "false",
    }
