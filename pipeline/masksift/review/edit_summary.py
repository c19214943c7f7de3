"""Summary of edited labels, with the command that runs on them."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from masksift.config.run import RunConfig
from masksift.config.sections import dotted_keys, value_at
from masksift.core.text import format_table

MAX_LISTED_PAIRS = 20
"""Class pairs in the summary; the record has all."""
_REPLACED_KEYS = ("sources", "out", "base", "labels_from", "table", "executor", "iceberg")
"""Configuration keys that differ in the next run or that do not affect its results."""

Sources = Sequence[Mapping[str, Any]]
"""Entries of sources in a record; see `label_edits.summarize_source`."""


def total_pixels(sources: Sources) -> int:
    """Count the changed pixels of all sources."""
    return sum(pair["pixels"] for source in sources for pair in source["pairs"])


def format_pairs(sources: Sources, edit_name: str) -> list[str]:
    """Format a table of class pairs, most pixels first, with the number of edits, called ``edit_name``."""
    pixels, counts = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for source in sources:
        for pair in source["pairs"]:
            key = (pair["given"] or "no label", pair["suggested"] or "no label")
            pixels[key] += pair["pixels"]
            counts[key] += pair[edit_name]
    rows = [("given", "now", edit_name, "pixels")] if pixels else []
    rows += [(*pair, f"{counts[pair]:,}", f"{area:,}") for pair, area in pixels.most_common(MAX_LISTED_PAIRS)]
    rest = len(pixels) - MAX_LISTED_PAIRS
    return [*format_table(rows, left=2), *([f"  and {rest:,} other pairs"] if rest > 0 else [])]


def format_next_steps(sources: Sources, configuration: Mapping[str, Any], run: str, out: str) -> list[str]:
    """Format where the labels are, and the command of a run with them.

    Args:
        sources: Entries of the record.
        configuration: Configuration of the edited run.
        run: URL of that run.
        out: URL of the labels.

    Returns:
        Lines of text.
    """
    if evidence := [source["name"] for source in sources if source["evidence_alone"]]:
        names = ", ".join(evidence[:3])
        advice = "write their evidence again with these labels, because a run cannot replace them"
        return [f"labels: {out}", f"sources of stored evidence: {names}; {advice}"]
    return [f"labels: {out}", f"next: {next_command(configuration, run, out)}"]


def next_command(configuration: Mapping[str, Any], run: str, out: str) -> str:
    """Format the command of a run over the same sources with the corrected labels and the same options."""
    args = ["masksift", "run"]
    for source in configuration["sources"]:
        args += ["--source", source]
    args += ["--labels_from", out]
    if configuration["evidence"]["keep"]:  # otherwise there is nothing to reuse
        args += ["--base", run]
    args += ["--out", f"{run.rstrip('/')}-corrected"]
    defaults = RunConfig(sources=("-",), out="-").model_dump(mode="json")
    for key in dotted_keys(RunConfig):
        value = value_at(configuration, key)
        if key.split(".")[0] not in _REPLACED_KEYS and value != value_at(defaults, key):
            args += [f"--{key}", _format_flag(value)]
    return shlex.join(args)


def _format_flag(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{item}" for key, item in value.items())
    if isinstance(value, list):
        plain = all("," not in str(item) and not str(item).startswith("[") for item in value)
        return ",".join(map(str, value)) if plain else json.dumps(value, ensure_ascii=False)
    return str(value)
