"""Sources of a run: their part of its identity, and the table `sources.parquet` with their evidence.

The record, the plan file and each task stay small with any number of sources.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from masksift.core.errors import UsageError
from masksift.core.json_text import parse_json
from masksift.core.specs import EvidenceLocation, SourceSpec
from masksift.engine.planning.layout import Layout
from masksift.engine.work_items import BlockTasks
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.parquet import class_names_of, read_table, write_table
from masksift.storage.tables.schemas import SOURCES

SOURCE_TABLE = "sources.parquet"

ReusedEvidence = tuple[EvidenceLocation, Layout]


def sources_identity(sources: Sequence[SourceSpec]) -> dict[str, Any]:
    """Return what identifies the data of sources: their number, values that all share, and hashes of all others."""
    return {"count": len(sources), "fields": _summarize([source.identity() for source in sources])}


def _summarize(values: Sequence[Any]) -> Any:
    """Return the value that all have, a mapping of such values key by key, or else the hash of all values in order."""
    first = values[0]
    if all(value == first for value in values):
        return first
    if isinstance(first, dict) and all(isinstance(value, dict) and value.keys() == first.keys() for value in values):
        return {key: _summarize([value[key] for value in values]) for key in first}
    return {"sha256": hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()}


def write_source_table(directory: ObjectDirectory, tasks: BlockTasks) -> None:
    """Write the sources of a run and the location and layout of their evidence."""
    rows = []
    for number, (spec, location, layout) in enumerate(
        zip(tasks.sources, tasks.evidence_locations, tasks.plan.layouts, strict=True)
    ):
        tree = spec.as_json()
        del tree["class_names"]  # all sources have those of the table's metadata
        if number:
            tree.pop("class_colors", None)  # all sources have those of the first
        blocks = tasks.plan.blocks.source_blocks(number)
        rows.append(
            {
                "source": spec.name,
                "url": spec.url,
                "images": spec.images,
                "height": spec.height,
                "width": spec.width,
                "first_block": blocks.start,
                "blocks": len(blocks),
                "evidence": location.evidence_url,
                "kept": location.fingerprint != tasks.plan.fingerprint,
                "spec": json.dumps(tree),
                "location": json.dumps(asdict(location)),
                "layout": json.dumps(asdict(layout)),
            }
        )
    write_table(directory, SOURCE_TABLE, table_from_rows(rows, SOURCES), tasks.sources[0].class_names)


def read_source_table(directory: ObjectDirectory) -> list[tuple[SourceSpec, ReusedEvidence]]:
    """Return the sources of a run with their evidence. A missing or damaged table raises UsageError."""
    try:
        table = read_table(directory, SOURCE_TABLE, ("spec", "location", "layout"))
        rows, names = table.to_pylist(), class_names_of(table)
        trees = [parse_json(row["spec"]) for row in rows]
        shared = {"class_names": names, "class_colors": trees[0].get("class_colors", ())}
        return [
            (
                SourceSpec.from_json({**tree, **shared}),
                evidence_from_json({name: parse_json(row[name]) for name in ("location", "layout")}),
            )
            for row, tree in zip(rows, trees, strict=True)
        ]
    except (FileNotFoundError, ValueError, LookupError, TypeError) as e:  # Arrow's errors are ValueErrors
        raise UsageError(
            f"{directory.url}/{SOURCE_TABLE} cannot be read ({e})", "Restore the file, or run again with a new --out"
        ) from e


def evidence_from_json(tree: Mapping[str, Any]) -> ReusedEvidence:
    """Return the location and layout that the source table or an evidence source stores."""
    layout: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in tree["layout"].items()}
    return EvidenceLocation(**tree["location"]), Layout(**layout)
