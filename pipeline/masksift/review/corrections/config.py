"""What corrections are told: one frozen value, by flags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from masksift.config.load import build_config
from masksift.config.sections import ConfigSection, ExecutorSection, StorageSection
from masksift.core.errors import UsageError


class CorrectionsConfig(ConfigSection):
    """Labels as reviewers want them. Every key is optional but `run`, `verdicts` and `out`."""

    run: str = Field(min_length=1, description="URL of a complete run")
    verdicts: str = Field(min_length=1, description="path or URL of the verdicts on it that the report page saved")
    out: str = Field(min_length=1, description="URL of the folder of corrected labels")
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()


def make_corrections_config(run: str, flags: Mapping[str, Any]) -> CorrectionsConfig:
    """The configuration of a run's URL and the flags. Raises UsageError."""
    for key, consequence in (
        ("verdicts", "which regions are wrong is not known"),
        ("out", "labels would have no place"),
    ):
        if key not in flags:
            raise UsageError(f"{key!r} is not given", consequence, f"Give --{key} URL")
    return build_config(CorrectionsConfig, {"run": run}, flags)
