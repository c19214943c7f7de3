"""Text for the terminal: summary of a run, and its plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from masksift.core.specs import ArraySpec, SourceSpec
from masksift.core.status import SCORED
from masksift.core.text import escape_unprintable
from masksift.core.units import format_bytes
from masksift.engine.planning.plan import Plan
from masksift.engine.planning.report_plan import PAGE, REPORT
from masksift.engine.quarantine import duplicate_class_warning, format_causes
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.packing import describe_packing
from masksift.storage.tables.parquet import read_table
from masksift.storage.urls import join

Prices = tuple[float | None, float | None]

MAX_LISTED_SOURCES = 20
"""Sources that a plan lists."""
MAX_LISTED_PAIRS = 8
"""Pairs of a remap that a plan lists."""


def format_run_summary(
    record: Mapping[str, Any],
    out: str,
    *,
    top: int = 10,
    notes: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> str:
    """Format the worst images, with notes by image id, the counts and the location of the results of a run."""
    worst = read_table(ObjectDirectory(out, options or {}), "ranking/part-000000.parquet").slice(0, top).to_pylist()
    ids = [escape_unprintable(row["image_id"]) for row in worst]
    width = max(map(len, ids), default=5)
    lines = [f"{'rank':>5}  {'image':<{width}}  {record['configuration']['rank_by']}"] if worst else []
    for row, image_id in zip(worst, ids, strict=True):
        note = (notes or {}).get(row["image_id"], "")
        lines.append(f"{row['rank']:>5}  {image_id:<{width}}  {row['score']:.4f}  {note}".rstrip())
    counts = record["counts"]
    lines += [""] if worst else []
    lines.append(
        f"{counts.get(SCORED, 0):,} of {record['images']:,} images scored, {record['flagged_pixels']:,} pixels flagged"
    )
    lines += format_causes(counts, record.get("quarantine", ()))
    tables = [f"{table['table']} ({table['rows']:,} rows)" for table in record.get("iceberg", {}).get("tables", [])]
    lines.append(f"results: {out}")
    lines += [f"report: {join(out, PAGE)}"] if any(stage["name"] == REPORT for stage in record["stages"]) else []
    return "\n".join([*lines, f"tables: {', '.join(tables)}"] if tables else lines)


def format_plan(
    plan: Plan, sources: Sequence[SourceSpec], executor: str, limit: int | None, prices: Prices = (None, None)
) -> str:
    """Format a plan.

    Args:
        plan: The plan.
        sources: Its sources.
        executor: Kind of the executor.
        limit: Memory limit of a worker, bytes.
        prices: Prices of 1,000 reads and writes.

    Returns:
        Lines of text.
    """
    rows = [
        ("images", f"{plan.images:,} in {len(plan.blocks):,} blocks"),
        ("to read", f"{format_bytes(plan.bytes_to_read)} decoded, {plan.objects_to_read:,} objects"),
        ("to write", f"{format_bytes(plan.bytes_to_write)} before compression, {plan.objects_to_write:,} objects"),
        (
            "requests",
            f"{plan.reads:,} reads, {plan.writes:,} writes, {plan.requests_at_once} at a time per worker"
            f"{_format_cost(plan, prices)}",
        ),
        (
            "memory",
            f"{format_bytes(plan.memory)} per worker (condensing {format_bytes(plan.memory_condense)}, scoring "
            f"{format_bytes(plan.memory_score)}, ranking {format_bytes(plan.memory_rank)}, report "
            f"{format_bytes(plan.memory_report)}); limit "
            f"{format_bytes(limit) if limit else 'not known here'}",
        ),
        ("executor", f"{executor}, for about {max(1, round(plan.seconds)):,} s of work on one core"),
        ("fingerprint", plan.fingerprint[:12]),
    ]
    lines = [describe_source(source) for source in sources[:MAX_LISTED_SOURCES]]
    if len(sources) > MAX_LISTED_SOURCES:
        lines.append(f"... {len(sources) - MAX_LISTED_SOURCES:,} other sources")
    lines += filter(None, [duplicate_class_warning(sources[0].class_names)])
    return "\n".join(lines + [f"{name:<12} {text}" for name, text in rows])


def describe_source(source: SourceSpec) -> str:
    """Describe images, classes, predictions and labels of a source on one line."""
    return (
        f"{source.name}: {source.images:,} images of {source.height} x {source.width}, {source.classes} classes, "
        f"{_format_predictions(source)}, labels {format_labels(source)}"
    )


def _format_predictions(source: SourceSpec) -> str:
    members = [_format_array(member.predictions, member.prediction_kind) for member in source.members]
    return (
        f"the mean of {' and '.join(members)}" if members else _format_array(source.predictions, source.prediction_kind)
    )


def _format_array(array: ArraySpec, kind: str) -> str:
    """Describe predictions by their stored form."""
    decoding, text = array.decoding, f"{array.stored.dtype} {kind}"
    if decoding is None:
        return text
    text += " of the positive class" if decoding.is_binary else ""
    if decoding.packing is not None:
        text += f" ({describe_packing(decoding.packing)})"
    return text + (" of {} x {}, resized".format(*decoding.stored.shape[-2:]) if array.is_resized else "")


def format_labels(source: SourceSpec) -> str:
    """Describe the labels of a source: dtype, ignore values, and the class of a value if it is not its number."""
    text = f"{source.labels.dtype}, ignore {list(source.ignore)}"
    if source.label_offset:
        text += f", label offset {source.label_offset}"
    if source.remap:
        pairs = ",".join(f"{value}:{k}" for value, k in source.remap[:MAX_LISTED_PAIRS])
        text += f", remap {pairs}{',...' if len(source.remap) > MAX_LISTED_PAIRS else ''}"
    return text


def _format_cost(plan: Plan, prices: Prices) -> str:
    """Return the cost of the requests in the unit of the prices, or an empty string without prices."""
    if all(price is None for price in prices):
        return ""
    reads, writes = (price or 0.0 for price in prices)
    cost = (plan.reads * reads + plan.writes * writes) / 1000
    return f": {cost:,.2f} at {reads:g} and {writes:g} a thousand"
