"""Publish the ranking and the table of images to Iceberg tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from masksift.config.run import RunConfig
from masksift.core import signals
from masksift.core.status import SCORED
from masksift.engine.image_parts import image_part_names
from masksift.engine.result_tables import ranking_part_names
from masksift.engine.stages import RunStats
from masksift.engine.work_items import RunContext
from masksift.runtime.progress import ProgressReporter
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.iceberg import IcebergTables, is_uri
from masksift.storage.tables.parquet import iter_tables
from masksift.storage.tables.schemas import images_schema, ranking_schema


@dataclass(frozen=True)
class Publisher:
    """Copies the tables of one run to Iceberg; without Iceberg tables it does nothing."""

    tables: IcebergTables | None
    context: RunContext
    images: int

    @classmethod
    def from_config(cls, config: RunConfig, context: RunContext, images: int) -> Publisher:
        """Create the publisher of a configuration. Raises UsageError if pyiceberg is missing."""
        if config.table == "parquet":
            return cls(None, context, images)
        section = config.iceberg
        # A REST catalog names the place of a table's files only when the table is opened: S3 credentials are resolved
        # in any case. A catalog from pyiceberg's own configuration brings its own credentials.
        urls = ["s3://"] if section.catalog.startswith("http") else [section.warehouse or ""]
        options = config.storage.options(urls if is_uri(section.catalog) else [])
        tables = IcebergTables(section.catalog, section.warehouse, section.namespace, options)
        return cls(tables, context, images)

    def prepare(self) -> None:
        """Create the tables or add missing columns, before anything is computed. Raises UsageError if that fails."""
        if self.tables is not None:
            methods, columns = self.context.score_names, self.context.path_columns
            schemas = {"ranking": ranking_schema, "images": images_schema}
            self.tables.create_or_evolve({name: schema(methods, columns) for name, schema in schemas.items()})

    def publish(self, scored: int, started: str, progress: ProgressReporter, stats: RunStats) -> dict[str, Any]:
        """Replace the rows of the run in the tables, and return fields for its record. Raises RunFailed."""
        if self.tables is None:
            return {}
        fingerprint, time = self.context.fingerprint, datetime.fromisoformat(started)
        with progress.stage("publish") as stage:
            published = [
                asdict(self.tables.publish(name, fingerprint, time, self._rows(parts, parts_held), self.context.out))
                for name, parts, parts_held in (
                    ("ranking", ranking_part_names(scored), 1),  # a quarter of a million rows per part
                    ("images", image_part_names(self.context, self.images), 2),  # a quarter of that
                )
            ]
        stats.add(stage.fields())
        return {"iceberg": {"catalog": self.tables.shown, "tables": published}}

    def publish_if_missing(self, record: Mapping[str, Any], progress: ProgressReporter) -> dict[str, Any]:
        """Publish a run that was complete before, unless the tables have it; return the changes to its record."""
        if self.tables is None or self._is_published(record):
            progress.message(f"{self.context.out} is complete already: nothing to do")
            return {}
        progress.message(f"{self.context.out} is complete already: only its tables are put into {self.tables.shown}")
        self.prepare()
        stats = RunStats()
        fields = self.publish(record["counts"].get(SCORED, 0), record["started"], progress, stats)
        return {**fields, "stages": [*record["stages"], *stats.stages]}

    def _is_published(self, record: Mapping[str, Any]) -> bool:
        """Return whether both the record and the tables say that the tables have the run."""
        assert self.tables is not None
        rows = {"ranking": record["counts"].get(SCORED, 0), "images": record["images"]}
        published = record.get("iceberg", {"catalog": None, "tables": []})
        recorded = {table["table"]: table["rows"] for table in published["tables"]}
        expected = {self.tables.table(name): count for name, count in rows.items()}
        if published["catalog"] != self.tables.shown or recorded != expected:
            return False
        return all(self.tables.rows(name, self.context.fingerprint) == count for name, count in rows.items())

    def _rows(self, parts: list[str], parts_held: int) -> Iterator[pa.Table]:
        """Yield the rows of parts of the run's own tables, with ``parts_held`` parts in memory at a time."""
        directory = ObjectDirectory(self.context.out, self.context.options)
        for table in iter_tables(directory, parts, at_once=parts_held):
            signals.raise_if_interrupted()
            yield table
