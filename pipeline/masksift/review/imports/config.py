"""Configuration of `masksift import`."""

from __future__ import annotations

from pydantic import Field

from masksift.config.sections import ConfigSection, ExecutorSection, StorageSection


class ImportConfig(ConfigSection):
    """Labels with the changes of a file; `file`, `run` and `out` are required."""

    file: str = Field(min_length=1, description="path or URL of the file, or directory, that the annotation tool wrote")
    run: str = Field(min_length=1, description="URL of the completed run that was exported")
    out: str = Field(min_length=1, description="URL of the directory for the labels with these changes")
    exported: str | None = Field(
        None,
        min_length=1,
        description="directory of the export, whose images.csv tells images of equal names apart; needed only then",
    )
    accept_unchanged: bool = Field(
        False,
        description="also take the suggested class of regions that the file holds unchanged; default: the labels of "
        "these stay as they are",
    )
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()
