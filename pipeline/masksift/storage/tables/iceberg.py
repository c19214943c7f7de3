"""Iceberg tables, through pyiceberg: where the rows of many runs gather, one copy of each run.

A run is a partition (`run_id`). Its rows are written to new Parquet files below the table first, some 128 MiB of memory
at a time; then one commit deletes what the table has of that run and puts the files in its place. So a run that is
published twice, or was killed at any moment and is published again, is there once, and no reader sees it in part. A
commit that somebody else has overtaken is repeated without writing the files again.

The files of the run's own folder are not registered with the table (`add_files`): they have no `run_id`, would be read
by the names of their columns for ever, and the table would break on the day somebody removes that folder. What an
attempt wrote that died before its commit belongs to no snapshot: Iceberg's removal of orphan files finds it.
"""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from masksift.core.errors import MasksiftError, RunFailed, UsageError, summarize_error
from masksift.core.retry import RetryPolicy
from masksift.storage.credentials import redact_uri
from masksift.storage.urls import local_path

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table

RUN_COLUMNS = pa.schema(
    [
        pa.field("run_id", pa.string(), nullable=False),  # the run's fingerprint
        pa.field("run_started", pa.timestamp("us", tz="UTC"), nullable=False),  # as its run.json says
    ]
)
FILE_BYTES = 128 << 20
"""Of rows in memory that become one file of a table."""
_ATTEMPT = "masksift.attempt"
SQLITE_TIMEOUT_SECONDS = 60
"""Seconds that a catalog in SQLite is waited for while another run commits."""
_SQL, _REST = ("sqlite", "postgresql"), ("http", "https")


@dataclass(frozen=True)
class Published:
    """What run.json says of a table: its name, the snapshot that holds the run's rows, and how many these are."""

    table: str
    snapshot: int
    rows: int


def is_uri(catalog: str) -> bool:
    """Whether a catalog is said by where it is; else it is a name of pyiceberg's own configuration."""
    return "://" in catalog


@dataclass(frozen=True)
class IcebergTables:
    """The namespace that a run's tables are in. ``catalog``: a name of pyiceberg's configuration, or a URI;
    ``warehouse``: URL below which the tables' files lie (a REST server may have a name for it); ``options``: what they
    are reached by, where the catalog is a URI. It is opened for each step: hours lie between the first and the last."""

    catalog: str = field(repr=False)
    warehouse: str | None
    namespace: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Raises UsageError where pyiceberg is missing, and where a database is named without a warehouse."""
        if self._kind in _SQL and self.warehouse is None:
            raise UsageError(
                f"iceberg.catalog is {self.shown} and iceberg.warehouse is not given",
                "a database says where the files of a table are, it does not hold them",
                "Give --iceberg.warehouse s3://bucket/folder, or another URL",
            )
        try:
            import pyiceberg.catalog  # noqa: F401
        except ImportError as e:
            raise UsageError(
                "pyiceberg is not installed here",
                "nothing can be put into an Iceberg table",
                "Install it with `pip install 'masksift[iceberg]'`, or leave out --table iceberg",
            ) from e

    @property
    def _kind(self) -> str:
        """The scheme of a URI, without the driver of a database (`postgresql+psycopg2`)."""
        return self.catalog.split("://")[0].split("+")[0] if is_uri(self.catalog) else ""

    @property
    def shown(self) -> str:
        """The catalog, without what may be a password in it."""
        return redact_uri(self.catalog)

    def create_or_evolve(self, tables: Mapping[str, pa.Schema]) -> None:
        """Create the tables that are not there, and give those that are the columns they lack, null in all older rows;
        ``tables``: the columns of each, without `RUN_COLUMNS`.

        Raises UsageError where the catalog cannot be reached, or a table cannot take such rows."""
        consequence = "the tables could not be filled at the end of the run"
        remedy = "See that --iceberg.catalog and --iceberg.warehouse are right, and that you may write there"
        with self._opened("cannot be used", UsageError, consequence, remedy) as catalog:
            if not catalog.namespace_exists(self.namespace):
                catalog.create_namespace_if_not_exists(self.namespace)
            for name, columns in tables.items():
                if taken := set(columns.names) & set(RUN_COLUMNS.names):
                    raise UsageError(
                        f"the path of a source has a part {min(taken)}=, and so have the tables a column of that name",
                        "two columns of one name cannot be told apart",
                        "Rename that part of the path",
                    )
                fit = partial(_fit, catalog, self.table(name), _schema([*RUN_COLUMNS, *columns]))
                _commit_retry_policy().call(fit, self.table(name))

    def publish(self, name: str, run_id: str, started: datetime, parts: Iterable[pa.Table], out: str) -> Published:
        """Put the rows of a run's parts in place of all that the table has of that run; ``out``: where the run's own
        folder is, which the snapshot says. Holds some `FILE_BYTES` of rows a few times over.

        Raises RunFailed where that cannot be done."""
        consequence = "the tables do not have this run as a whole"
        remedy = "Mend the cause and run the same command again: it goes on from there"
        with self._opened(f"did not take {self.table(name)}", RunFailed, consequence, remedy) as catalog:
            files = list(_write(catalog.load_table(self.table(name)), run_id, started, parts))
            properties = {_ATTEMPT: str(uuid.uuid4()), "masksift.run_id": run_id, "masksift.out": out}
            snapshot = _commit_retry_policy().call(
                lambda: _replace(catalog.load_table(self.table(name)), run_id, files, properties), self.table(name)
            )
        return Published(self.table(name), snapshot, sum(file.record_count for file in files))

    def rows(self, name: str, run_id: str) -> int:
        """How many rows a table has of a run: none where there is no table. Raises UsageError where the catalog cannot
        be reached."""
        from pyiceberg.exceptions import NoSuchTableError

        remedy = "See that it runs, or leave out --table iceberg"
        with self._opened("cannot be read", UsageError, "whether the run is there is not known", remedy) as catalog:
            try:
                return catalog.load_table(self.table(name)).scan(_of_run(run_id)).count()
            except NoSuchTableError:
                return 0

    def table(self, name: str) -> str:
        """A table's name in the catalog."""
        return f"{self.namespace}.{name}"

    @contextmanager
    def _opened(self, fact: str, error: type[MasksiftError], consequence: str, remedy: str) -> Iterator[Catalog]:
        """The catalog for the time of a block. Whatever goes wrong in it comes as that error: catalogs, the databases
        and servers behind them and the files of their tables have no error in common."""
        try:
            with self._open() as catalog:
                yield catalog
        except MasksiftError:
            raise
        except Exception as e:
            cause = redact_uri(summarize_error(e).replace(self.catalog, self.shown))
            raise error(f"the Iceberg catalog {self.shown} {fact} ({cause})", consequence, remedy) from e

    def _open(self) -> Catalog:
        from pyiceberg.catalog import load_catalog
        from pyiceberg.utils.config import Config

        told = {} if self.warehouse is None else {"warehouse": self.warehouse}
        if not is_uri(self.catalog):
            known = Config().get_catalog_config(self.catalog)
            if known is None:
                raise UsageError(
                    f"pyiceberg knows no catalog {self.catalog!r}",
                    "there is no place for the tables",
                    "Describe it in .pyiceberg.yaml or PYICEBERG_CATALOG__<NAME>__URI, or give its URI as "
                    "--iceberg.catalog",
                )
            return load_catalog(self.catalog, **{**known, **told})  # type: ignore[arg-type]
        # Not by load_catalog: it would add what pyiceberg's configuration says of another catalog, credentials and all.
        # A database may hold several catalogs by name; "default" is the one that pyiceberg opens where none is given.
        told |= {"uri": self.catalog, **_for_pyiceberg(self.options)}
        if self._kind in _REST:
            from pyiceberg.catalog.rest import RestCatalog

            return RestCatalog("default", **told)
        if self._kind in _SQL:
            from pyiceberg.catalog.sql import SqlCatalog

            if self._kind == "sqlite" and "?" not in self.catalog:  # it waits five seconds for others' commits, else
                told["uri"] = f"{self.catalog}?timeout={SQLITE_TIMEOUT_SECONDS}"
            path = local_path(told["warehouse"])  # a relative one would be another place for each reader
            return SqlCatalog("default", **told if path is None else {**told, "warehouse": f"file://{path}"})
        raise UsageError(
            f"the Iceberg catalog {self.shown} is at none of {', '.join((*_REST, *_SQL))}",
            "it cannot be opened",
            "Describe it in pyiceberg's own configuration and give its name as --iceberg.catalog",
        )


def _fit(catalog: Catalog, name: str, wanted: Schema) -> None:
    """Make one table such that rows of that schema can be put into it."""
    from pyiceberg.exceptions import NoSuchTableError

    try:
        table = catalog.load_table(name)
    except NoSuchTableError:
        table = catalog.create_table_if_not_exists(name, wanted, partition_spec=_by_run(wanted))
    _check(table, name, wanted)
    there = set(table.schema().column_names)
    if lacking := [column for column in wanted.fields if column.name not in there]:
        with table.update_schema() as update:
            for column in lacking:
                update.add_column((column.name,), column.field_type)


def _check(table: Table, name: str, wanted: Schema) -> None:
    """Refuse a table that cannot take rows of that schema. Raises UsageError."""
    remedy = "Give another --iceberg.namespace"
    ours = {column.name: column for column in wanted.fields}
    for there in table.schema().fields:
        here = ours.get(there.name)
        if here is not None and here.field_type != there.field_type:
            raise UsageError(
                f"the column {there.name!r} of the table {name} is of type {there.field_type}, and of this run "
                f"{here.field_type}",
                "a column has one type for all runs",
                remedy,
            )
        if here is None and there.required:
            raise UsageError(
                f"the table {name} requires a column {there.name!r}", "the rows of this run have none", remedy
            )
    _check_partition(table, name)


def _check_partition(table: Table, name: str) -> None:
    """Refuse a table whose files may hold more than one run. Raises UsageError."""
    told = [f"{part.transform}({table.schema().find_column_name(part.source_id)})" for part in table.spec().fields]
    if told != ["identity(run_id)"]:
        raise UsageError(
            f"the table {name} is partitioned by {', '.join(told) or 'nothing'}",
            "runs are written and replaced by their partition, identity(run_id)",
            "Give another --iceberg.namespace",
        )


def _schema(columns: Iterable[pa.Field]) -> Schema:
    """Columns of Arrow as a schema of Iceberg, numbered from 1 on."""
    from pyiceberg import types
    from pyiceberg.schema import Schema

    kinds: dict[pa.DataType, types.PrimitiveType] = {
        pa.string(): types.StringType(),
        pa.int32(): types.IntegerType(),
        pa.int64(): types.LongType(),
        pa.float64(): types.DoubleType(),
        pa.timestamp("us", tz="UTC"): types.TimestamptzType(),
    }
    fields = [
        types.NestedField(number, column.name, kinds[column.type], required=not column.nullable)
        for number, column in enumerate(columns, start=1)
    ]
    return Schema(*fields)


def _by_run(schema: Schema) -> PartitionSpec:
    from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
    from pyiceberg.transforms import IdentityTransform

    run_id = schema.find_field("run_id").field_id
    return PartitionSpec(PartitionField(run_id, PARTITION_FIELD_ID_START, IdentityTransform(), "run_id"))


def _write(table: Table, run_id: str, started: datetime, parts: Iterable[pa.Table]) -> Iterator[DataFile]:
    """Write the rows to new files of the partition `run_id`, none of which the table knows yet."""
    from pyiceberg.io.pyarrow import write_file
    from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
    from pyiceberg.schema import Schema
    from pyiceberg.table import WriteTask

    _check_partition(table, ".".join(table.name()))  # it may have changed since the run began
    spec, columns, write = table.spec(), table.schema(), uuid.uuid4()
    key = PartitionKey([PartitionFieldValue(spec.fields[0], run_id)], spec, columns)
    for number, rows in enumerate(_gathered(parts)):
        said = zip((run_id, started), RUN_COLUMNS, strict=True)
        own = [pa.repeat(pa.scalar(value, field.type), len(rows)) for value, field in said]
        batch = pa.table([*own, *rows.columns], schema=pa.schema([*RUN_COLUMNS, *rows.schema])).combine_chunks()
        schema = Schema(*map(columns.find_field, batch.column_names))
        task = WriteTask(write, number, schema, batch.to_batches(), partition_key=key)
        yield from write_file(table.io, table.metadata, iter([task]))


def _of_run(run_id: str) -> str:
    return f"run_id = '{run_id}'"


def _gathered(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of the parts in tables of `FILE_BYTES`, or up to a part more; the last may be smaller."""
    held: list[pa.Table] = []
    size = 0
    for part in parts:
        held += [part] if len(part) else []
        size += part.nbytes
        if size >= FILE_BYTES:
            yield pa.concat_tables(held)
            held, size = [], 0
    if held:
        yield pa.concat_tables(held)


def _replace(table: Table, run_id: str, files: Iterable[DataFile], properties: dict[str, str]) -> int:
    """One commit: the files in place of all rows of a run. Answers the snapshot's id: of an earlier attempt where that
    one was successful after all, and its answer was lost."""
    from pyiceberg.table.snapshots import Operation

    for snapshot in table.snapshots():
        told = snapshot.summary
        if told is not None and told[_ATTEMPT] == properties[_ATTEMPT] and told.operation == Operation.APPEND:
            return snapshot.snapshot_id
    with table.transaction() as transaction:
        with warnings.catch_warnings():
            # that nothing is deleted is what is to be expected of a run that is published for the first time; it must
            # be asked for all the same, so that a second publisher of this run who commits meanwhile is noticed
            warnings.filterwarnings("ignore", "Delete operation did not match any records", UserWarning)
            transaction.delete(_of_run(run_id), snapshot_properties=properties)
        with transaction.update_snapshot(snapshot_properties=properties).fast_append() as append:
            for file in files:
                append.append_data_file(file)
    return append.snapshot_id


def _commit_retry_policy() -> RetryPolicy:
    """Retry commits that another one has overtaken or whose result is unknown. Each attempt loads the table again."""
    from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException, ValidationException

    conflicts = (CommitFailedException, CommitStateUnknownException, ValidationException)
    return RetryPolicy(lambda error: isinstance(error, conflicts))


def _for_pyiceberg(options: Mapping[str, Any]) -> dict[str, str]:
    """What S3 is reached by, as pyiceberg's properties."""
    if not options:
        return {}
    # of a bucket at Amazon's pyiceberg finds the region by itself
    elsewhere = "us-east-1" if options.get("endpoint_url") else None
    named = {
        "s3.endpoint": options.get("endpoint_url"),
        "s3.region": options.get("region") or elsewhere,
        "s3.access-key-id": options.get("key"),
        "s3.secret-access-key": options.get("secret"),
        "s3.session-token": options.get("token"),
        "s3.anonymous": "true" if options["anonymous"] else None,
        "s3.force-virtual-addressing": "false" if options["path_style"] else "true",
    }
    return {name: value for name, value in named.items() if value is not None}
