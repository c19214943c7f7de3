"""Configuration of `masksift rerank`."""

from __future__ import annotations

from pydantic import Field

from masksift.config.sections import ConfigSection, StorageSection


class RerankConfig(ConfigSection):
    """Decisions on the regions of a run; all keys except `run` and `verdicts` are optional."""

    run: str = Field(min_length=1, description="URL of a completed run")
    verdicts: str = Field(min_length=1, description="path or URL of the decisions file saved by the report page")
    out: str | None = Field(
        None, min_length=1, description="URL of the Parquet file to write; default: reranked.parquet in the run"
    )
    top: int = Field(10, ge=0, description="number of regions to print, the first of the new order")
    seed: int = Field(0, ge=0, description="random seed of the interval of the expected errors")
    storage: StorageSection = StorageSection()
