"""The two commands of a run on files: `masksift ingest --link`, and a run of the source that it writes."""

from __future__ import annotations

from typing import Any

from masksift.config.command_line import set_flags
from masksift.config.load import build_config
from masksift.config.run import FILE_KEYS, RunConfig
from masksift.prepare.ingest.config import IngestConfig

_INGEST_KEYS = (
    *("labels", "predictions", "images", "preset", "classes", "ignore", "background", "remap", "label_offset"),
    *("colors", "kind", "scale"),
)
"""Keys of a run that describe files, which the attributes of the source replace."""


def link_flags(config: RunConfig) -> dict[str, Any]:
    """Return the flags of the ingest that makes the source of a run on files."""
    flags = set_flags(config)
    shared = {key: value for key, value in flags.items() if key.startswith(("executor.", "storage."))}
    files = {key: flags[key] for key in _INGEST_KEYS if key in flags}
    return {**files, "link": True, "out": config.sources[0], **shared}


def make_link_config(config: RunConfig) -> IngestConfig:
    """Return the configuration of that ingest."""
    return build_config(IngestConfig, {}, link_flags(config))


def run_of_link(config: RunConfig) -> RunConfig:
    """Return the configuration of the run of that source."""
    excluded = {*_INGEST_KEYS, *FILE_KEYS}
    tree = config.model_dump(mode="json", exclude_unset=True, exclude=excluded)
    return build_config(RunConfig, {**tree, "sources": list(config.sources)}, {})
