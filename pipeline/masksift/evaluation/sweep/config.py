"""What a sweep is told: one frozen value, by flags or in a TOML file, with the words of the verbs that it replaces."""

from __future__ import annotations

from typing import Any

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
from masksift.scoring.methods import METHODS, Method, make_methods
from masksift.scoring.methods.softmin import Softmin

THRESHOLDED = ("tccp", "clc", "omission")
"""The scores in which the whole data set has a say, by its thresholds: they differ from setting to setting. Every other
score is that of an image and its labels alone (a test holds each method to its side)."""
_NEEDS_BACKGROUND = "missing_region"
"""The kind of error that leaves a background, which only the user can name."""

Column = tuple[str, float | None]
"""A score of the table: its method and, of softmin, the temperature."""


class SweepSoftmin(ConfigSection):
    """Parameters of softmin."""

    temperatures: PositiveNumbers = Field(
        (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0), description="T > 0: small ones weigh the worst pixels alone"
    )


class SweepConfig(SourceOptions):
    """One sweep. Every key is optional but `sources` and `out`."""

    out: str = Field(min_length=1, description="URL of the results, and of the evidence that they come of")
    kinds: Names | None = Field(
        None,
        min_length=1,
        description=f"of error: {', '.join(ERROR_TYPES)}; default: all, {_NEEDS_BACKGROUND} where a "
        "background is named",
    )
    shares: Fractions = Field((0.05, 0.1, 0.2, 0.3, 0.5), description="of the images of each source that get an error")
    methods: Names = Field(tuple(METHODS), min_length=1, description="scores to compute")
    at: Amount = Field(
        ERRORS, description="how many images are reviewed: a number, a percentage, `errors` for as many as are wrong"
    )
    background: str | None = Field(None, description=f"name of the class that {_NEEDS_BACKGROUND} leaves")
    seed: int = Field(0, ge=0, description="of all that is drawn by lot")
    softmin: SweepSoftmin = SweepSoftmin()
    tccp: TccpSection = TccpSection()
    clc: ClcSection = ClcSection()
    coco: CocoSection = CocoSection()

    @model_validator(mode="after")
    def _check(self) -> SweepConfig:
        for kind in self.kinds or ():
            if kind not in ERROR_TYPES:
                raise UsageError(
                    f"there is no kind of error {kind!r}, only {', '.join(ERROR_TYPES)}",
                    "there is nothing to draw",
                    f"Did you mean {closest_match(kind, ERROR_TYPES)!r}?",
                )
        if (_NEEDS_BACKGROUND in self.error_kinds) != (self.background is not None):
            raise UsageError(
                *(
                    (
                        f"{_NEEDS_BACKGROUND} leaves a background, and no class is said to be it",
                        "what lost pixels become is not known",
                        "Give --background NAME, or other --kinds",
                    )
                    if self.background is None
                    else (
                        f"background is {self.background!r}, and {_NEEDS_BACKGROUND} is not among the kinds",
                        "nothing is filled with it",
                        "Leave --background out, or add that kind",
                    )
                )
            )
        parse_review_amount(self.at, 1, 1)
        self.run_config()  # what a run refuses of the same words
        return self

    @property
    def error_kinds(self) -> tuple[str, ...]:
        """The kinds of errors, each once, in the order of `ERROR_TYPES`."""
        wanted = self.kinds or [
            kind for kind in ERROR_TYPES if kind != _NEEDS_BACKGROUND or self.background is not None
        ]
        return tuple(kind for kind in ERROR_TYPES if kind in wanted)

    @property
    def score_methods(self) -> tuple[str, ...]:
        """The methods, each once, in the order of `METHODS`."""
        return tuple(name for name in METHODS if name in self.methods)

    def simulate_config(self, kind: str) -> SimulateConfig:
        """The simulation of one kind of error, of every image that may be asked for."""
        return SimulateConfig(
            kind=kind,
            sources=self.sources,
            out=self.out,
            seed=self.seed,
            ignore=self.ignore,
            remap=self.remap,
            background=self.background if kind == _NEEDS_BACKGROUND else None,
            arrays=self.arrays,
        )

    def run_config(self) -> RunConfig:
        """The run that any one setting would be."""
        return RunConfig(
            sources=self.sources,
            out=self.out,
            methods=self.methods,
            rank_by=self.methods[0],
            ignore=self.ignore,
            remap=self.remap,
            kind=self.kind,
            scale=self.scale,
            sum_tolerance=self.sum_tolerance,
            arrays=RunArrays(**self.arrays.model_dump()),
            tccp=self.tccp,
            clc=self.clc,
            coco=self.coco,
            executor=self.executor,
            storage=self.storage,
        )

    def steady_methods(self) -> dict[Column, Method]:
        """The scores that an image and its labels decide, softmin once a temperature."""
        made: dict[Column, Method] = {}
        for method in make_methods(set(self.methods) - set(THRESHOLDED), {"coco": self.coco.model_dump()}):
            if isinstance(method, Softmin):
                made |= {(method.name, t): Softmin(t) for t in self.softmin.temperatures}
            else:
                made[method.name, None] = method
        return made

    def thresholded_methods(self) -> dict[Column, Method]:
        """The scores that the thresholds of a setting decide too."""
        return {(method.name, None): method for method in make_methods(set(self.methods) & set(THRESHOLDED), {})}

    def condensing(self) -> dict[str, Any]:
        """The keys that decide the evidence and what is counted of it."""
        names = {"shares", "background", "seed", "ignore", "remap", "kind", "scale", "sum_tolerance", "arrays"}
        told = self.model_dump(mode="json", include=names)
        return {**told, "kinds": list(self.error_kinds), "lattice": self.tccp.lattice}

    def scoring(self) -> dict[str, Any]:
        """The further keys that decide the scores."""
        told = self.model_dump(mode="json", include={"softmin", "clc", "coco"})
        return {**told, "methods": list(self.score_methods), "tau": self.tccp.tau}
