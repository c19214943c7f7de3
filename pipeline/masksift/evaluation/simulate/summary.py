"""Console text of a simulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masksift.core.text import pluralize
from masksift.evaluation.simulate.config import SimulateConfig
from masksift.evaluation.simulate.tasks import LABELS
from masksift.storage.urls import join


def console_text(config: SimulateConfig, record: Mapping[str, Any]) -> str:
    """Summarize the record of a simulation."""
    lines = [
        f"{record['changed']:,} of {record['images']:,} images of {pluralize(len(record['sources']), 'source')} have "
        f"an error: {config.kind}"
    ]
    if record["unchanged"]:
        reasons = ", ".join(f"{outcome} {count:,}" for outcome, count in record["unchanged"].items())
        lines.append(f"chosen but unchanged: {sum(record['unchanged'].values()):,} ({reasons})")
    labels = join(config.out, LABELS)
    return "\n".join([*lines, f"labels: {labels} (masksift run --labels_from {labels})"])
