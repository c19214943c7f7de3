"""Publish the rows of runs to Iceberg tables, through pyiceberg: one copy of each run.

A run is a partition (`run_id`). Its rows are first written to new Parquet files below the table, about 128 MiB of
memory at a time; then one commit deletes the table's rows of that run and adds the files. So a run that is published
twice, or that was killed at any moment and is published again, is there once, and no reader sees it in part. A commit
that conflicts with another one is repeated without writing the files again.

The files of the run's own directory are not registered with the table (`add_files`): they have no `run_id`, would be
read by column name for ever, and the table would break when somebody removes that directory. Files of an attempt that
died before its commit belong to no snapshot: Iceberg's removal of orphan files finds them.
"""

from __future__ import annotations

import re
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
"""Bytes of rows in memory that become one file of a table."""
_ATTEMPT = "masksift.attempt"
SQLITE_TIMEOUT_SECONDS = 60
"""Wait for a catalog in SQLite while another run commits."""
_SQL, _REST = ("sqlite", "postgresql"), ("http", "https")


@dataclass(frozen=True)
class Published:
    """Published table, as recorded in run.json: its name, the snapshot with the run's rows, and their number."""

    table: str
    snapshot: int
    rows: int


def is_uri(catalog: str) -> bool:
    """Return whether a catalog is a URI, instead of a name in the configuration of pyiceberg."""
    return "://" in catalog


@dataclass(frozen=True)
class IcebergTables:
    """Namespace of a run's tables. The catalog is opened for each step, because hours pass between them.

    Attributes:
        catalog: Name in the configuration of pyiceberg, or a URI.
        warehouse: URL of the tables' files, or the name that a REST server has for it.
        namespace: Namespace of the tables.
        options: Storage options by cloud; those of S3 are used if the catalog is a URI.
    """

    catalog: str = field(repr=False)
    warehouse: str | None
    namespace: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Raise UsageError if pyiceberg or a database's driver is missing, or a database has no warehouse."""
        if self._kind in _SQL and self.warehouse is None:
            raise UsageError(
                f"iceberg.catalog is {self.shown} and iceberg.warehouse is not given",
                "A database stores only where the files of a table are",
                "Pass --iceberg.warehouse s3://bucket/directory, or another URL",
            )
        try:
            import pyiceberg.catalog  # noqa: F401
        except ImportError as e:
            raise UsageError(
                "pyiceberg is not installed",
                "Install it with `pip install 'masksift[iceberg]'`, or omit --table iceberg",
            ) from e
        if self._kind in _SQL:
            self._check_driver()

    def _check_driver(self) -> None:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError

        try:
            make_url(_with_driver(self.catalog)).get_dialect().import_dbapi()
        except ImportError as e:
            raise UsageError(
                f"The Iceberg catalog {self.shown} needs the package {e.name}, which is not installed",
                "Install masksift[iceberg], whose driver serves sqlite:// and postgresql://, or that package",
            ) from e
        except (ArgumentError, NoSuchModuleError, ValueError) as e:  # their messages may quote the password
            raise UsageError(
                f"The Iceberg catalog {self.shown} is not a URI of a database ({type(e).__name__})",
                "Pass --iceberg.catalog sqlite:///catalog.db or postgresql://user@host/database",
            ) from e

    @property
    def _kind(self) -> str:
        """Scheme of a URI without the driver of a database (`postgresql+psycopg2`)."""
        return self.catalog.split("://")[0].split("+")[0] if is_uri(self.catalog) else ""

    @property
    def shown(self) -> str:
        """Catalog without a possible password."""
        return redact_uri(self.catalog)

    def create_or_evolve(self, tables: Mapping[str, pa.Schema]) -> None:
        """Create missing tables, and add missing columns, which are null in older rows.

        Args:
            tables: Schema of each table without `RUN_COLUMNS`.

        Raises:
            UsageError: The catalog cannot be reached, or a table cannot take such rows.
        """
        consequence = "The tables could not be filled at the end of the run"
        remedy = "Check --iceberg.catalog and --iceberg.warehouse, and that you may write there"
        with self._opened("cannot be used", UsageError, consequence, remedy) as catalog:
            if not catalog.namespace_exists(self.namespace):
                catalog.create_namespace_if_not_exists(self.namespace)
            for name, columns in tables.items():
                if taken := set(columns.names) & set(RUN_COLUMNS.names):
                    raise UsageError(
                        f"The path of a source contains {min(taken)}=, which is also a column of the tables",
                        "Rename that part of the path",
                    )
                fit = partial(_fit, catalog, self.table(name), _schema([*RUN_COLUMNS, *columns]))
                _commit_retry_policy().call(fit, self.table(name))

    def publish(self, name: str, run_id: str, started: datetime, parts: Iterable[pa.Table], out: str) -> Published:
        """Replace all rows of a run in a table. Holds about `FILE_BYTES` of rows a few times over.

        Args:
            name: Name of the table.
            run_id: Fingerprint of the run.
            started: Start of the run.
            parts: The rows.
            out: URL of the run's directory, recorded in the snapshot.

        Returns:
            The published table. A failure raises RunFailed.
        """
        consequence = "The tables do not contain the whole run"
        remedy = "Fix the cause and run the same command again; it resumes"
        with self._opened(f"did not take {self.table(name)}", RunFailed, consequence, remedy) as catalog:
            files = list(_write(catalog.load_table(self.table(name)), run_id, started, parts))
            properties = {_ATTEMPT: str(uuid.uuid4()), "masksift.run_id": run_id, "masksift.out": out}
            snapshot = _commit_retry_policy().call(
                lambda: _replace(catalog.load_table(self.table(name)), run_id, files, properties), self.table(name)
            )
        return Published(self.table(name), snapshot, sum(file.record_count for file in files))

    def rows(self, name: str, run_id: str) -> int:
        """Return the number of rows of a run in a table, 0 without a table. Without a catalog raise UsageError."""
        from pyiceberg.exceptions import NoSuchTableError

        remedy = "Check that it runs, or omit --table iceberg"
        with self._opened(
            "cannot be read", UsageError, "The state of the published tables is unknown", remedy
        ) as catalog:
            try:
                return catalog.load_table(self.table(name)).scan(_of_run(run_id)).count()
            except NoSuchTableError:
                return 0

    def table(self, name: str) -> str:
        """Return the full name of a table in the catalog."""
        return f"{self.namespace}.{name}"

    @contextmanager
    def _opened(self, fact: str, error: type[MasksiftError], consequence: str, remedy: str) -> Iterator[Catalog]:
        """Open the catalog and translate all errors, which have no common base class."""
        try:
            with self._open() as catalog:
                yield catalog
        except MasksiftError:
            raise
        except Exception as e:
            cause = redact_uri(summarize_error(e).replace(self.catalog, self.shown))
            raise error(f"The Iceberg catalog {self.shown} {fact} ({cause})", consequence, remedy) from e

    def _open(self) -> Catalog:
        from pyiceberg.catalog import load_catalog
        from pyiceberg.utils.config import Config

        settings = {} if self.warehouse is None else {"warehouse": self.warehouse}
        if not is_uri(self.catalog):
            configured = Config().get_catalog_config(self.catalog)
            if configured is None:
                raise UsageError(
                    f"pyiceberg has no catalog {self.catalog!r}",
                    "Define it in .pyiceberg.yaml or PYICEBERG_CATALOG__<NAME>__URI, or pass its URI as "
                    "--iceberg.catalog",
                )
            settings = {**configured, **settings}  # type: ignore[dict-item]
            if "uri" in settings:
                settings["uri"] = _with_driver(settings["uri"])
            return load_catalog(self.catalog, **settings)
        # load_catalog would add the configuration of another catalog, with its credentials. A database may hold several
        # catalogs by name; "default" is the one that pyiceberg opens without a name.
        settings |= {"uri": _with_driver(self.catalog), **_for_pyiceberg(self.options.get("s3", {}))}
        if self._kind in _REST:
            from pyiceberg.catalog.rest import RestCatalog

            return RestCatalog("default", **settings)
        if self._kind in _SQL:
            from pyiceberg.catalog.sql import SqlCatalog

            if self._kind == "sqlite" and "?" not in self.catalog:  # the default is five seconds
                settings["uri"] = f"{self.catalog}?timeout={SQLITE_TIMEOUT_SECONDS}"
            path = local_path(settings["warehouse"])  # a relative one would depend on the reader
            return SqlCatalog("default", **settings if path is None else {**settings, "warehouse": f"file://{path}"})
        raise UsageError(
            f"The Iceberg catalog {self.shown} has none of the schemes {', '.join((*_REST, *_SQL))}",
            "Define it in the configuration of pyiceberg and pass its name as --iceberg.catalog",
        )


def _with_driver(uri: str) -> str:
    """Add the driver of the extra `iceberg` to a URI of PostgreSQL without one: SQLAlchemy's default has changed."""
    return re.sub("^postgresql://", "postgresql+psycopg://", uri)


def _fit(catalog: Catalog, name: str, wanted: Schema) -> None:
    """Create or extend a table for rows of a schema."""
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
    """Raise UsageError if a table cannot take rows of a schema."""
    remedy = "Pass another --iceberg.namespace"
    columns = {column.name: column for column in wanted.fields}
    for there in table.schema().fields:
        here = columns.get(there.name)
        if here is not None and here.field_type != there.field_type:
            raise UsageError(
                f"Column {there.name!r} of table {name} has type {there.field_type}, but {here.field_type} in this run",
                remedy,
            )
        if here is None and there.required:
            raise UsageError(f"Table {name} requires a column {there.name!r}, which this run does not have", remedy)
    _check_partition(table, name)


def _check_partition(table: Table, name: str) -> None:
    """Raise UsageError if a file of a table may contain more than one run."""
    settings = [f"{part.transform}({table.schema().find_column_name(part.source_id)})" for part in table.spec().fields]
    if settings != ["identity(run_id)"]:
        raise UsageError(
            f"Table {name} is partitioned by {', '.join(settings) or 'nothing'}",
            "Runs are written and replaced by the partition identity(run_id)",
            "Pass another --iceberg.namespace",
        )


def _schema(columns: Iterable[pa.Field]) -> Schema:
    """Convert Arrow fields to an Iceberg schema, numbered from 1."""
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
    """Write the rows to new files of the partition `run_id` that no snapshot contains yet."""
    from pyiceberg.io.pyarrow import write_file
    from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
    from pyiceberg.schema import Schema
    from pyiceberg.table import WriteTask

    _check_partition(table, ".".join(table.name()))  # it may have changed since the run began
    spec, columns, write = table.spec(), table.schema(), uuid.uuid4()
    key = PartitionKey([PartitionFieldValue(spec.fields[0], run_id)], spec, columns)
    for number, rows in enumerate(_merge_tables(parts)):
        run_values = zip((run_id, started), RUN_COLUMNS, strict=True)
        own = [pa.repeat(pa.scalar(value, field.type), len(rows)) for value, field in run_values]
        batch = pa.table([*own, *rows.columns], schema=pa.schema([*RUN_COLUMNS, *rows.schema])).combine_chunks()
        schema = Schema(*map(columns.find_field, batch.column_names))
        task = WriteTask(write, number, schema, batch.to_batches(), partition_key=key)
        yield from write_file(table.io, table.metadata, iter([task]))


def _of_run(run_id: str) -> str:
    return f"run_id = '{run_id}'"


def _merge_tables(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows in tables of at least `FILE_BYTES`; the last may be smaller."""
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
    """Replace all rows of a run and return the snapshot identifier, also of an attempt whose answer was lost."""
    from pyiceberg.table.snapshots import Operation

    for snapshot in table.snapshots():
        settings = snapshot.summary
        if (
            settings is not None
            and settings[_ATTEMPT] == properties[_ATTEMPT]
            and settings.operation == Operation.APPEND
        ):
            return snapshot.snapshot_id
    with table.transaction() as transaction:
        with warnings.catch_warnings():
            # A run that is published for the first time has nothing to delete. The deletion is still needed to detect
            # a concurrent publisher of the same run.
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
    """Return the storage options of S3 as properties of pyiceberg."""
    if not options:
        return {}
    # pyiceberg finds the region of a bucket at Amazon itself
    default_region = "us-east-1" if options.get("endpoint_url") else None
    named = {
        "s3.endpoint": options.get("endpoint_url"),
        "s3.region": options.get("region") or default_region,
        "s3.access-key-id": options.get("key"),
        "s3.secret-access-key": options.get("secret"),
        "s3.session-token": options.get("token"),
        "s3.anonymous": "true" if options["anonymous"] else None,
        "s3.force-virtual-addressing": "false" if options["path_style"] else "true",
    }
    return {name: value for name, value in named.items() if value is not None}
