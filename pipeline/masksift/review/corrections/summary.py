"""Summary of corrections, with the command that runs on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masksift.core.text import pluralize
from masksift.review.corrections.config import CorrectionsConfig
from masksift.review.edit_summary import format_next_steps, format_pairs, total_pixels


def format_text(record: Mapping[str, Any], configuration: Mapping[str, Any], config: CorrectionsConfig) -> str:
    """Format the record of corrections; ``configuration`` is that of the reviewed run."""
    regions, sources = record["verdicts"]["regions"], record["sources"]
    images = sum(source["changed_images"] for source in sources)
    lines = [
        f"{pluralize(regions['accept'], 'region')} of {pluralize(images, 'image')} accepted: "
        f"{pluralize(total_pixels(sources), 'pixel')} of {pluralize(len(sources), 'source')} changed",
        *format_pairs(sources, "regions"),
        f"{regions['reject']:,} rejected, {regions['unsure']:,} unsure, {regions['none']:,} undecided: unchanged",
    ]
    if without := record["verdicts"]["accepted_images_without_regions"]:
        lines.append(f"{pluralize(without, 'accepted image')} without a listed region: unchanged")
    if left := len(record["left"]):
        lines.append(f"{pluralize(left, 'source')} without accepted regions: not written, labels unchanged")
    return "\n".join([*lines, *format_next_steps(sources, configuration, config.run, config.out)])
