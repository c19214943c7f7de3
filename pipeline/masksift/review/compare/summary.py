"""A comparison in words, for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from masksift.core.status import SCORED
from masksift.core.text import escape_unprintable, format_table, pluralize
from masksift.review.compare.config import RANK

Row = Mapping[str, Any]
SIDES = ("old", "new")


def format_text(found: Row) -> str:
    """What `compare` found, as lines."""
    parts = [
        _facts(found),
        _differences(found),
        _classes(found["classes"]),
        _scores(found["scores"]),
        _pairing(found),
        _changed(found, "up", "later in the ranking" if found["by"] == RANK else "higher"),
        _changed(found, "down", "earlier in the ranking" if found["by"] == RANK else "lower"),
        *(_quarantined(found, side) for side in SIDES),
        *(_only(found, side) for side in SIDES),
    ]
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part)))


def _facts(found: Row) -> Iterator[str]:
    runs = [found[side] for side in SIDES]
    rows: list[tuple[str, ...]] = [("", *SIDES)]
    rows.append(("images", *(f"{run['images']:,}" for run in runs)))
    statuses = dict.fromkeys([SCORED, *(status for run in runs for status in run["counts"])])
    rows += [(status, *(f"{run['counts'].get(status, 0):,}" for run in runs)) for status in statuses]
    rows.append(("flagged pixels", *(f"{run['flagged_pixels']:,}" for run in runs)))
    rows.append(("of all labelled", *(_percent(run["flagged_share"]) for run in runs)))
    rows.append(("estimated issues", *(f"{run['estimated_issues']:,}" for run in runs)))
    yield from (f"{side}: {run['url']} ({run['finished']})" for side, run in zip(SIDES, runs, strict=True))
    yield from format_table(rows)


def _differences(found: Row) -> Iterator[str]:
    sources = found["sources"]
    lines = [f"{one['key']}: {_value(one['old'])} -> {_value(one['new'])}" for one in found["differences"]]
    for one in sources["changed"]["first"]:
        what = {"place": "source", "images": "images of", "labels": "labels of", "contents": "contents of"}[one["what"]]
        told = "changed" if one["what"] == "contents" else f"{one['old']} -> {one['new']}"
        lines.append(f"{what} {escape_unprintable(one['name'])}: {told}")
    lines += _more(sources["changed"])
    for side in SIDES:
        alone = sources[f"only_{side}"]
        lines += [f"source {escape_unprintable(name)}: in the {side} run alone" for name in alone["first"]] + _more(
            alone
        )
    yield "what differs:" if lines else "what differs: no key and no source"
    yield from (f"  {line}" for line in lines)


def _more(some: Row) -> list[str]:
    left = some["count"] - len(some["first"])
    return [f"and {left:,} more such sources"] if left else []


def _classes(classes: Sequence[Row]) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("class", "pixels", "flagged before", "after", "quality before", "after", "change")]
    for one in classes:
        pixels = one["pixels_old"] if one["pixels_new"] is None else one["pixels_new"]
        rows.append(
            (
                escape_unprintable(one["class"]),
                f"{pixels:,}",
                *(_count(one[f"flagged_{side}"]) for side in SIDES),
                *(_score(one[f"quality_{side}"]) for side in SIDES),
                _signed(one["change"]),
            )
        )
    yield "classes, those that have changed most first (quality: share of the pixels that are not flagged):"
    yield from format_table(rows)


def _scores(scores: Sequence[Row]) -> Iterator[str]:
    if scores:
        yield "scores (higher = better), over the images that have them in both:"
        rows = [("score", "mean before", "after", "images up", "down", "of")]
        rows += [
            (
                one["method"],
                *(_score(one[side]) for side in SIDES),
                f"{one['rose']:,}",
                f"{one['fell']:,}",
                f"{one['images']:,}",
            )
            for one in scores
        ]
        yield from format_table(rows)


def _pairing(found: Row) -> Iterator[str]:
    """What the reader must know of the pairs."""
    images = found["images"]
    yield f"{pluralize(images['both'], 'image')} in both runs, {images['scored_in_both']:,} scored in both"
    by = [found[side]["ranked_by"] for side in SIDES]
    if by[0] != by[1]:
        yield f"the old run ranks by {by[0]}, the new one by {by[1]}: ranks are places in different orders"
    if images["renamed"]:
        yield f"{pluralize(images['renamed'], 'image')} at the same place with another id: see that they are the same"
    if twice := images["ids_that_occur_twice"]:
        named = ", ".join(map(escape_unprintable, images["the_first_of_them"]))
        yield f"{pluralize(twice, 'id')} of several images: left out, since nothing tells which is which ({named})"


def _changed(found: Row, way: str, words: str) -> Iterator[str]:
    rows = found[way]
    if not rows:
        return
    score = found["shown"]
    head = ["image", "source", "rank before", "after", "seen before", "after"]
    head += [f"{score} before", "after"] if score else []
    lines = [head]
    for one in rows:
        cells = [*_named(one), f"{one['old_rank']:,}", f"{one['new_rank']:,}"]
        cells += [f"{one[f'{side}_percentile']:.1f} %" for side in SIDES]
        lines.append(cells + ([_score(one[f"{side}_score"]) for side in SIDES] if score else []))
    yield f"most changed in {found['by']}, {words} (seen: share of the ranking that is reviewed up to it):"
    yield from format_table(lines, left=2)


def _quarantined(found: Row, side: str) -> Iterator[str]:
    count = found["images"][f"quarantined_in_{side}"]
    if count:
        yield f"{pluralize(count, 'image')} quarantined in the {side} run alone:"
        rows = found[f"quarantined_in_{side}"]
        yield from format_table(
            [(*_named(one), f"{one['status']}: {escape_unprintable(one['reason'] or '')}") for one in rows], left=3
        )
        yield from _rest(count, rows)


def _only(found: Row, side: str) -> Iterator[str]:
    count = found["images"][f"only_{side}"]
    if count:
        yield f"{pluralize(count, 'image')} in the {side} run alone:"
        rows = found[f"only_{side}"]
        yield from format_table([(*_named(one), one["status"]) for one in rows], left=3)
        yield from _rest(count, rows)


def _named(one: Row) -> tuple[str, str]:
    """An image by its id and its place."""
    return escape_unprintable(one["image_id"]), f"{escape_unprintable(one['source'])}/{one['index']}"


def _rest(count: int, rows: Sequence[Row]) -> Iterator[str]:
    if count > len(rows):
        yield f"  and {count - len(rows):,} more"


def _value(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _score(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "none" if value is None else f"{value:+.4f}"


def _count(value: int | None) -> str:
    return "none" if value is None else f"{value:,}"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.2f} %"
