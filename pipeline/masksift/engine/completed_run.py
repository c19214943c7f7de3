"""A complete run, as it lies there: what its evaluation, its report and its exports begin with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from masksift.config.sections import RunArrays, StorageSection
from masksift.core.errors import UsageError
from masksift.core.specs import EvidenceLocation, SourceSpec
from masksift.engine.planning.layout import Layout, Settings
from masksift.engine.planning.plan import make_plan
from masksift.engine.result_tables import image_part_names
from masksift.engine.work_items import BlockTask, BlockTasks, RunContext
from masksift.storage.manifest import RECORD
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.schemas import hive_columns
from masksift.storage.urls import join, local_path


@dataclass(frozen=True)
class CompletedRun:
    """A complete run, or one that is ranked and about to be. ``record``: its run.json; ``keeps_evidence``: whether the
    three planes are there, and not the issue masks alone."""

    record: Mapping[str, Any]
    context: RunContext
    tasks: BlockTasks
    keeps_evidence: bool

    @cached_property
    def directory(self) -> ObjectDirectory:
        """Where its results lie: one connection, whose requests are counted together."""
        return ObjectDirectory(self.context.out, self.context.options)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.tasks.sources[0].class_names

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of its scores."""
        return tuple(self.record["configuration"]["methods"])

    @property
    def image_part_names(self) -> list[str]:
        """The names of the parts of its table of images, in order."""
        return image_part_names(self.context.fingerprint, len(self.tasks))

    @property
    def images_array(self) -> str:
        """Name or URL of the pictures that it was told of."""
        told: str = self.record["configuration"]["arrays"].get("images", RunArrays().images)
        return told

    @cached_property
    def source_index(self) -> dict[str, int]:
        """The number of each source, by its name."""
        return {spec.name: number for number, spec in enumerate(self.tasks.sources)}

    def find_task(self, source: str, index: int) -> BlockTask:
        """The block that holds an image, by the name of its source and its number there."""
        number = self.source_index[source]
        blocks = self.tasks.plan.blocks.ranges[number]
        return self.tasks[blocks.start + index // self.tasks.plan.layouts[number].block_images]


def read_run_record(url: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of the complete run at a URL, or None."""
    data = ObjectDirectory(url, options).read(RECORD)
    return None if data is None else json.loads(data)


def open_completed_run(url: str, storage: StorageSection, also: Sequence[str] = ()) -> CompletedRun:
    """The complete run at a URL: it may have been moved since. ``also``: other places that are read or written with
    the same options. Raises UsageError where there is no complete one."""
    record = read_run_record(url, storage.options([url]))
    if record is None or "configuration" not in record:
        raise UsageError(
            f"{url} holds no complete run",
            "there is nothing to go by",
            "Give the URL of one, or finish that one with `masksift run`",
        )
    sources = tuple(SourceSpec.from_json(tree) for tree in record["sources"])
    out = local_path(url) or url.rstrip("/")
    homes, layouts, own = [], [], False
    for spec, tree in zip(sources, record["condensed"], strict=True):
        home = EvidenceLocation(**tree["location"])
        if home.fingerprint == record["fingerprint"]:
            own, home = (
                True,
                EvidenceLocation(out, home.fingerprint, home.first_block, join(out, "evidence", f"{spec.name}.zarr")),
            )
        homes.append(home)
        plain: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in tree["layout"].items()}
        layouts.append(Layout(**plain))
    told = record["configuration"]
    plan = make_plan(sources, Settings(), record["identity"], layouts)
    read = [
        place
        for spec, home in zip(sources, homes, strict=True)
        for place in (spec.url, spec.labels.url, home.evidence_url)
    ]
    pictures = told["arrays"].get("images", "")
    job = RunContext(
        record["fingerprint"],
        told["tccp"]["lattice"],
        (),
        told["clc"]["rule"],
        out,
        hive_columns(sources, told["methods"]),
        storage.options([url, pictures, *also, *read]),
    )
    return CompletedRun(
        record, job, BlockTasks.from_plan(plan, sources, out, homes), told["evidence"]["keep"] or not own
    )
