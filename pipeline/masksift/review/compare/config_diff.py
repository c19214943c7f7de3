"""In what two runs differ before any image is looked at: keys and sources."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from masksift.config.run import RunConfig
from masksift.config.sections import dotted_keys
from masksift.core.specs import SourceSpec
from masksift.storage.urls import local_path

Row = dict[str, Any]


def key_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Row]:
    """The keys that decide results and have other values in the records of two runs, and the version of masksift.
    ``base`` is none of them: what is taken over is what would have been computed."""
    keys = [key for key in dotted_keys(RunConfig) if key not in ("base", "sources")]
    told = [("masksift", *(one["versions"]["masksift"] for one in (old, new)))]
    told += [(key, *(_at(one["identity"]["configuration"], key) for one in (old, new))) for key in keys]
    return [{"key": key, "old": before, "new": after} for key, before, after in told if before != after]


def _at(tree: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key; None where the tree has none."""
    value: Any = tree
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def same_sources(old: Sequence[SourceSpec], new: Sequence[SourceSpec]) -> set[str]:
    """The names of the sources that are at one place in both runs: an image is the same by its number there."""
    places = {spec.name: _place(spec) for spec in old}
    return {spec.name for spec in new if places.get(spec.name) == _place(spec)}


def _place(spec: SourceSpec) -> str:
    return (local_path(spec.url) or spec.url).rstrip("/")


def source_differences(old: Sequence[SourceSpec], new: Sequence[SourceSpec], top: int) -> Row:
    """Which sources are in one run alone, and what is another in those of one name; of each the first ``top``, and how
    many there are."""
    names = [{spec.name for spec in specs} for specs in (old, new)]
    before = {spec.name: spec for spec in old}
    changed = [
        {"name": spec.name, **difference}
        for spec in new
        if spec.name in before
        for difference in _changes(before[spec.name], spec)
    ]
    return {
        "same": len(same_sources(old, new)),
        "only_old": _first([spec.name for spec in old if spec.name not in names[1]], top),
        "only_new": _first([spec.name for spec in new if spec.name not in names[0]], top),
        "changed": _first(changed, top),
    }


def _first(rows: Collection[Any], top: int) -> Row:
    return {"count": len(rows), "first": list(rows)[:top]}


def _changes(old: SourceSpec, new: SourceSpec) -> Iterator[Row]:
    """What is another in a source: where it or its labels are, or else what is in it."""
    moved = False
    for what, before, after in (
        ("place", _place(old), _place(new)),
        ("images", old.images, new.images),
        ("labels", old.labels.url, new.labels.url),
    ):
        if before != after:
            moved = True
            yield {"what": what, "old": before, "new": after}
    if not moved and old.content_hashes != new.content_hashes:
        yield {"what": "contents", "old": None, "new": None}
