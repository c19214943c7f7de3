"""Summary of an import, with the command that runs on the labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masksift.core.text import pluralize
from masksift.review.edit_summary import format_next_steps, format_pairs, total_pixels
from masksift.review.imports.config import ImportConfig
from masksift.review.imports.edits import EDITED, UNCHANGED


def format_text(record: Mapping[str, Any], configuration: Mapping[str, Any], config: ImportConfig) -> str:
    """Format the record of an import; ``configuration`` is that of the exported run."""
    facts, sources = record["import"], record["sources"]
    images = sum(source["changed_images"] for source in sources)
    lines = [
        f"{pluralize(facts['images'], 'image')} in {config.file}: {pluralize(total_pixels(sources), 'pixel')} of "
        f"{pluralize(images, 'image')} changed",
        *format_pairs(sources, "images"),
    ]
    if edited := facts[EDITED]:
        lines.append(f"{pluralize(edited, 'new or edited shape')}: their pixels have the class of the shape")
    if unchanged := facts[UNCHANGED]:
        text = f"{pluralize(unchanged, 'region')} as they were exported"
        if config.accept_unchanged or facts["submitted"]:
            lines.append(f"{text}: their pixels have the suggested class")
        else:
            lines.append(f"{text}: their labels are unchanged (--accept_unchanged takes the suggested class)")
    if left := len(record["left"]):
        lines.append(f"{pluralize(left, 'source')} without an image in the file: not written, labels unchanged")
    return "\n".join([*lines, *format_next_steps(sources, configuration, config.run, config.out)])
