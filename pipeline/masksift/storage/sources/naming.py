"""Derive names and partition columns of sources from their URLs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from urllib.parse import unquote

from masksift.storage.urls import local_path

_HIVE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.+)")
_NULL = "__HIVE_DEFAULT_PARTITION__"


def _path_parts(url: str) -> list[str]:
    """Return the parts of a URL's path, the last one without `.zarr` or `.zarr.zip`."""
    path = local_path(url) or url.split("://", 1)[-1]
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]  # names become paths below the results
    return [*parts[:-1], parts[-1].removesuffix(".zip").removesuffix(".zarr") or "source"] if parts else ["source"]


def source_names(urls: Sequence[str]) -> list[str]:
    """Return a unique name per source.

    Args:
        urls: URLs of the sources.

    Returns:
        The path from the first `key=value` part on, or else its last part, without `.zarr`. Equal names get as many
        more leading parts as make them unique.
    """
    paths = [_path_parts(url) for url in urls]
    starts = [next((i for i, part in enumerate(parts) if _HIVE.fullmatch(part)), len(parts) - 1) for parts in paths]
    while True:
        names = ["/".join(parts[start:]) for parts, start in zip(paths, starts, strict=True)]
        counts = Counter(names)
        duplicates = [i for i, name in enumerate(names) if counts[name] > 1 and starts[i] > 0]
        if not duplicates:
            return names
        for i in duplicates:
            starts[i] -= 1


def parse_partitions(url: str) -> dict[str, str | None]:
    """Return the `key=value` parts of a URL's path in Hive's notation, which become columns of the results."""
    matches = [match for part in _path_parts(url) if (match := _HIVE.fullmatch(part))]
    return {match[1]: None if match[2] == _NULL else unquote(match[2]) for match in matches}
