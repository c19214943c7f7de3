"""What a run is told: one frozen value. One TOML file = one run; every key is also a flag."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field, model_validator

from masksift.config.sections import (
    ClassNames,
    ClcSection,
    CocoSection,
    EvidenceSection,
    IcebergSection,
    RegionsSection,
    ReportSection,
    RunArrays,
    SoftminSection,
    SourceOptions,
    TccpSection,
)
from masksift.config.types import Amount, Names
from masksift.core.errors import UsageError
from masksift.core.text import closest_match
from masksift.core.units import parse_amount
from masksift.scoring.methods import METHODS, Method, make_methods
from masksift.storage.credentials import StorageOptions
from masksift.storage.sources.overrides import Overrides


class RunConfig(SourceOptions):
    """One run. Every key is optional but `sources` and `out`."""

    base: str | None = Field(
        None, description="URL of an earlier run: what of the sources it has condensed is taken over"
    )
    thresholds_from: str | None = Field(None, description="URL of a run whose thresholds are used as they are")
    labels_from: str | None = Field(
        None,
        description="URL of a folder of label groups by source name, as `masksift simulate` and `masksift export "
        "corrections` write them",
    )
    methods: Names = Field(tuple(METHODS), description="scores to compute")
    rank_by: str = Field("softmin", description="score that the ranking is by")
    classes: ClassNames = None
    max_quarantined: Amount = Field(
        0, description="images, or a share such as '0.1%%', beyond which the exit code is 3"
    )
    table: Literal["parquet", "iceberg"] = Field(
        "parquet", description="where ranking and images go: this run's folder alone, or Iceberg tables too"
    )
    arrays: RunArrays = RunArrays()
    softmin: SoftminSection = SoftminSection()
    tccp: TccpSection = TccpSection()
    clc: ClcSection = ClcSection()
    coco: CocoSection = CocoSection()
    regions: RegionsSection = RegionsSection()
    report: ReportSection = ReportSection()
    evidence: EvidenceSection = EvidenceSection()
    iceberg: IcebergSection = IcebergSection()

    @model_validator(mode="after")
    def _check(self) -> RunConfig:
        if not self.sources:
            raise UsageError("no source is given", "there is nothing to read", "Give --source URL, or a glob")
        for name in (*self.methods, self.rank_by):
            if name not in METHODS:
                raise UsageError(
                    f"there is no method {name!r}, only {', '.join(METHODS)}",
                    "there is nothing to compute by it",
                    f"Did you mean {closest_match(name, METHODS)!r}?",
                )
        if self.rank_by not in self.methods:
            raise UsageError(
                f"rank_by is {self.rank_by!r}, and the methods are {', '.join(self.methods) or 'none'}",
                "images are ranked by a score that is computed",
                f"Give --rank_by {self.methods[0]}, or add {self.rank_by} to --methods"
                if self.methods
                else f"Give --methods {self.rank_by}",
            )
        self.quarantine_limit(0)
        return self

    def quarantine_limit(self, images: int) -> Fraction:
        """How many of `images` may be quarantined before the exit code says so."""
        return parse_amount("max_quarantined", self.max_quarantined, images, "images")

    def make_methods(self) -> tuple[Method, ...]:
        """The scores asked for, with their parameters."""
        sections = {"softmin": self.softmin.model_dump(), "coco": self.coco.model_dump()}
        return make_methods(self.methods, sections)

    def options(self) -> StorageOptions:
        """What the sources and the results are reached by."""
        named = self.overrides().names
        pictures = self.arrays.images
        places = (
            self.base,
            self.thresholds_from,
            self.labels_from,
            pictures,
            *(name for name in named if "://" in name),
        )
        return self.storage.options([*self.sources, self.out, *(place for place in places if place)])

    def overrides(self) -> Overrides:
        """Collect the options that override the attributes of a source."""
        return replace(super().overrides(), classes=self.classes, labels_from=self.labels_from)

    def identity(self) -> dict[str, Any]:
        """The keys that decide the results: all but where the blocks are run, where the results go, how they are shown
        and what the exit code says."""
        elsewhere = ("out", "executor", "storage", "max_quarantined", "sources", "table", "iceberg", "report")
        return self.model_dump(mode="json", exclude={**dict.fromkeys(elsewhere, True), "arrays": {"images"}})
