"""What a run is told: one frozen value. One TOML file = one run; every key is also a flag."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

from pydantic import Field, model_validator

from masksift.config.sections import (
    ClcSection,
    CocoSection,
    ConfigSection,
    EvidenceSection,
    ExecutorSection,
    IcebergSection,
    RegionsSection,
    ReportSection,
    RunArrays,
    SoftminSection,
    StorageSection,
    TccpSection,
)
from masksift.config.types import Amount, Names, Numbers, Pairs
from masksift.core.errors import UsageError
from masksift.core.text import closest_match
from masksift.core.units import parse_amount
from masksift.scoring.methods import ENSEMBLE_METHODS, METHODS, Method, make_methods
from masksift.storage.credentials import StorageOptions
from masksift.storage.sources.overrides import Overrides


class RunConfig(ConfigSection):
    """One run. Every key is optional but `sources` and `out`."""

    sources: Names = Field(description="URL of a Zarr group, or a glob; one or more")
    out: str = Field(min_length=1, description="URL of the results")
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
    classes: Names | None = Field(None, description="class names; default: the source's")
    ignore: Numbers | None = Field(None, description="label values that do not count; default: the source's")
    remap: Pairs | None = Field(None, description="label values and the classes they stand for: 7:0,8:1")
    kind: Literal["probabilities", "logits"] | None = Field(
        None, description="what predictions are; default: the source's"
    )
    scale: float | None = Field(None, gt=0, le=1, description="probability of one step of integer predictions")
    sum_tolerance: float | None = Field(None, ge=0, description="how far a pixel's sum may lie from 1")
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
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()
    iceberg: IcebergSection = IcebergSection()

    @model_validator(mode="after")
    def _check(self) -> RunConfig:
        if not self.sources:
            raise UsageError("no source is given", "there is nothing to read", "Give --source URL, or a glob")
        known = {**METHODS, **ENSEMBLE_METHODS}
        if self.arrays.members and "methods" not in self.model_fields_set:
            object.__setattr__(self, "methods", tuple(known))  # the default of an ensemble
        for name in (*self.methods, self.rank_by):
            if name not in known:
                raise UsageError(
                    f"there is no method {name!r}, only {', '.join(known)}",
                    "there is nothing to compute by it",
                    f"Did you mean {closest_match(name, known)!r}?",
                )
            if name in ENSEMBLE_METHODS and not self.arrays.members:
                raise UsageError(
                    f"the method {name!r} is asked for, and the predictions are {self.arrays.predictions!r} alone",
                    "it needs the votes of an ensemble",
                    f"Give --arrays.predictions {self.arrays.predictions},OTHER, or leave {name} out",
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
        """What is said here of the source."""
        return Overrides(
            **self.arrays.model_dump(exclude={"images"}),
            classes=self.classes,
            ignore=self.ignore,
            kind=self.kind,
            scale=self.scale,
            sum_tolerance=self.sum_tolerance,
            remap=tuple(sorted((self.remap or {}).items())),
            labels_from=self.labels_from,
        )

    def identity(self) -> dict[str, Any]:
        """The keys that decide the results: all but where the blocks are run, where the results go, how they are shown
        and what the exit code says."""
        elsewhere = ("out", "executor", "storage", "max_quarantined", "sources", "table", "iceberg", "report")
        return self.model_dump(mode="json", exclude={**dict.fromkeys(elsewhere, True), "arrays": {"images"}})
