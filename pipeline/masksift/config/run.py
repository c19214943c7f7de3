"""Configuration of `masksift run`. One TOML file describes one run; every key is also a flag."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

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
from masksift.config.types import Amount, Names, OneOrMoreNames
from masksift.core.errors import UsageError
from masksift.core.limits import FIRST_IMAGES
from masksift.core.text import closest_match
from masksift.core.units import parse_amount
from masksift.scoring.methods import COMBINED, COMBINED_SCORES, make_methods, score_names
from masksift.storage.credentials import StorageOptions
from masksift.storage.sources.overrides import Overrides

if TYPE_CHECKING:
    from masksift.scoring.methods.base import Method


FILE_KEYS = ("preset", "colors", "background")
"""Keys that describe label files only."""


class RunConfig(SourceOptions):
    """Configuration of one run. Only `sources`, or `labels` and `predictions`, and `out` are required."""

    reads_files: ClassVar[bool] = True

    labels: str | None = Field(
        None,
        min_length=1,
        description="label files, as for `masksift ingest`, or URL of a label array without a group; with "
        "--predictions, instead of a source",
    )
    predictions: OneOrMoreNames | None = Field(
        None,
        description="prediction files .npy or .npz, which are read directly, or URL of a prediction array without a "
        "group; several comma-separated arrays form an ensemble",
    )
    base: str | None = Field(
        None, description="URL of an earlier run whose evidence is reused for unchanged sources; default: none"
    )
    thresholds_from: str | None = Field(
        None, description="URL of a run whose class thresholds are used; default: compute them from the data"
    )
    labels_from: str | None = Field(
        None,
        description="URL of the labels that `masksift simulate` or `masksift export corrections` wrote, used instead "
        "of the sources' labels",
    )
    methods: Names = Field(
        score_names(),
        description=f"comma-separated scores to compute; {COMBINED} needs {', '.join(COMBINED_SCORES)}",
    )
    rank_by: str = Field(
        "auto",
        validate_default=True,
        description=f"score that orders the ranking; auto: {COMBINED}, or softmin or the first of the methods if it is "
        "not computed",
    )
    classes: ClassNames = None
    max_quarantined: Amount = Field(
        0,
        description="largest number of quarantined images, or percentage such as 0.1%; more give exit code 3",
    )
    quarantine: Literal["stop", "continue"] = Field(
        "stop",
        description=f"action if the first {FIRST_IMAGES} images are all quarantined with one status: stop with exit "
        "code 2, or continue with the others",
    )
    table: Literal["parquet", "iceberg"] = Field(
        "parquet", description="format of the tables ranking and images; iceberg writes Iceberg tables as well"
    )
    images: str | None = Field(
        None,
        min_length=1,
        description="RGB image files, or URL of an RGB image array without a group; with --labels, used only by the "
        "report",
    )
    preset: str | None = Field(
        None, description="with label files: data set that defines classes, ignored values, ids and colors"
    )
    colors: str | None = Field(
        None, description="with label files: CSV file with rows name,r,g,b; the name `ignore` marks ignored colors"
    )
    background: str | None = Field(
        None,
        min_length=1,
        description="with annotations: class of pixels that no polygon or mask covers; default: they are ignored",
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

    @field_validator("rank_by")
    @classmethod
    def _choose_score(cls, name: str, info: ValidationInfo) -> str:
        """Resolve "auto"."""
        methods: tuple[str, ...] = info.data.get("methods", ())
        if name != "auto" or not methods:
            return name
        return next(one for one in (COMBINED, "softmin", *methods) if one in methods)

    @model_validator(mode="after")
    def _check(self) -> RunConfig:
        if self.labels is None and (unused := next((key for key in FILE_KEYS if getattr(self, key)), None)):
            raise UsageError(
                f"{unused} is set, but labels are not files", f"Drop --{unused}, or pass files to --labels"
            )
        if not self.methods:
            raise UsageError("methods is empty", "Name at least one score, such as --methods softmin")
        for name in (*self.methods, self.rank_by):
            if name not in score_names():
                raise UsageError(
                    f"Unknown method {name!r}",
                    f"The methods are {', '.join(score_names())}",
                    f"Did you mean {closest_match(name, score_names())!r}?",
                )
        missing = [name for name in COMBINED_SCORES if name not in self.methods]
        if COMBINED in self.methods and missing:
            raise UsageError(
                f"The methods contain {COMBINED}, but not {' and '.join(missing)}",
                f"{COMBINED} is made from {', '.join(COMBINED_SCORES)}",
                f"Add {','.join(missing)} to --methods, or remove {COMBINED}",
            )
        if self.rank_by not in self.methods:
            raise UsageError(
                f"rank_by is {self.rank_by!r}, which is not among the methods ({', '.join(self.methods)})",
                f"Pass --rank-by {self.methods[0]}, or add {self.rank_by} to --methods",
            )
        self.quarantine_limit(0)
        return self

    def quarantine_limit(self, images: int) -> Fraction:
        """Return the number of quarantined images, of ``images``, above which the exit code is 3."""
        return parse_amount("max_quarantined", self.max_quarantined, images, "images")

    @property
    def score_methods(self) -> tuple[str, ...]:
        """Scores, each once, in the order of `score_names`."""
        return tuple(name for name in score_names() if name in self.methods)

    def make_methods(self) -> tuple[Method, ...]:
        """Create the configured scoring methods with their parameters."""
        sections = {"softmin": self.softmin.model_dump(), "coco": self.coco.model_dump()}
        return make_methods(self.methods, sections)

    def options(self) -> StorageOptions:
        """Resolve the access options of all stores that the run names."""
        names = (self.base, self.thresholds_from, self.labels_from, self.arrays.images)
        arrays = self.overrides()
        urls = [*self.sources, self.out, arrays.labels, *arrays.prediction_names, *filter(None, names)]
        return self.storage.options(urls)

    def overrides(self) -> Overrides:
        """Collect the options that override the attributes of a source."""
        return replace(super().overrides(), classes=self.classes, labels_from=self.labels_from)

    def identity(self) -> dict[str, Any]:
        """Return the keys that decide the results: not the executor, output, presentation or exit code."""
        irrelevant = ("out", "executor", "storage", "max_quarantined", "quarantine", "table", "iceberg", "report")
        became_source = ("sources", "labels", "predictions", "images", *FILE_KEYS)
        excluded = dict.fromkeys((*irrelevant, *became_source), True)
        return self.model_dump(mode="json", exclude={**excluded, "arrays": {"images"}})
