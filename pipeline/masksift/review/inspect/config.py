"""What `masksift show` and `masksift top` are told: one frozen value each, by flags."""

from __future__ import annotations

from pydantic import Field, model_validator

from masksift.config.sections import ConfigSection, ImageArrays, StorageSection
from masksift.core.errors import UsageError


class ShowConfig(ConfigSection):
    """One image drawn."""

    run: str = Field(min_length=1, description="URL of a complete run")
    image: str = Field(min_length=1, description="id of the image, or source/index")
    out: str | None = Field(
        None, description="URL of the .png, which is overwritten; default: the id as a name in this folder"
    )
    side: int = Field(640, ge=64, le=8192, description="pixels of a panel's longer side; larger images are reduced")
    arrays: ImageArrays = ImageArrays()
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _check(self) -> ShowConfig:
        if self.out is not None and not self.out.lower().endswith(".png"):
            raise UsageError(
                f"out is {self.out!r}", "a PNG is written, and named so", "Give --out with a name that ends in .png"
            )
        return self


class TopConfig(ConfigSection):
    """The worst images or regions."""

    run: str = Field(min_length=1, description="URL of a complete run")
    top: int = Field(20, ge=1, description="how many, the worst")
    regions: bool = Field(False, description="regions in place of images, those with most evidence")
    by: str | None = Field(None, description="score that images are ordered by; default: the one the run ranks by")
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _check(self) -> TopConfig:
        if self.regions and self.by is not None:
            raise UsageError(
                f"by is {self.by!r}, and regions are asked for",
                "regions are ordered by their evidence",
                "Leave out --by, or --regions",
            )
        return self
