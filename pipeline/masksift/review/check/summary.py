"""A check in words, for a terminal and for the log of a workflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from masksift.core.text import escape_unprintable, format_table, pluralize

Row = Mapping[str, Any]


def format_text(found: Row) -> str:
    """What `check` found, as lines."""
    return "\n".join([*_limits(found), *_classes(found), *_quarantined(found)])


def _limits(found: Row) -> Iterator[str]:
    rows = []
    for one in found["limits"]:
        told = _TOLD[one["limit"]](one)
        rows.append(("kept" if one["passed"] else "BROKEN", one["limit"], one["allowed"], told))
    yield from format_table(rows, left=4, indent="")


def _flagged(one: Row) -> str:
    return f"{one['found']:,} of {pluralize(one['of'], 'labelled pixel')} flagged{_share(one)}"


def _left_out(one: Row) -> str:
    return f"{one['found']:,} of {pluralize(one['of'], 'image')} quarantined{_share(one)}"


def _lost(one: Row) -> str:
    points = f"{abs(100 * one['found']):.2f} points"
    if one["found"] > 0:
        return f"{escape_unprintable(one['class'])} lost {points}, the most of all classes"
    return f"no class lost any; {escape_unprintable(one['class'])} gained least, {points}"


def _share(one: Row) -> str:
    return f" ({100 * one['found'] / one['of']:.2f} %)" if one["of"] else ""


_TOLD = {"max_flagged": _flagged, "max_quarantined": _left_out, "max_drop_in_class_quality": _lost}


def _classes(found: Row) -> Iterator[str]:
    if rows := found.get("classes"):
        yield f"classes that lost more, since {found['base']}:"
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


def _quarantined(found: Row) -> Iterator[str]:
    left = sum(found["counts"].values()) - found["counts"].get("scored", 0)
    if rows := found["quarantined"]:
        yield "quarantined:"
        yield from format_table(
            [
                (
                    escape_unprintable(row["image_id"]),
                    f"{escape_unprintable(row['source'])}/{row['index']}",
                    row["status"],
                    escape_unprintable(row["reason"] or ""),
                )
                for row in rows
            ],
            left=4,
        )
        if left > len(rows):
            yield f"  and {left - len(rows):,} more"
