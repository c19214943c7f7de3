"""Configuration of `masksift report`."""

from __future__ import annotations

from pydantic import Field

from masksift.config.sections import ConfigSection, ExecutorSection, ImageArrays, StorageSection


class ReportConfig(ConfigSection):
    """Report of a completed run; all keys except `run` are optional."""

    run: str = Field(min_length=1, description="URL of a completed run")
    top: int | None = Field(None, ge=1, description="number of images on the page; default: that of the run")
    arrays: ImageArrays = ImageArrays()
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()
