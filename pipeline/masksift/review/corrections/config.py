"""Configuration of `masksift export corrections`."""

from __future__ import annotations

from pydantic import Field

from masksift.config.sections import ConfigSection, ExecutorSection, StorageSection


class CorrectionsConfig(ConfigSection):
    """Corrected labels; all keys except `run`, `verdicts` and `out` are optional."""

    run: str = Field(min_length=1, description="URL of a completed run")
    verdicts: str = Field(min_length=1, description="path or URL of the decisions file saved by the report page")
    out: str = Field(min_length=1, description="URL of the directory for the corrected labels")
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()
