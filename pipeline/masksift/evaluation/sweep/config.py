"""Configuration of `masksift sweep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from masksift.config.run import RunConfig
from masksift.config.sections import (
    ClcSection,
    CocoSection,
    ConfigSection,
    RunArrays,
    SourceOptions,
    TccpSection,
)
from masksift.config.types import Amount, Fractions, Names, PositiveNumbers
from masksift.core.errors import UsageError
from masksift.core.text import closest_match
from masksift.evaluation.evaluate.config import ERRORS, parse_review_amount
from masksift.evaluation.simulate.config import SimulateConfig
from masksift.evaluation.simulate.error_types import ERROR_TYPES
from masksift.scoring.methods import COMBINED, WORST_REGION, make_methods, score_names

if TYPE_CHECKING:
    from masksift.scoring.methods.base import Method

THRESHOLD_METHODS = ("tccp", "clc", "omission", "class_agreement")
"""Methods that use the thresholds of the whole data set, so that their scores differ from setting to setting. All other
scores depend on one image and its labels only; a test checks this list against the methods."""
_BACKGROUND_TYPE = "missing_region"
"""Error type that needs a background class, which only the user can name."""

ScoreColumn = tuple[str, float | None]
"""Method of a score and, for softmin, the temperature."""


class SweepSoftmin(ConfigSection):
    """Parameters of softmin."""

    temperatures: PositiveNumbers = Field(
        (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        description="comma-separated temperatures, > 0; low ones give weight to the worst pixels only",
    )


class SweepConfig(SourceOptions):
    """Options of a sweep; only `sources` and `out` are required."""

    out: str = Field(min_length=1, description="URL of the results and of the stored evidence")
    kinds: Names | None = Field(
        None,
        min_length=1,
        description=f"comma-separated error types: {', '.join(ERROR_TYPES)}; default: all, but {_BACKGROUND_TYPE} only "
        "with --background",
    )
    shares: Fractions = Field(
        (0.05, 0.1, 0.2, 0.3, 0.5),
        description="comma-separated shares of the images of each source that get an error, 0 to 1",
    )
    methods: Names = Field(score_names(), min_length=1, description="comma-separated scores to compute")
    at: Amount = Field(
        ERRORS,
        description="number of reviewed images for precision, recall and lift: an integer, a percentage of the images, "
        "or `errors` for the number of wrong images",
    )
    background: str | None = Field(None, description=f"name of the class that replaces a {_BACKGROUND_TYPE}")
    seed: int = Field(0, ge=0, description="random seed for the choice of images and for the errors")
    softmin: SweepSoftmin = SweepSoftmin()
    tccp: TccpSection = TccpSection()
    clc: ClcSection = ClcSection()
    coco: CocoSection = CocoSection()

    @model_validator(mode="after")
    def _check(self) -> SweepConfig:
        for name in self.kinds or ():
            if name not in ERROR_TYPES:
                raise UsageError(
                    f"There is no error type {name!r}, only {', '.join(ERROR_TYPES)}",
                    f"Did you mean {closest_match(name, ERROR_TYPES)!r}?",
                )
        if _BACKGROUND_TYPE in self.error_types and self.background is None:
            raise UsageError(
                f"kinds contains {_BACKGROUND_TYPE}, but background is not set",
                "Pass --background NAME, or other --kinds",
            )
        if _BACKGROUND_TYPE not in self.error_types and self.background is not None:
            raise UsageError(
                f"background is {self.background!r}, but kinds does not contain {_BACKGROUND_TYPE}",
                "No other error type uses the background",
                f"Omit --background, or add {_BACKGROUND_TYPE} to --kinds",
            )
        parse_review_amount(self.at, 1, 1)
        self.run_config()  # checks the options that sweep shares with run
        return self

    @property
    def error_types(self) -> tuple[str, ...]:
        """Error types, each once, in the order of `ERROR_TYPES`."""
        names = self.kinds or [name for name in ERROR_TYPES if name != _BACKGROUND_TYPE or self.background is not None]
        return tuple(name for name in ERROR_TYPES if name in names)

    @property
    def score_methods(self) -> tuple[str, ...]:
        """Scores, each once, in the order of `score_names`."""
        return tuple(name for name in score_names() if name in self.methods)

    def simulate_config(self, error_type: str) -> SimulateConfig:
        """Make the configuration of a simulation of one error type."""
        return SimulateConfig(
            kind=error_type,
            sources=self.sources,
            out=self.out,
            seed=self.seed,
            ignore=self.ignore,
            remap=self.remap,
            label_offset=self.label_offset,
            background=self.background if error_type == _BACKGROUND_TYPE else None,
            arrays=self.arrays,
        )

    def run_config(self) -> RunConfig:
        """Make the configuration of a run with the same options."""
        shared = set(SourceOptions.model_fields) | {"tccp", "clc", "coco", "methods"}
        options = {name: getattr(self, name) for name in shared - {"arrays"}}
        return RunConfig(**options, rank_by=self.methods[0], arrays=RunArrays(**self.arrays.model_dump()))

    def image_methods(self) -> dict[ScoreColumn, Method]:
        """Make the methods that depend on one image and its labels only; softmin once per temperature."""
        from masksift.scoring.methods.softmin import Softmin

        methods: dict[ScoreColumn, Method] = {}
        for method in make_methods(set(self.methods) - set(THRESHOLD_METHODS), {"coco": self.coco.model_dump()}):
            if isinstance(method, Softmin):
                methods |= {(method.name, t): Softmin(t) for t in self.softmin.temperatures}
            else:
                methods[method.name, None] = method
        return methods

    def threshold_methods(self) -> dict[ScoreColumn, Method]:
        """Make the methods that also depend on the thresholds of a setting."""
        return {(method.name, None): method for method in make_methods(set(self.methods) & set(THRESHOLD_METHODS), {})}

    def table_columns(self) -> tuple[ScoreColumn, ...]:
        """Return the scores made from the tables of all images; `COMBINED` once per temperature of softmin."""
        region: tuple[ScoreColumn, ...] = ((WORST_REGION, None),) if WORST_REGION in self.methods else ()
        temperatures = dict.fromkeys(self.softmin.temperatures if COMBINED in self.methods else ())
        return *region, *((COMBINED, t) for t in temperatures)

    def condense_identity(self) -> dict[str, Any]:
        """Keys that determine the evidence and the statistics."""
        names = {
            *("shares", "background", "seed", "ignore", "remap", "label_offset", "resize", "kind", "scale"),
            *("sum_tolerance", "arrays"),
        }
        keys = self.model_dump(mode="json", include=names)
        return {**keys, "kinds": list(self.error_types), "lattice": self.tccp.lattice}

    def score_identity(self) -> dict[str, Any]:
        """Further keys that determine the scores."""
        keys = self.model_dump(mode="json", include={"softmin", "clc", "coco"})
        return {**keys, "methods": list(self.score_methods), "tau": self.tccp.tau}
