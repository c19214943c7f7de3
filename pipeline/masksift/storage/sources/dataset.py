"""A data set: one or more sources, named by URLs and globs, that share one class table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.storage.objects import open_filesystem
from masksift.storage.sources.corrected_labels import unchanged_sources
from masksift.storage.sources.naming import source_names
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from masksift.storage.urls import local_path

AT_ONCE = 16
"""Sources whose metadata are read at a time."""
_GLOB = re.compile(r"[*?\[]")


def open_data_set(patterns: Sequence[str], overrides: Overrides, options: Mapping[str, Any]) -> tuple[SourceSpec, ...]:
    """Open every source that the URLs and globs name, in their order; where labels come from a folder of corrections,
    those that it leaves as they are with the labels that they had. Raises DataError where there is none, or where two
    of them disagree on the classes."""
    urls = find_sources(patterns, options)
    names = source_names(urls)
    left = {} if overrides.labels_from is None else unchanged_sources(overrides.labels_from, options)

    def opened(index: int) -> SourceSpec:
        name = names[index]
        own = replace(overrides, labels_from=left[name]) if name in left else overrides
        return open_source(urls[index], own, options, index=index, name=name)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sources") as pool:
        return _with_one_class_table(list(pool.map(opened, range(len(urls)))))


def find_sources(patterns: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    """The URLs that URLs and globs name: each once, those of a glob sorted. A file that a glob matches is no source; a
    folder is, so that one which is not whole is said and not passed over. Raises DataError where a glob matches
    nothing."""
    found: dict[str, None] = {}
    for pattern in patterns:
        matched = list(_matches(pattern, options)) if _GLOB.search(pattern) else [pattern]
        if not matched:
            raise DataError(
                f"no folder matches {pattern}",
                "there is no source to read there",
                "List what is there, and quote the pattern where a shell would take it apart",
            )
        found.update(dict.fromkeys(matched))
    return list(found)


def _matches(pattern: str, options: Mapping[str, Any]) -> Iterator[str]:
    local = local_path(pattern)
    filesystem, path = open_filesystem(pattern, options)
    for place, facts in sorted(filesystem.glob(path, detail=True).items()):
        if facts["type"] == "directory":
            yield place if local else str(filesystem.unstrip_protocol(place))


def _with_one_class_table(sources: list[SourceSpec]) -> tuple[SourceSpec, ...]:
    """The sources under the names that those of them give which name their classes at all."""
    first = next((source for source in sources if _named(source)), sources[0])
    for source in sources:
        if source.classes != first.classes:
            raise DataError(
                f"{source.url} predicts {source.classes} classes, {first.url} {first.classes}",
                "their pixels cannot be counted together",
                "Run them apart: one data set has one class table",
            )
        differing = [k for k in range(first.classes) if source.class_names[k] != first.class_names[k]]
        if _named(source) and differing:
            k = differing[0]
            raise DataError(
                f"class {k} is {source.class_names[k]!r} in {source.url} and {first.class_names[k]!r} in {first.url} "
                f"({len(differing)} of {first.classes} names differ)",
                "their pixels cannot be counted together",
                "Run them apart, or say what the classes are: --classes a,b,c",
            )
    return tuple(replace(source, class_names=first.class_names) for source in sources)


def _named(source: SourceSpec) -> bool:
    return source.class_names != tuple(f"class {k}" for k in range(source.classes))
