"""Configuration of `masksift export FORMAT`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from masksift.config.sections import ConfigSection, ImageArrays, StorageSection
from masksift.core.errors import UsageError


class ExportConfig(ConfigSection):
    """Regions to export; all keys except `run` and `out` are optional."""

    run: str = Field(min_length=1, description="URL of a completed run")
    out: str = Field(min_length=1, description="URL of a new or empty directory")
    top: int = Field(1000, ge=1, description="number of regions, the first by rank")
    per_image: int | None = Field(None, ge=1, description="largest number of regions of an image; default: all")
    min_area: int = Field(1, ge=1, description="smallest area of a region, pixels")
    min_evidence: float = Field(0.0, ge=0, description="smallest evidence of a region")
    verdicts: str | None = Field(
        None, min_length=1, description="decisions file saved by the report page; rejected regions are left out"
    )
    reranked: bool = Field(
        False, description="export the regions in reranked.parquet of the run, in the order that `rerank` has learned"
    )
    accepted: bool = Field(False, description="export only the regions that the decisions file accepts")
    pictures: bool = Field(True, description="write RGB images, if the sources have any")
    arrays: ImageArrays = ImageArrays()
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _check(self) -> ExportConfig:
        if self.accepted and self.verdicts is None:
            raise UsageError(
                "accepted is true, but no decisions file is given", "Pass --verdicts FILE as saved by the report page"
            )
        if self.accepted and self.reranked:
            raise UsageError(
                "accepted and reranked are true, but accepted regions are not reranked", "Omit --accepted or --reranked"
            )
        return self

    def content_keys(self) -> dict[str, Any]:
        """Return the keys that decide the content of an export, as plain values."""
        return self.model_dump(mode="json", exclude={"run", "out", "storage"})


class LabelStudioConfig(ExportConfig):
    """Export for Label Studio, whose tasks refer to images by URL."""

    images_at: str | None = Field(
        None,
        min_length=1,
        description="URL prefix of images/NAME.png as Label Studio reaches it; default: --out as its local files",
    )


def export_config_class(form: str) -> type[ExportConfig]:
    """Return the configuration class of a format."""
    return LabelStudioConfig if form == "label-studio" else ExportConfig
