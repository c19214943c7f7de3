"""What corrections are told: one frozen value, by flags."""

from __future__ import annotations

from pydantic import Field

from masksift.config.sections import ConfigSection, ExecutorSection, StorageSection


class CorrectionsConfig(ConfigSection):
    """Labels as reviewers want them. Every key is optional but `run`, `verdicts` and `out`."""

    run: str = Field(min_length=1, description="URL of a complete run")
    verdicts: str = Field(min_length=1, description="path or URL of the verdicts on it that the report page saved")
    out: str = Field(min_length=1, description="URL of the folder of corrected labels")
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()
