"""Differences between two runs in configuration and sources."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from masksift.config.run import RunConfig
from masksift.config.sections import dotted_keys, value_at
from masksift.core.specs import SourceSpec
from masksift.storage.urls import local_path

Row = dict[str, Any]


def key_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Row]:
    """List the result-relevant configuration keys with different values, and the masksift version.

    ``base`` is left out: reused evidence equals the evidence that would have been computed.

    Args:
        old: Record (run.json) of the older run.
        new: Record of the newer run.

    Returns:
        Rows with ``key``, ``old`` and ``new``.
    """
    keys = [key for key in dotted_keys(RunConfig) if key not in ("base", "sources")]
    values = [("masksift", *(record["versions"]["masksift"] for record in (old, new)))]
    values += [(key, *(value_at(record["identity"]["configuration"], key) for record in (old, new))) for key in keys]
    return [{"key": key, "old": before, "new": after} for key, before, after in values if before != after]


def same_sources(old: Sequence[SourceSpec], new: Sequence[SourceSpec]) -> set[str]:
    """Return the names of sources with the same URL in both runs; their images correspond by index."""
    urls = {spec.name: _normalized_url(spec) for spec in old}
    return {spec.name for spec in new if urls.get(spec.name) == _normalized_url(spec)}


def _normalized_url(spec: SourceSpec) -> str:
    return (local_path(spec.url) or spec.url).rstrip("/")


def source_differences(old: Sequence[SourceSpec], new: Sequence[SourceSpec], top: int) -> Row:
    """List the sources in one run only and the changes of the others, each with its count and the first ``top``."""
    old_by_name = {spec.name: spec for spec in old}
    new_names = {spec.name for spec in new}
    changed = [
        {"name": spec.name, **change}
        for spec in new
        if spec.name in old_by_name
        for change in _changes(old_by_name[spec.name], spec)
    ]
    return {
        "same": len(same_sources(old, new)),
        "only_old": _first([name for name in old_by_name if name not in new_names], top),
        "only_new": _first([spec.name for spec in new if spec.name not in old_by_name], top),
        "changed": _first(changed, top),
    }


def _first(rows: Collection[Any], top: int) -> Row:
    return {"count": len(rows), "first": list(rows)[:top]}


def _changes(old: SourceSpec, new: SourceSpec) -> Iterator[Row]:
    """Yield the changes of a source: of its URL, image count or labels URL, or else of its content."""
    changed = False
    for what, before, after in (
        ("place", _normalized_url(old), _normalized_url(new)),
        ("images", old.images, new.images),
        ("labels", old.labels.url, new.labels.url),
    ):
        if before != after:
            changed = True
            yield {"what": what, "old": before, "new": after}
    if not changed and old.content_hashes != new.content_hashes:
        yield {"what": "contents", "old": None, "new": None}
