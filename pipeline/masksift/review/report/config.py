"""What a report is told: one frozen value, by flags."""

from __future__ import annotations

from pydantic import Field

from masksift.config.sections import ConfigSection, ExecutorSection, ImageArrays, StorageSection


class ReportConfig(ConfigSection):
    """One report. Every key is optional but `run`."""

    run: str = Field(min_length=1, description="URL of a complete run")
    top: int | None = Field(None, ge=1, description="how many images it shows; default: as many as the run's")
    arrays: ImageArrays = ImageArrays()
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()
