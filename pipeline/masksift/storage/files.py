"""Find and open input files, wherever fsspec reaches."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from masksift.core.errors import DataError, MasksiftError
from masksift.core.json_text import parse_json
from masksift.storage.clients import open_filesystem
from masksift.storage.credentials import cloud_of, unreachable_error
from masksift.storage.patterns import expand_pattern, split_pattern
from masksift.storage.urls import local_path


@dataclass(frozen=True)
class Files:
    """Files below one directory.

    Attributes:
        place: Directory or glob that was searched.
        root: Directory that the names are relative to.
        names: Names of the files, sorted.
    """

    place: str
    root: str
    names: tuple[str, ...]

    def url(self, name: str) -> str:
        """Return the URL of a file."""
        return f"{self.root}/{name}"


def find_files(place: str, options: Mapping[str, Any], endings: Sequence[str]) -> Files:
    """Find visible files by ending, in lower case, below a directory or by a glob. No match raises DataError."""
    filesystem, path = open_filesystem(place, options)
    try:
        root, pattern = split_pattern(filesystem, path)
        if pattern:
            paths = expand_pattern(filesystem, root, pattern, directories=False)
        else:
            paths = list(_walk(path)) if os.path.isdir(local_path(place) or "") else filesystem.find(path)
            root = path.rstrip("/") if paths != [path] else path.rpartition("/")[0]
    except MasksiftError:
        raise
    except Exception as e:  # the clients have no common base class of errors
        if cloud_of(place):
            raise unreachable_error(place, e) from e
        raise
    names = sorted(name.removeprefix(root).lstrip("/") for name in paths)
    selected = [name for name in names if name.lower().endswith(tuple(endings)) and not re.search(r"(^|/)\.", name)]
    if not selected:
        raise DataError(
            f"No file of {', '.join(endings)} at {place}",
            "Pass a directory that contains some, or a quoted glob that matches some",
        )
    return Files(place, root if local_path(place) else str(filesystem.unstrip_protocol(root)), tuple(selected))


def _walk(directory: str) -> Iterator[str]:
    """Yield the files below a local directory. Links are followed, because data sets are often assembled by links."""
    visited = {os.path.realpath(directory)}
    for place, directories, names in os.walk(directory, followlinks=True):
        yield from (os.path.join(place, name) for name in names)
        directories[:] = [n for n in sorted(directories) if os.path.realpath(os.path.join(place, n)) not in visited]
        visited.update(os.path.realpath(os.path.join(place, name)) for name in directories)


@contextmanager
def open_file(url: str, options: Mapping[str, Any]) -> Iterator[BinaryIO]:
    """Open a file for random access. A missing file raises DataError."""
    filesystem, path = open_filesystem(url, options)
    try:
        file: Any = open(path, "rb") if local_path(url) else filesystem.open(path, "rb")  # noqa: SIM115
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as e:
        raise DataError(f"File {url} does not exist", "Pass its path, or check who removed it") from e
    with file:
        yield file


def read_json(url: str, options: Mapping[str, Any]) -> Any:
    """Parse a JSON file. One that is missing or not valid raises DataError."""
    with open_file(url, options) as file:
        try:
            return parse_json(file.read())
        except ValueError as e:
            raise DataError(f"{url} is not valid JSON ({e})", "Copy the file again") from e
