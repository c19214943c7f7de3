"""Expand globs. A name that exists is never a pattern: `run[1]` is that directory, if there is one."""

from __future__ import annotations

import glob
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import fsspec

_WILDCARD = re.compile(r"[*?\[]")


def has_wildcard(text: str) -> bool:
    """Return whether a text could be a pattern."""
    return _WILDCARD.search(text) is not None


def split_pattern(filesystem: fsspec.AbstractFileSystem, path: str) -> tuple[str, str]:
    """Split a path at the first part that has a wildcard and does not exist.

    Args:
        filesystem: File system of the path.
        path: Path in it.

    Returns:
        The directory, and the pattern below it, "" for a path without one.
    """
    parts = path.split("/")
    for i, part in enumerate(parts):
        if has_wildcard(part) and not filesystem.exists("/".join(parts[: i + 1])):
            return "/".join(parts[:i]), "/".join(parts[i:])
    return path, ""


def expand_pattern(filesystem: fsspec.AbstractFileSystem, root: str, pattern: str, *, directories: bool) -> list[str]:
    """Return the sorted paths of the directories, or of the files, that match a pattern below a directory."""
    from fsspec.implementations.local import LocalFileSystem

    if isinstance(filesystem, LocalFileSystem):  # fsspec would list the siblings of a `root` that has wildcards
        names = glob.glob(pattern, root_dir=root or "/", recursive=True, include_hidden=True)
        paths = {os.path.join(root or "/", name).rstrip("/") for name in names}
        return sorted(path for path in paths if os.path.isdir(path) == directories)
    literal = _WILDCARD.sub(r"[\g<0>]", root)
    found = filesystem.glob(f"{literal}/{pattern}", detail=True)
    return sorted(name for name, facts in found.items() if (facts["type"] == "directory") == directories)
