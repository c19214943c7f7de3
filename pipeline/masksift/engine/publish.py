"""The ranking and the images of a run in Iceberg tables, where the configuration asks for that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from masksift.config.run import RunConfig
from masksift.core import signals as interruption
from masksift.core.status import SCORED
from masksift.engine import result_tables as results
from masksift.engine.stages import RunStats
from masksift.engine.work_items import RunContext
from masksift.runtime.progress import ProgressReporter
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.iceberg import IcebergTables, is_uri
from masksift.storage.tables.parquet import iter_tables
from masksift.storage.tables.schemas import images_schema, ranking_schema


@dataclass(frozen=True)
class Publisher:
    """Puts the tables of one run into a lake; without a lake it does nothing. ``blocks``: of the run."""

    tables: IcebergTables | None
    job: RunContext
    blocks: int

    @classmethod
    def from_config(cls, config: RunConfig, job: RunContext, blocks: int) -> Publisher:
        """As the configuration says. Raises UsageError where pyiceberg is missing."""
        if config.table == "parquet":
            return cls(None, job, blocks)
        place = config.iceberg
        # A REST server says where the files of a table are when it is asked for the table: keys are looked for in any
        # case. What a name of pyiceberg's configuration stands for brings its own.
        urls = ["s3://"] if place.catalog.startswith("http") else [place.warehouse or ""]
        options = config.storage.options(urls if is_uri(place.catalog) else [])
        return cls(IcebergTables(place.catalog, place.warehouse, place.namespace, options), job, blocks)

    def prepare(self) -> None:
        """Create the tables, or give them the columns they lack: whoever cannot do that learns it before anything is
        computed. Raises UsageError."""
        if self.tables is not None:
            methods = [method.name for method in self.job.methods]
            schemas = {"ranking": ranking_schema, "images": images_schema}
            self.tables.create_or_evolve(
                {name: schema(methods, self.job.path_columns) for name, schema in schemas.items()}
            )

    def publish(self, scored: int, started: str, report: ProgressReporter, account: RunStats) -> dict[str, Any]:
        """Put the rows of the ranked run into the tables, in place of what these have of it; ``scored``: images that
        are; ``started``: as the run's record says. Answers what the record says of it. Raises RunFailed."""
        if self.tables is None:
            return {}
        own, when = self.job.fingerprint, datetime.fromisoformat(started)
        with report.stage("publish") as stage:
            tables = [
                asdict(self.tables.publish(name, own, when, self._rows(parts, at_once), self.job.out))
                for name, parts, at_once in (
                    ("ranking", results.ranking_part_names(scored), 1),  # of a quarter of a million rows each
                    ("images", results.image_part_names(own, self.blocks), 8),  # of the few rows of a block
                )
            ]
        account.add(stage.fields())
        return {"iceberg": {"catalog": self.tables.shown, "tables": tables}}

    def publish_if_missing(self, record: Mapping[str, Any], report: ProgressReporter) -> dict[str, Any]:
        """Publish a run that was complete before, unless the tables have it; answers what changes in its record."""
        if self.tables is None or self._is_there(record):
            report.message(f"{self.job.out} is complete already: nothing to do")
            return {}
        report.message(f"{self.job.out} is complete already: only its tables are put into {self.tables.shown}")
        self.prepare()
        account = RunStats()
        told = self.publish(record["counts"].get(SCORED, 0), record["started"], report, account)
        return {**told, "stages": [*record["stages"], *account.stages]}

    def _is_there(self, record: Mapping[str, Any]) -> bool:
        """Whether the record says that this lake has the run, and the lake says so too."""
        assert self.tables is not None
        rows = {"ranking": record["counts"].get(SCORED, 0), "images": record["images"]}
        told = record.get("iceberg", {"catalog": None, "tables": []})
        named = {table["table"]: table["rows"] for table in told["tables"]}
        if told["catalog"] != self.tables.shown or named != {self.tables.table(name): n for name, n in rows.items()}:
            return False
        return all(self.tables.rows(name, self.job.fingerprint) == n for name, n in rows.items())

    def _rows(self, parts: list[str], at_once: int) -> Iterator[pa.Table]:
        """The rows of those parts of the run's own tables, ``at_once`` of them held at a time."""
        for part in iter_tables(ObjectDirectory(self.job.out, self.job.options), parts, at_once=at_once):
            interruption.raise_if_interrupted()
            yield part
