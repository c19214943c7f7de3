"""Configuration of `masksift verify`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from masksift.config.sections import ConfigSection, StorageSection


class VerifyConfig(ConfigSection):
    """The run to verify, and the sample of its images."""

    run: str = Field(min_length=1, description="URL of a completed run")
    sample: Literal["all"] | Annotated[int, Field(ge=1)] = Field(
        50,
        description="number of images to recompute, chosen at random; with all images, thresholds are recomputed too",
    )
    seed: int = Field(0, ge=0, description="random seed for the choice of images")
    top: int = Field(3, ge=0, description="number of mismatches to list for each compared quantity")
    storage: StorageSection = StorageSection()
