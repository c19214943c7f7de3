"""Summary of a comparison for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from masksift.core.status import SCORED
from masksift.core.text import escape_unprintable, format_table, pluralize
from masksift.review.compare.config import RANK

Row = Mapping[str, Any]
SIDES = ("old", "new")
_CHANGED = {"place": "source", "images": "images of", "labels": "labels of", "contents": "contents of"}


def format_text(result: Row) -> str:
    """Format the result of `compare`."""
    ranked = result["by"] == RANK
    paragraphs = [
        _runs(result),
        _differences(result),
        _classes(result["classes"]),
        _scores(result["scores"]),
        _notes(result),
        _changed(result, "up", "later in the ranking" if ranked else "higher"),
        _changed(result, "down", "earlier in the ranking" if ranked else "lower"),
        *(_quarantined(result, side) for side in SIDES),
        *(_only(result, side) for side in SIDES),
    ]
    return "\n\n".join("\n".join(lines) for paragraph in paragraphs if (lines := list(paragraph)))


def _runs(result: Row) -> Iterator[str]:
    runs = [result[side] for side in SIDES]
    statuses = dict.fromkeys([SCORED, *(status for run in runs for status in run["counts"])])
    yield from (f"{side}: {run['url']} ({run['finished']})" for side, run in zip(SIDES, runs, strict=True))
    yield from format_table(
        [
            ("", *SIDES),
            ("images", *(f"{run['images']:,}" for run in runs)),
            *((status, *(f"{run['counts'].get(status, 0):,}" for run in runs)) for status in statuses),
            ("flagged pixels", *(f"{run['flagged_pixels']:,}" for run in runs)),
            ("share of labeled pixels", *(_format(run["flagged_share"], ".2%").replace("%", " %") for run in runs)),
            ("estimated issues", *(f"{run['estimated_issues']:,}" for run in runs)),
        ]
    )


def _differences(result: Row) -> Iterator[str]:
    sources = result["sources"]
    lines = [f"{row['key']}: {_json(row['old'])} -> {_json(row['new'])}" for row in result["differences"]]
    for row in sources["changed"]["first"]:
        change = "changed" if row["what"] == "contents" else f"{row['old']} -> {row['new']}"
        lines.append(f"{_CHANGED[row['what']]} {escape_unprintable(row['name'])}: {change}")
    lines += _more_sources(sources["changed"])
    for side in SIDES:
        only = sources[f"only_{side}"]
        lines += [f"source {escape_unprintable(name)}: in the {side} run only" for name in only["first"]]
        lines += _more_sources(only)
    yield "differences:" if lines else "differences: none in configuration and sources"
    yield from (f"  {line}" for line in lines)


def _more_sources(rows: Row) -> list[str]:
    rest = rows["count"] - len(rows["first"])
    return [f"and {rest:,} more such sources"] if rest else []


def _classes(classes: Sequence[Row]) -> Iterator[str]:
    lines: list[tuple[str, ...]] = [("class", "pixels", "flagged before", "after", "quality before", "after", "change")]
    lines += [
        (
            escape_unprintable(row["class"]),
            f"{row['pixels_old'] if row['pixels_new'] is None else row['pixels_new']:,}",
            *(_format(row[f"flagged_{side}"], ",") for side in SIDES),
            *(_format(row[f"quality_{side}"], ".4f") for side in SIDES),
            _format(row["change"], "+.4f"),
        )
        for row in classes
    ]
    yield "classes by change of quality (share of the pixels that are not flagged):"
    yield from format_table(lines)


def _scores(scores: Sequence[Row]) -> Iterator[str]:
    if scores:
        yield "scores (higher is better) of the images that both runs scored:"
        lines = [("score", "mean before", "after", "images up", "down", "of")]
        lines += [
            (
                row["method"],
                *(_format(row[side], ".4f") for side in SIDES),
                *(f"{row[name]:,}" for name in ("rose", "fell", "images")),
            )
            for row in scores
        ]
        yield from format_table(lines)


def _notes(result: Row) -> Iterator[str]:
    """Yield what limits the comparison of images."""
    images = result["images"]
    yield f"{pluralize(images['both'], 'image')} in both runs, {images['scored_in_both']:,} scored in both"
    old_by, new_by = (result[side]["ranked_by"] for side in SIDES)
    if old_by != new_by:
        yield f"the old run ranks by {old_by}, the new run by {new_by}: their ranks are not comparable"
    if images["renamed"]:
        yield f"{pluralize(images['renamed'], 'image')} with another id at the same index: check that they are the same"
    if count := images["ids_that_occur_twice"]:
        ids = ", ".join(map(escape_unprintable, images["the_first_of_them"]))
        yield f"{pluralize(count, 'id')} of several images, not compared because they are ambiguous ({ids})"


def _changed(result: Row, direction: str, meaning: str) -> Iterator[str]:
    rows = result[direction]
    if not rows:
        return
    score = result["shown"]
    lines = [["image", "source", "rank before", "after", "percentile before", "after"]]
    lines[0] += [f"{score} before", "after"] if score else []
    for row in rows:
        cells = [*_image_cells(row), f"{row['old_rank']:,}", f"{row['new_rank']:,}"]
        cells += [f"{row[f'{side}_percentile']:.1f} %" for side in SIDES]
        lines.append(cells + ([_format(row[f"{side}_score"], ".4f") for side in SIDES] if score else []))
    yield f"largest changes in {result['by']}, {meaning} (percentile: share of the ranking up to the image):"
    yield from format_table(lines, left=2)


def _quarantined(result: Row, side: str) -> Iterator[str]:
    count, rows = result["images"][f"quarantined_in_{side}"], result[f"quarantined_in_{side}"]
    lines = [(*_image_cells(row), f"{row['status']}: {escape_unprintable(row['reason'] or '')}") for row in rows]
    yield from _image_list(count, f"quarantined in the {side} run only", lines)


def _only(result: Row, side: str) -> Iterator[str]:
    lines = [(*_image_cells(row), row["status"]) for row in result[f"only_{side}"]]
    yield from _image_list(result["images"][f"only_{side}"], f"in the {side} run only", lines)


def _image_list(count: int, title: str, lines: Sequence[Sequence[str]]) -> Iterator[str]:
    if count:
        yield f"{pluralize(count, 'image')} {title}:"
        yield from format_table(lines, left=3)
        if count > len(lines):
            yield f"  and {count - len(lines):,} more"


def _image_cells(row: Row) -> tuple[str, str]:
    return escape_unprintable(row["image_id"]), f"{escape_unprintable(row['source'])}/{row['index']}"


def _json(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _format(value: float | None, spec: str) -> str:
    return "none" if value is None else format(value, spec)
