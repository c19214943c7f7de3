"""Summary of corrections, with the command that runs on them."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from typing import Any

from masksift.config.run import RunConfig
from masksift.config.sections import dotted_keys, value_at
from masksift.core.text import format_table, pluralize
from masksift.review.corrections.config import CorrectionsConfig

MAX_LISTED_PAIRS = 20
"""Class pairs in the summary; the record has all."""
_REPLACED_KEYS = ("sources", "out", "base", "labels_from", "table", "executor", "iceberg")
"""Configuration keys that differ in the next run or that do not affect its results."""


def format_text(record: Mapping[str, Any], configuration: Mapping[str, Any], config: CorrectionsConfig) -> str:
    """Format the record of corrections; ``configuration`` is that of the reviewed run."""
    regions, sources = record["verdicts"]["regions"], record["sources"]
    pixels, counts = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for source in sources:
        for pair in source["pairs"]:
            key = (pair["given"] or "no label", pair["suggested"])
            pixels[key] += pair["pixels"]
            counts[key] += pair["regions"]
    images = sum(source["changed_images"] for source in sources)
    lines = [
        f"{pluralize(regions['accept'], 'region')} of {pluralize(images, 'image')} accepted: "
        f"{pluralize(pixels.total(), 'pixel')} of {pluralize(len(sources), 'source')} changed",
        *_pair_table(pixels, counts),
        f"{regions['reject']:,} rejected, {regions['unsure']:,} unsure, {regions['none']:,} undecided: unchanged",
    ]
    if without := record["verdicts"]["accepted_images_without_regions"]:
        lines.append(f"{pluralize(without, 'accepted image')} without a listed region: unchanged")
    if left := len(record["left"]):
        lines.append(f"{pluralize(left, 'source')} without accepted regions: not written, labels unchanged")
    lines.append(f"labels: {config.out}")
    if evidence := [source["name"] for source in sources if source["evidence_alone"]]:
        lines.append(
            f"sources of stored evidence: {', '.join(evidence[:3])}; write their evidence again with these labels, "
            "because a run cannot replace them"
        )
    else:
        lines.append(f"next: {next_command(configuration, config)}")
    return "\n".join(lines)


def _pair_table(pixels: Counter[tuple[str, str]], counts: Counter[tuple[str, str]]) -> list[str]:
    rows = [("given", "now", "regions", "pixels")] if pixels else []
    rows += [(*pair, f"{counts[pair]:,}", f"{area:,}") for pair, area in pixels.most_common(MAX_LISTED_PAIRS)]
    rest = len(pixels) - MAX_LISTED_PAIRS
    return [*format_table(rows, left=2), *([f"  and {rest:,} other pairs"] if rest > 0 else [])]


def next_command(configuration: Mapping[str, Any], config: CorrectionsConfig) -> str:
    """Format the command of a run over the same sources with the corrected labels and the same options."""
    args = ["masksift", "run"]
    for source in configuration["sources"]:
        args += ["--source", source]
    args += ["--labels_from", config.out]
    if configuration["evidence"]["keep"]:  # otherwise there is nothing to reuse
        args += ["--base", config.run]
    args += ["--out", f"{config.run.rstrip('/')}-corrected"]
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
