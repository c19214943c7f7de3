"""What an evaluation is told: one frozen value, by flags."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator

from masksift.config.load import build_config
from masksift.config.sections import ConfigSection, ExecutorSection, StorageSection
from masksift.config.types import Amounts, Names
from masksift.core.errors import UsageError
from masksift.storage.credentials import StorageOptions

ERRORS = "errors"
"""The word for as many images as are wrong."""


class TruthArrays(ConfigSection):
    """Name and axes of the corrected labels, where they differ."""

    labels: str = Field("labels", description="name of the corrected labels in their groups")
    labels_axes: Names | None = Field(None, description="order of the stored axes: image,y,x")


class EvaluateConfig(ConfigSection):
    """One evaluation. Every key is optional but `run`, `truth` and `out`."""

    run: str = Field(min_length=1, description="URL of a complete run")
    truth: Names = Field(
        min_length=1,
        description="what is known to be wrong: folder of `masksift simulate`, .csv or .parquet of the wrong images, "
        ".json of verdicts on the reviewed ones, or URLs and globs of Zarr groups with corrected labels",
    )
    out: str = Field(min_length=1, description="URL of the results")
    column: str = Field("image_id", min_length=1, description="column of a table that has the ids of the wrong images")
    at: Amounts = Field(
        (ERRORS, 100, "1%", "5%", "10%"),
        description="how many images are reviewed: numbers, percentages, `errors` for as many as are wrong",
    )
    bootstrap: int = Field(1000, ge=0, description="resamples that the intervals come of; 0: no intervals")
    seed: int = Field(0, ge=0, description="of the resamples")
    arrays: TruthArrays = TruthArrays()
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _check(self) -> EvaluateConfig:
        for amount in self.at:
            images_at(amount, 1, 1)
        return self

    def options(self, more: Sequence[str] = ()) -> StorageOptions:
        """What all places are reached by; ``more``: those that the run's record names."""
        return self.storage.options([self.run, *self.truth, self.out, *more])


def of_words(run: str, flags: Mapping[str, Any]) -> EvaluateConfig:
    """The configuration of a run's URL and the flags. Raises UsageError."""
    for key, consequence in (("truth", "there is nothing to compare with"), ("out", "results would have no place")):
        if key not in flags:
            raise UsageError(f"{key!r} is not given", consequence, f"Give --{key} URL")
    return build_config(EvaluateConfig, {"run": run}, flags)


def images_at(amount: str | int, images: int, errors: float) -> float:
    """How many of ``images``, of which ``errors`` are wrong, an amount of review is: itself, a percentage rounded up,
    or the errors. Raises UsageError where it is none of them.

    >>> images_at("5%", 101, 20)
    6.0
    """
    if amount == ERRORS:
        return float(errors)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", str(amount).strip())
    number = float(found[1]) if found else 0.0
    if not found or number == 0 or (found[2] and number > 100) or (not found[2] and "." in found[1]):
        raise UsageError(
            f"at names {str(amount)!r}, which is no number of images and no share",
            "how many images are reviewed is not known",
            "Give whole numbers, percentages up to 100%, or errors",
        )
    # a share as it is written: 0.1 % of 1,000 images is one image, whatever binary fractions make of it
    return float(math.ceil(round(number * images / 100, 9))) if found[2] else number
