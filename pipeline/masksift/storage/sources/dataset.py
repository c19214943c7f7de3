"""Open a data set: sources from URLs and globs that share one class table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from masksift.core.errors import DataError
from masksift.core.limits import MAX_CONCURRENT_SOURCES
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.storage.clients import open_filesystem
from masksift.storage.patterns import expand_pattern, has_wildcard, split_pattern
from masksift.storage.sources.corrected_labels import unchanged_sources
from masksift.storage.sources.ensemble import has_class_names
from masksift.storage.sources.images_array import open_images_array
from masksift.storage.sources.label_values import recognize_binary_masks
from masksift.storage.sources.naming import source_names
from masksift.storage.sources.open import describe_source, open_source_group
from masksift.storage.sources.overrides import Overrides
from masksift.storage.urls import local_path


def open_data_set(patterns: Sequence[str], overrides: Overrides, options: Mapping[str, Any]) -> tuple[SourceSpec, ...]:
    """Open all sources of a data set; see `open_data_set_with_images`."""
    return open_data_set_with_images(patterns, overrides, options, None)[0]


def open_data_set_with_images(
    patterns: Sequence[str], overrides: Overrides, options: Mapping[str, Any], images: str | None
) -> tuple[tuple[SourceSpec, ...], tuple[ArraySpec | None, ...]]:
    """Open all sources of a data set, and their RGB images in the same round trip to the store.

    Args:
        patterns: URLs and globs.
        overrides: Settings of the configuration. With a directory of corrections as `labels_from`, unchanged sources
            keep their labels.
        options: Storage options of S3.
        images: Name or URL of the images arrays; None for none.

    Returns:
        The sources in the order of the patterns, and the images array of each, or None for a source without images.

    Raises:
        DataError: There is no source, or two sources differ in their classes. The first source in this order whose
            arrays cannot be opened is reported.
    """
    urls = find_sources(patterns, options)
    names = source_names(urls)
    unchanged = {} if overrides.labels_from is None else unchanged_sources(overrides.labels_from, options)

    def open_one(index: int) -> tuple[SourceSpec, ArraySpec | None]:
        name, url = names[index], urls[index]
        settings = replace(overrides, labels_from=unchanged[name]) if name in unchanged else overrides
        group = open_source_group(url, settings, options, [] if images is None else [images])
        spec = describe_source(group, url, settings, options, index=index, name=name)
        found = None if images is None else open_images_array(spec, images, options, group)
        return spec, None if isinstance(found, str) else found

    with ThreadPoolExecutor(MAX_CONCURRENT_SOURCES, thread_name_prefix="sources") as pool:
        sources, arrays = zip(*pool.map(open_one, range(len(urls))), strict=True)
    return recognize_binary_masks(_share_classes(sources), overrides, options), arrays


def find_sources(patterns: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    """Expand URLs and globs.

    Args:
        patterns: URLs and globs. A glob matches directories and zip archives; incomplete ones are not skipped, so that
            opening them reports the reason.
        options: Storage options of S3.

    Returns:
        Unique URLs, those of a glob sorted.

    Raises:
        DataError: A glob matches nothing.
    """
    urls: dict[str, None] = {}
    for pattern in patterns:
        matches = _expand(pattern, options)
        if not matches:
            raise DataError(
                f"No directory or zip archive matches {pattern}",
                "List the sources there, and quote the pattern in a shell",
            )
        urls.update(dict.fromkeys(matches))
    return list(urls)


def _expand(url: str, options: Mapping[str, Any]) -> list[str]:
    """Return the URLs that a glob matches; a URL without one is returned as it is."""
    if not has_wildcard(url):
        return [url]
    filesystem, path = open_filesystem(url, options)
    root, pattern = split_pattern(filesystem, path)
    if not pattern:
        return [url]
    paths = expand_pattern(filesystem, root, pattern, directories=True)
    files = expand_pattern(filesystem, root, pattern, directories=False)
    paths = sorted([*paths, *(path for path in files if path.lower().endswith(".zip"))])
    return paths if local_path(url) else [str(filesystem.unstrip_protocol(path)) for path in paths]


def _share_classes(sources: Sequence[SourceSpec]) -> tuple[SourceSpec, ...]:
    """Give all sources the class names of those that have any, and the class colors of the first that has any."""
    first = next((source for source in sources if has_class_names(source)), sources[0])
    for source in sources:
        if source.classes != first.classes:
            raise DataError(
                f"{source.url} has predictions of {source.classes} classes, {first.url} of {first.classes}",
                "A data set has one class table",
                "Run the sources separately",
            )
        differing = [k for k in range(first.classes) if source.class_names[k] != first.class_names[k]]
        if has_class_names(source) and differing:
            k = differing[0]
            raise DataError(
                f"Class {k} is {source.class_names[k]!r} in {source.url} and {first.class_names[k]!r} in {first.url} "
                f"({len(differing)} of {first.classes} names differ)",
                "A data set has one class table",
                "Run the sources separately, or pass the class names with --classes a,b,c",
            )
    colors = next((source.class_colors for source in sources if source.class_colors), ())
    return tuple(replace(source, class_names=first.class_names, class_colors=colors) for source in sources)
