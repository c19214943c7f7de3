"""Corrections in words, and the command that runs on them."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from typing import Any

from masksift.config.run import RunConfig
from masksift.config.sections import dotted_keys
from masksift.core.text import format_table, pluralize
from masksift.review.corrections.config import CorrectionsConfig

Pair = tuple[str | None, str]
"""Names of the class that was given (None: none was) and of the suggested one."""
SHOWN = 20
"""Pairs of classes that are told; all are in the record."""
_SAID_ANEW = ("sources", "out", "base", "labels_from", "table")
"""Keys of the reviewed run that the next one has otherwise, or that say nothing of its results."""


def format_text(record: Mapping[str, Any], told: Mapping[str, Any], config: CorrectionsConfig) -> str:
    """The end of corrections; ``told``: the configuration of the run that was reviewed."""
    regions, sources = record["verdicts"]["regions"], record["sources"]
    pairs, counts = Counter[Pair](), Counter[Pair]()
    for source in sources:
        for pair in source["pairs"]:
            key = (pair["given"], pair["suggested"])
            pairs[key] += pair["pixels"]
            counts[key] += pair["regions"]
    images = sum(source["changed_images"] for source in sources)
    lines = [
        f"{pluralize(regions['accept'], 'region')} of {pluralize(images, 'image')} accepted: "
        f"{pluralize(pairs.total(), 'pixel')} "
        f"of {pluralize(len(sources), 'source')} changed",
        *_table(pairs, counts),
        f"{regions['reject']:,} rejected, {regions['unsure']:,} unsure, {regions['none']:,} without a verdict: "
        "as they were",
    ]
    if without := record["verdicts"]["accepted_images_without_regions"]:
        lines.append(f"accepted images of which no region is listed: {without:,}; nothing is changed in them")
    if left := len(record["left"]):
        lines.append(
            f"{pluralize(left, 'source')} without an accepted region: not written, with the labels that it had"
        )
    lines.append(f"labels: {config.out}")
    if evidence := [source["name"] for source in sources if source["evidence_alone"]]:
        lines.append(
            f"evidence in place of predictions: {', '.join(evidence[:3])}; write it again with these labels, since a "
            "run cannot take other ones for it"
        )
        return "\n".join(lines)
    return "\n".join([*lines, f"next: {next_command(told, config)}"])


def _table(pairs: Counter[Pair], counts: Counter[Pair]) -> list[str]:
    """Which classes became which, most pixels first."""
    rows = [("given", "now", "regions", "pixels")] if pairs else []
    rows += [
        (given or "no label", suggested, f"{counts[given, suggested]:,}", f"{pixels:,}")
        for (given, suggested), pixels in pairs.most_common(SHOWN)
    ]
    more = [f"  and {len(pairs) - SHOWN:,} other pairs"] if len(pairs) > SHOWN else []
    return [*format_table(rows, left=2), *more]


def next_command(told: Mapping[str, Any], config: CorrectionsConfig) -> str:
    """A run over the same sources with these labels: with every key that the reviewed one was given."""
    words = ["masksift", "run"]
    for source in told["sources"]:
        words += ["--source", source]
    words += ["--labels_from", config.out]
    if told["evidence"]["keep"]:  # else there is nothing to take over
        words += ["--base", config.run]
    words += ["--out", f"{config.run.rstrip('/')}-corrected"]
    default = RunConfig(sources=("-",), out="-").model_dump(mode="json")
    for key in dotted_keys(RunConfig):
        first = key.split(".")[0]
        value = _at(told, key)
        if first not in (*_SAID_ANEW, "executor", "iceberg") and value != _at(default, key):
            words += [f"--{key}", _word(value)]
    return shlex.join(words)


def _at(tree: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key; None where the tree has none: an older run knew fewer keys."""
    value: Any = tree
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _word(value: Any) -> str:
    """A value as a flag takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{meant}" for name, meant in value.items())
    if isinstance(value, list):
        plain = all("," not in str(part) and not str(part).startswith("[") for part in value)
        return ",".join(map(str, value)) if plain else json.dumps(value, ensure_ascii=False)
    return str(value)
