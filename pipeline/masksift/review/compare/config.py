"""Configuration of `masksift compare`."""

from __future__ import annotations

from pydantic import Field

from masksift.config.sections import ConfigSection, StorageSection

RANK = "rank"
"""Value of `by` that compares the positions of images in the ranking."""


class CompareConfig(ConfigSection):
    """Two completed runs to compare."""

    old: str = Field(min_length=1, description="URL of a completed run")
    new: str = Field(min_length=1, description="URL of the completed run to compare it with")
    top: int = Field(20, ge=0, description="number of images in each list")
    by: str = Field(
        RANK,
        min_length=1,
        description="quantity whose change orders the images: `rank` (the share of the ranking up to the image), or "
        "the name of a score",
    )
    storage: StorageSection = StorageSection()
