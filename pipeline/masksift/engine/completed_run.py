"""A complete run, as it lies there: what its evaluation, its report and its exports begin with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from masksift.config.sections import RunArrays, StorageSection
from masksift.core.errors import UsageError
from masksift.core.specs import DataSpec, Home
from masksift.engine.planning.layout import Layout, Settings
from masksift.engine.planning.plan import make_plan
from masksift.engine.result_tables import image_parts
from masksift.engine.work_items import Job, Part, Parts
from masksift.storage.manifest import RECORD
from masksift.storage.objects import Folder
from masksift.storage.tables.schemas import hive_columns
from masksift.storage.urls import join, local_path

__all__ = ["Complete", "finished", "open_complete"]


@dataclass(frozen=True)
class Complete:
    """A complete run, or one that is ranked and about to be. ``record``: its run.json; ``keeps_evidence``: whether the
    three planes are there, and not the issue masks alone."""

    record: Mapping[str, Any]
    job: Job
    parts: Parts
    keeps_evidence: bool

    @cached_property
    def folder(self) -> Folder:
        """Where its results lie: one connection, whose requests are counted together."""
        return Folder(self.job.out, self.job.options)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.parts.sources[0].class_names

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of its scores."""
        return tuple(self.record["configuration"]["methods"])

    @property
    def image_parts(self) -> list[str]:
        """The names of the parts of its table of images, in order."""
        return image_parts(self.job.fingerprint, len(self.parts))

    @property
    def pictures(self) -> str:
        """Name or URL of the pictures that it was told of."""
        told: str = self.record["configuration"]["arrays"].get("images", RunArrays().images)
        return told

    @cached_property
    def places(self) -> dict[str, int]:
        """The number of each source, by its name."""
        return {spec.name: number for number, spec in enumerate(self.parts.sources)}

    def part_of(self, source: str, index: int) -> Part:
        """The block that holds an image, by the name of its source and its number there."""
        number = self.places[source]
        blocks = self.parts.plan.blocks.ranges[number]
        return self.parts[blocks.start + index // self.parts.plan.layouts[number].block]


def finished(url: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of the complete run at a URL, or None."""
    data = Folder(url, options).read(RECORD)
    return None if data is None else json.loads(data)


def open_complete(url: str, storage: StorageSection, also: Sequence[str] = ()) -> Complete:
    """The complete run at a URL: it may have been moved since. ``also``: other places that are read or written with
    the same options. Raises UsageError where there is no complete one."""
    record = finished(url, storage.options([url]))
    if record is None or "configuration" not in record:
        raise UsageError(
            f"{url} holds no complete run", "there is nothing to go by",
            "Give the URL of one, or finish that one with `masksift run`",
        )  # fmt: skip
    sources = tuple(DataSpec.from_json(tree) for tree in record["sources"])
    out = local_path(url) or url.rstrip("/")
    homes, layouts, own = [], [], False
    for spec, tree in zip(sources, record["condensed"], strict=True):
        home = Home(**tree["home"])
        if home.fingerprint == record["fingerprint"]:
            own, home = True, Home(out, home.fingerprint, home.first, join(out, "evidence", f"{spec.name}.zarr"))
        homes.append(home)
        plain: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in tree["layout"].items()}
        layouts.append(Layout(**plain))
    told = record["configuration"]
    plan = make_plan(sources, Settings(), record["identity"], layouts)
    read = [place for spec, home in zip(sources, homes, strict=True)
            for place in (spec.url, spec.labels.url, home.evidence)]  # fmt: skip
    pictures = told["arrays"].get("images", "")
    job = Job(
        record["fingerprint"], told["tccp"]["lattice"], (), told["clc"]["rule"], out,
        hive_columns(sources, told["methods"]), storage.options([url, pictures, *also, *read]),
    )  # fmt: skip
    return Complete(record, job, Parts.of_run(plan, sources, out, homes), told["evidence"]["keep"] or not own)
