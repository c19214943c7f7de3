"""Configuration of `masksift show` and `masksift top`."""

from __future__ import annotations

from pydantic import Field, model_validator

from masksift.config.sections import ConfigSection, ImageArrays, StorageSection
from masksift.core.errors import UsageError


class ShowConfig(ConfigSection):
    """One image to draw."""

    run: str = Field(min_length=1, description="URL of a completed run")
    image: str = Field(min_length=1, description="image id, or SOURCE/INDEX")
    out: str | None = Field(
        None,
        description="URL of the PNG file to write or overwrite; default: named after the id, in this directory",
    )
    side: int = Field(640, ge=64, le=8192, description="longer side of a panel, pixels; larger images are reduced")
    arrays: ImageArrays = ImageArrays()
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _check(self) -> ShowConfig:
        if self.out is not None and not self.out.lower().endswith(".png"):
            raise UsageError(f"out must end in .png, got {self.out!r}", "Pass --out FILE.png")
        return self


class TopConfig(ConfigSection):
    """The worst images or regions to list."""

    run: str = Field(min_length=1, description="URL of a completed run")
    top: int = Field(20, ge=1, description="number of images or regions")
    regions: bool = Field(False, description="list the first regions by rank instead of images")
    per_image: int = Field(5, ge=1, description="largest number of regions of an image in the list")
    by: str | None = Field(None, description="score to order images by; default: the score that the run ranks by")
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _check(self) -> TopConfig:
        if self.regions and self.by is not None:
            raise UsageError(f"by is {self.by!r}, but regions are listed by their rank", "Omit --by, or omit --regions")
        return self
