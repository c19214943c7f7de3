"""Configuration of `masksift evaluate`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from pydantic import Field, model_validator

from masksift.config.sections import ConfigSection, ExecutorSection, StorageSection
from masksift.config.types import Amounts, Names
from masksift.core.errors import UsageError
from masksift.storage.credentials import StorageOptions

ERRORS = "errors"
"""Review amount: as many images as are wrong."""


class CorrectedLabelArrays(ConfigSection):
    """Name and axes of the corrected labels."""

    labels: str = Field("labels", description="name of the corrected label array in its group")
    labels_axes: Names | None = Field(
        None, description="order of the stored axes, a permutation of image,y,x; default: image,y,x"
    )


class EvaluateConfig(ConfigSection):
    """Options of an evaluation; only `run`, `truth` and `out` are required."""

    run: str = Field(min_length=1, description="URL of a completed run")
    truth: Names = Field(
        min_length=1,
        description="known errors: output of `masksift simulate`, .csv or .parquet list of wrong images, .json review "
        "decisions, or URLs and globs of Zarr groups with corrected labels",
    )
    out: str = Field(min_length=1, description="URL of the results")
    column: str = Field("image_id", min_length=1, description="name of the column with image ids in a list")
    at: Amounts = Field(
        (ERRORS, 100, "1%", "5%", "10%"),
        description="numbers of reviewed images for precision, recall and lift: integers, percentages of the images, "
        "or `errors` for the number of wrong images",
    )
    per_image: int | None = Field(
        None, ge=1, description="largest number of regions of an image to review, its first ones; default: all"
    )
    bootstrap: int = Field(1000, ge=0, description="resamples for confidence intervals, 0 for none")
    seed: int = Field(0, ge=0, description="random seed for the resamples")
    arrays: CorrectedLabelArrays = CorrectedLabelArrays()
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _check(self) -> EvaluateConfig:
        for amount in self.at:
            parse_review_amount(amount, 1, 1)
        return self

    def options(self, urls: Sequence[str] = ()) -> StorageOptions:
        """Resolve the access options for the configured URLs and further ones."""
        return self.storage.options([self.run, *self.truth, self.out, *urls])


def parse_review_amount(amount: str | int, images: int, errors: float) -> float:
    """Convert an integer, a percentage (rounded up) or `errors` to a number of images. Raises UsageError."""
    if amount == ERRORS:
        return float(errors)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", str(amount).strip())
    number = float(match[1]) if match else 0.0
    if not match or number == 0 or (match[2] and number > 100) or (not match[2] and "." in match[1]):
        raise UsageError(
            f"at contains {str(amount)!r}, which is neither a number of images nor a percentage",
            "Use positive integers, percentages up to 100%, or errors",
        )
    # decimal rounding first: 0.1 % of 1,000 images is one image, despite binary fractions
    return float(math.ceil(round(number * images / 100, 9))) if match[2] else number
