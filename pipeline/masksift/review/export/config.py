"""What an export is told: one frozen value, by flags."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from masksift.config.sections import ConfigSection, ImageArrays, StorageSection
from masksift.core.errors import UsageError


class ExportConfig(ConfigSection):
    """One export. Every key is optional but `run` and `out`."""

    run: str = Field(min_length=1, description="URL of a complete run")
    out: str = Field(min_length=1, description="URL of a folder that is empty or not there")
    top: int = Field(1000, ge=1, description="how many regions, those with most evidence")
    min_area: int = Field(1, ge=1, description="pixels of the smallest")
    min_evidence: float = Field(0.0, ge=0, description="least evidence of a region")
    verdicts: str | None = Field(
        None, min_length=1, description="file that the report page saved: what is rejected in it is left out"
    )
    accepted: bool = Field(False, description="only what is accepted in the verdicts")
    pictures: bool = Field(True, description="whether pictures are written, where the sources have any")
    arrays: ImageArrays = ImageArrays()
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _check(self) -> ExportConfig:
        if self.accepted and self.verdicts is None:
            raise UsageError(
                "accepted is true and no verdicts are given",
                "what was accepted is not known",
                "Give --verdicts FILE, as the report page saved it",
            )
        return self

    def chosen(self) -> dict[str, Any]:
        """The keys that decide what is written: all but where it goes and how stores are reached."""
        return self.model_dump(mode="json", exclude={"run", "out", "storage"})


class LabelStudioConfig(ExportConfig):
    """An export for Label Studio, whose tasks name pictures by their URLs."""

    images_at: str | None = Field(
        None,
        min_length=1,
        description="URL before images/NAME.png, as Label Studio reaches it; default: --out, as its local files",
    )


def export_config_class(form: str) -> type[ExportConfig]:
    """What exports of a format are told."""
    return LabelStudioConfig if form == "label-studio" else ExportConfig
