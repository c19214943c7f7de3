"""Find and open input files, wherever fsspec reaches."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, BinaryIO

from masksift.core.errors import DataError, MasksiftError
from masksift.core.json_text import parse_json
from masksift.storage.clients import open_filesystem
from masksift.storage.credentials import cloud_of, unreachable_error
from masksift.storage.patterns import expand_pattern, has_wildcard, split_pattern
from masksift.storage.urls import is_absolute, join, local_path, split_url

_IN_TABLE = re.compile(r"\.(parquet|arrow)#[^/]+/\d+$", re.IGNORECASE)
"""End of the URL of an image in a cell of a table; see `table_images`."""
_LISTINGS: ContextVar[dict[str, tuple[str, Sequence[str]]] | None] = ContextVar("listings", default=None)
"""Root and names of each place that is listed within a block of `shared_listings`."""


@dataclass(frozen=True)
class Files:
    """Files below one directory.

    Attributes:
        place: Directory, glob or list that was searched.
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
    """Find visible files by ending, in lower case, in a directory, glob or list (`.txt`). No match raises DataError."""
    if place.lower().endswith(".txt") and not has_wildcard(place) and not os.path.isdir(local_path(place) or ""):
        return _read_list(place, options, endings)
    listings = _LISTINGS.get()
    found = None if listings is None else listings.get(place)
    if found is None:
        found = _list(place, options)
        if listings is not None:
            listings[place] = found
    root, names = found
    selected = tuple(name for name in names if name.lower().endswith(tuple(endings)))
    if not selected:
        raise DataError(
            f"No file of {', '.join(endings)} at {place}",
            "Pass a directory that contains some, or a quoted glob that matches some",
        )
    return Files(place, root, selected)


@contextmanager
def shared_listings() -> Iterator[None]:
    """List each place once within the block: several formats are looked for in directories of millions of files."""
    token = _LISTINGS.set({})
    try:
        yield
    finally:
        _LISTINGS.reset(token)


def _list(place: str, options: Mapping[str, Any]) -> tuple[str, Sequence[str]]:
    """Return the root of a directory or glob, and the names of its visible files, sorted."""
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
    visible = [name for name in names if not re.search(r"(^|/)\.", name)]
    return root if local_path(place) else str(filesystem.unstrip_protocol(root)), visible


def _read_list(place: str, options: Mapping[str, Any], endings: Sequence[str]) -> Files:
    """Read a list of paths or URLs. Relative ones are relative to the directory of the list."""
    directory, _ = split_url(place)
    with open_file(place, options) as file:
        try:
            lines = [line.strip() for line in file.read().decode("utf-8-sig").splitlines()]
        except UnicodeDecodeError as e:
            raise DataError(f"{place} is not a text file ({e})", "Write one path per line, in UTF-8") from e
    paths = [line if is_absolute(line) else join(directory, line) for line in lines if line]
    urls = [local_path(path) or path for path in paths]
    schemes = {url.partition("://")[0] if local_path(url) is None else "file" for url in urls}
    if len(schemes) > 1:
        raise DataError(f"{place} lists files on {' and '.join(sorted(schemes))}", "List the files of one store")
    selected = [url for url in urls if url.lower().endswith(tuple(endings))]
    if not selected:
        raise DataError(f"No file of {', '.join(endings)} is listed in {place}", "Write one path per line")
    parts = [url.split("/") for url in selected]
    first, last = min(parts), max(parts)
    shared = next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first) - 1)
    shared = min(shared, len(first) - 1, len(last) - 1)
    root = "/".join(first[:shared])
    return Files(place, root, tuple(sorted(url.removeprefix(root).lstrip("/") for url in selected)))


def _walk(directory: str) -> Iterator[str]:
    """Yield the files below a local directory. Links are followed, because data sets are often assembled by links."""
    visited = {os.path.realpath(directory)}
    for place, directories, names in os.walk(directory, followlinks=True):
        yield from (os.path.join(place, name) for name in names)
        directories[:] = [n for n in sorted(directories) if os.path.realpath(os.path.join(place, n)) not in visited]
        visited.update(os.path.realpath(os.path.join(place, name)) for name in directories)


@contextmanager
def open_file(url: str, options: Mapping[str, Any]) -> Iterator[BinaryIO]:
    """Open a file, or the image in a cell of a table, for random access. A missing file raises DataError."""
    if _IN_TABLE.search(url):
        from masksift.storage.table_images import open_cell  # pyarrow takes a while to import

        yield open_cell(url, options)
        return
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
