"""Summary of a verification for a terminal or a workflow log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from masksift.core.text import escape_unprintable, format_table, pluralize

Row = Mapping[str, Any]


def format_text(result: Row) -> str:
    """Format the result of `verify`."""
    paragraphs = [_facts(result), _comparisons(result), _mismatches(result), _not_checked(result), _verdict(result)]
    return "\n\n".join("\n".join(lines) for paragraph in paragraphs if (lines := list(paragraph)))


def _facts(result: Row) -> Iterator[str]:
    yield f"run: {result['run']} ({result['finished']})"
    sample = "all images" if result["seed"] is None else f"a random sample, seed {result['seed']}"
    yield (
        f"recomputed with NumPy from the stored predictions and labels: {result['recomputed']:,} of "
        f"{pluralize(result['images'], 'image')} ({sample})"
    )
    if result["seed"] is None:
        yield "thresholds: recomputed from all images and compared"
    else:
        yield "thresholds: those of the run, which depend on all images; --sample all recomputes them"
    if result["cleanlab"] is not None:
        yield f"recomputed with cleanlab {result['cleanlab']} too: softmin, and the issues of all images where possible"


def _comparisons(result: Row) -> Iterator[str]:
    lines = [("compared", "values", "largest difference", "mismatches")]
    for one in result["comparisons"]:
        difference = one["largest_difference"]
        text = "-" if difference is None else f"{difference:.1e}" if difference else "0"
        lines.append((one["name"], f"{one['values']:,}", text, f"{one['mismatches']:,}"))
    yield from format_table(lines, indent="")


def _mismatches(result: Row) -> Iterator[str]:
    if rows := result["mismatches"]:
        yield "mismatches:"
        for row in rows:
            where = escape_unprintable(row["where"])
            stored, computed = (escape_unprintable(_value(row[name])) for name in ("stored", "computed"))
            yield f"  {row['compared']} of {where}: stored {stored}, computed {computed}"
        if (more := result["differing"] - len(rows)) > 0:
            yield f"  and {more:,} more"


def _value(value: Any) -> str:
    return "nothing" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)


def _not_checked(result: Row) -> Iterator[str]:
    if rows := result["not_checked"]:
        yield "not checked:"
        for row in rows:
            images = f" ({pluralize(row['images'], 'image')})" if row["images"] else ""
            yield f"  {escape_unprintable(row['what'])}{images}"


def _verdict(result: Row) -> Iterator[str]:
    values, tolerance = pluralize(result["values"], "value"), result["tolerance"]
    if result["differing"]:
        yield (
            f"FAILED: {result['differing']:,} of {values} differ. Predictions, labels or results have changed "
            "since the run, or its numbers are wrong"
        )
    elif not result["recomputed"]:
        yield "FAILED: no image could be recomputed"
    else:
        yield f"passed: {values} agree; real numbers within {tolerance:g}"
