"""Configuration of `masksift export masks`."""

from __future__ import annotations

from pydantic import Field

from masksift.config.sections import ConfigSection, ExecutorSection, StorageSection


class MasksConfig(ConfigSection):
    """Mask files; all keys except `run`, `labels` and `out` are optional."""

    run: str = Field(min_length=1, description="URL of a completed run")
    labels: str = Field(
        min_length=1, description="URL of the labels that `masksift export corrections` or `masksift import` wrote"
    )
    out: str = Field(min_length=1, description="URL of the directory for the files")
    unchanged: bool = Field(False, description="also write the files of images whose labels are those of the source")
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()
