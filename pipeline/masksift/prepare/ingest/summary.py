"""Text that an ingest prints when it is complete."""

from __future__ import annotations

import shlex

from masksift.core.text import escape_unprintable
from masksift.prepare.ingest.binary import MASK
from masksift.prepare.ingest.config import IngestConfig
from masksift.prepare.ingest.discover import Inputs
from masksift.prepare.ingest.survey import Survey
from masksift.storage.urls import join

RECORD_GROUP = "ingest"
"""Zarr group in the source whose attributes are the plan and the record of the ingest."""
MAX_FILE_NAMES = 3
"""Unmatched files to print for each side; the record lists all."""


def format_summary(config: IngestConfig, inputs: Inputs, survey: Survey, dtype: str) -> str:
    """Describe the new source, and the files that are not in it; ``dtype``: of the written predictions."""
    size = f"{survey.height} x {survey.width}" + (" (smaller ones padded)" if survey.padded else "")
    content = "no predictions" if survey.format is None else f"{dtype} {config.kind}"
    lines = [f"{len(inputs.pairs):,} images of {size}, {survey.classes} classes, {content}", *inputs.rules]
    if survey.values is MASK:
        lines.append("label value 255 is class 1")
    if config.link:
        lines.append(f"predictions stay in {config.predictions}: the source refers to them")
    elif survey.format == "positive":
        lines.append("predictions are of the positive class, written as background and foreground")
    if survey.format == "numbers":
        lines.append("predictions are class numbers, written as probabilities of 1")
    if inputs.skipped_labels:
        lines.append(f"skipped label files in other encodings: {inputs.skipped_labels:,}")
    for side, names in inputs.unmatched.items():
        shown = ", ".join(map(escape_unprintable, names[:MAX_FILE_NAMES]))
        more = ", ..." if len(names) > MAX_FILE_NAMES else ""
        lines.append(f"unmatched: {len(names):,} {side} ({shown}{more})")
    if inputs.unmatched:
        lines.append(f"complete list: {join(config.out, RECORD_GROUP, 'zarr.json')}")
    lines.append(f"source: {config.out}")
    if survey.format is None:
        lines.append(f"next: masksift predict --source {shlex.quote(config.out)} --out URL")
    return "\n".join(lines)
