"""Completed run: its record, tasks and tables, for reports, exports and evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from masksift.config.sections import RunArrays, StorageSection
from masksift.core import signals
from masksift.core.errors import UsageError
from masksift.core.json_text import parse_json
from masksift.core.specs import Color
from masksift.core.status import SCORED
from masksift.engine.image_parts import image_part_names, read_image_rows
from masksift.engine.planning.layout import Settings
from masksift.engine.planning.plan import make_plan
from masksift.engine.result_tables import ranking_part_names
from masksift.engine.source_table import read_source_table
from masksift.engine.work_items import BlockTask, BlockTasks, RunContext
from masksift.storage.manifest import RECORD
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.parquet import iter_tables, list_parts
from masksift.storage.tables.schemas import hive_columns
from masksift.storage.urls import join, local_path


@dataclass(frozen=True)
class CompletedRun:
    """Completed run, or a run that is ranked and not yet complete.

    Attributes:
        record: Content of its run.json.
        context: Settings of the run.
        tasks: All blocks.
        keeps_evidence: The evidence planes exist, not only the issue masks.
    """

    record: Mapping[str, Any]
    context: RunContext
    tasks: BlockTasks
    keeps_evidence: bool

    @cached_property
    def directory(self) -> ObjectDirectory:
        """Directory of the results: one connection, whose requests are counted together."""
        return ObjectDirectory(self.context.out, self.context.options)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.tasks.sources[0].class_names

    @property
    def class_colors(self) -> tuple[Color, ...]:
        """Class colors, sRGB; empty if no source has any."""
        return self.tasks.sources[0].class_colors

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the scores."""
        return tuple(self.record["configuration"]["methods"])

    @property
    def image_part_names(self) -> list[str]:
        """Names of the parts of the table of images, in order."""
        return image_part_names(self.context, self.tasks.plan.images)

    @property
    def ranking_part_names(self) -> list[str]:
        """Names of the parts of the ranking, in order: a store may list objects late that it has just written."""
        return ranking_part_names(self.scored_images)

    @property
    def scored_images(self) -> int:
        """Number of ranked images."""
        return int(self.record["counts"].get(SCORED, 0))

    @property
    def images_array(self) -> str:
        """Name or URL of the RGB images in its configuration."""
        name: str = self.record["configuration"]["arrays"].get("images", RunArrays().images)
        return name

    @cached_property
    def source_index(self) -> dict[str, int]:
        """Number of each source by its name."""
        return {spec.name: number for number, spec in enumerate(self.tasks.sources)}

    def find_task(self, source: str, index: int) -> BlockTask:
        """Return the block that holds image ``index`` of a source."""
        number = self.source_index[source]
        blocks = self.tasks.plan.blocks.source_blocks(number)
        return self.tasks[blocks.start + index // self.tasks.plan.layouts[number].block_images]

    def image_rows(self, keys: Sequence[tuple[str, int]], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Read the rows of images (source, index), in this order, and of the image table little more than them."""
        blocks = self.tasks.plan.blocks
        positions = [blocks.position(self.source_index[source], index) for source, index in keys]
        return read_image_rows(self.context, self.directory, positions, columns)

    def quarantined_rows(self, top: int, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Read the first ``top`` quarantined rows of the image table, and no more files than needed."""
        rows: list[dict[str, Any]] = []
        wanted = min(top, self.record["images"] - self.scored_images)
        for table in iter_tables(self.directory, self.image_part_names if wanted else [], columns):
            signals.raise_if_interrupted()
            numbers = [number for number, status in enumerate(table["status"].to_pylist()) if status != SCORED]
            rows += table.take(numbers[: wanted - len(rows)]).to_pylist() if numbers else []
            if len(rows) == wanted:
                break
        return rows

    def region_tables(self, columns: Sequence[str] | None = None, at_once: int = 1) -> Iterator[Any]:
        """Yield the files of the region table in order, ``at_once`` of them in memory."""
        return iter_tables(self.directory, list_parts(self.directory, "regions"), columns, at_once)


def read_run_record(url: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read run.json of the run at a URL; None if the run is not complete. A damaged one raises UsageError."""
    data = ObjectDirectory(url, options).read(RECORD)
    try:
        record: dict[str, Any] | None = None if data is None else parse_json(data)
    except ValueError as e:
        raise UsageError(
            f"{url}/{RECORD} cannot be parsed ({e})", "Restore the file, or run again with a new --out"
        ) from e
    return record


def open_completed_run(url: str, storage: StorageSection, other_urls: Sequence[str] = ()) -> CompletedRun:
    """Open the completed run at a URL, which may have moved.

    Args:
        url: URL of the results.
        storage: Options of the object stores.
        other_urls: Further URLs that the caller reads.

    Returns:
        The run, its sources and its evidence.

    Raises:
        UsageError: There is no complete run, or its record has the format of a version before 0.3.
    """
    record = read_run_record(url, storage.options([url]))
    if record is None or "configuration" not in record:
        raise UsageError(
            f"{url} holds no complete run", "Pass the URL of a complete one, or finish it with `masksift run`"
        )
    if "condensed" in record:  # which is a table since 0.3
        raise UsageError(
            f"{url} was made by masksift {record['versions']['masksift']}, whose records this version cannot read",
            "Use that version, or run it again into a new --out",
        )
    out = local_path(url) or url.rstrip("/")
    sources, locations, layouts, owns_evidence = [], [], [], False
    for spec, (location, layout) in read_source_table(ObjectDirectory(url, storage.options([url]))):
        sources.append(spec)
        if location.fingerprint == record["fingerprint"]:
            owns_evidence = True
            location = replace(location, out=out, evidence_url=join(out, "evidence", f"{spec.name}.zarr"))
        locations.append(location)
        layouts.append(layout)
    configuration = record["configuration"]
    plan = make_plan(sources, Settings(), record["identity"], layouts)
    urls = [url, configuration["arrays"].get("images", ""), *other_urls]
    for spec, location in zip(sources, locations, strict=True):
        urls += [spec.url, spec.labels.url, location.evidence_url]
    context = RunContext(
        record["fingerprint"],
        configuration["tccp"]["lattice"],
        (),
        configuration["clc"]["rule"],
        out,
        hive_columns(sources, configuration["methods"]),
        storage.options(urls),
    )
    tasks = BlockTasks.from_plan(plan, tuple(sources), out, locations)
    return CompletedRun(record, context, tasks, configuration["evidence"]["keep"] or not owns_evidence)
