"""What the URL of a source says of it: its name in the results, and the columns that its path makes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from urllib.parse import unquote

from masksift.storage.urls import local_path

_HIVE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.+)")
_NULL = "__HIVE_DEFAULT_PARTITION__"


def _folders(url: str) -> list[str]:
    """The parts of a URL's path, the last without `.zarr`."""
    path = local_path(url) or url.split("://", 1)[-1]
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]  # names become paths below the results
    return [*parts[:-1], parts[-1].removesuffix(".zarr") or "source"] if parts else ["source"]


def source_names(urls: Sequence[str]) -> list[str]:
    """What each source is called in the results: its path from the first `key=value` part on, else its last part,
    without `.zarr`. Where two are the same, as many parts before it as tell them apart."""
    folders = [_folders(url) for url in urls]
    first = [next((i for i, part in enumerate(parts) if _HIVE.fullmatch(part)), len(parts) - 1) for parts in folders]
    while True:
        names = ["/".join(parts[start:]) for parts, start in zip(folders, first, strict=True)]
        times = Counter(names)
        twice = [i for i, name in enumerate(names) if times[name] > 1 and first[i] > 0]
        if not twice:
            return names
        for i in twice:
            first[i] -= 1


def parse_partitions(url: str) -> dict[str, str | None]:
    """The `key=value` parts of a URL's path, as Hive writes them: they become columns of the results."""
    found = [match for part in _folders(url) if (match := _HIVE.fullmatch(part))]
    return {match[1]: None if match[2] == _NULL else unquote(match[2]) for match in found}
