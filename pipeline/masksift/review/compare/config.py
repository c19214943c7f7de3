"""What a comparison is told: one frozen value, by flags."""

from __future__ import annotations

from pydantic import Field

from masksift.config.sections import ConfigSection, StorageSection

RANK = "rank"
"""The word for the place in the ranking."""


class CompareConfig(ConfigSection):
    """One comparison of two complete runs."""

    old: str = Field(min_length=1, description="URL of a complete run")
    new: str = Field(min_length=1, description="URL of another one")
    top: int = Field(20, ge=0, description="how many images each list has")
    by: str = Field(
        RANK,
        min_length=1,
        description="what an image has changed in: rank, for the share of the ranking that is "
        "reviewed up to it, or the name of a score",
    )
    storage: StorageSection = StorageSection()
