"""Summary of a check for a terminal or a workflow log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from masksift.core.text import escape_unprintable, format_table, pluralize

Row = Mapping[str, Any]


def format_text(result: Row) -> str:
    """Format the result of `check`."""
    return "\n".join([*_limits(result), *_classes(result), *_quarantined(result)])


def _limits(result: Row) -> list[str]:
    rows = [
        ("passed" if limit["passed"] else "FAILED", limit["limit"], limit["allowed"], _FORMATS[limit["limit"]](limit))
        for limit in result["limits"]
    ]
    return format_table(rows, left=4, indent="")


def _flagged(limit: Row) -> str:
    return f"{limit['found']:,} of {pluralize(limit['of'], 'labeled pixel')} flagged{_share(limit)}"


def _quarantined_count(limit: Row) -> str:
    return f"{limit['found']:,} of {pluralize(limit['of'], 'image')} quarantined{_share(limit)}"


def _drop(limit: Row) -> str:
    name, points = escape_unprintable(limit["class"]), f"{abs(100 * limit['found']):.2f} points"
    if limit["found"] > 0:
        return f"{name} dropped by {points}, the largest drop"
    return f"no class dropped; {name} gained least, {points}"


def _share(limit: Row) -> str:
    return f" ({100 * limit['found'] / limit['of']:.2f} %)" if limit["of"] else ""


_FORMATS = {"max_flagged": _flagged, "max_quarantined": _quarantined_count, "max_drop_in_class_quality": _drop}


def _classes(result: Row) -> Iterator[str]:
    if rows := result.get("classes"):
        yield f"classes that dropped by more since {result['base']}:"
        lines = [("class", "pixels", "quality before", "now")]
        lines += [
            (
                escape_unprintable(row["class"]),
                f"{row['pixels_new']:,}",
                f"{row['quality_old']:.4f}",
                f"{row['quality_new']:.4f}",
            )
            for row in rows
        ]
        yield from format_table(lines)


def _quarantined(result: Row) -> Iterator[str]:
    if rows := result["quarantined"]:
        yield "quarantined:"
        lines = [
            (
                escape_unprintable(row["image_id"]),
                f"{escape_unprintable(row['source'])}/{row['index']}",
                row["status"],
                escape_unprintable(row["reason"] or ""),
            )
            for row in rows
        ]
        yield from format_table(lines, left=4)
        total = sum(result["counts"].values()) - result["counts"].get("scored", 0)
        if total > len(rows):
            yield f"  and {total - len(rows):,} more"
