"""Detect changes of a source without reading it, by names, sizes and versions of its objects."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from masksift.core.errors import DataError
from masksift.core.specs import ArraySpec
from masksift.storage.clients import open_filesystem
from masksift.storage.credentials import options_for
from masksift.storage.urls import join, local_path, split_url
from masksift.storage.zarr.links import LINKS, LinkTable, file_version
from masksift.storage.zarr.stores import list_objects, open_store
from masksift.storage.zarr.zip_store import DamagedMemberError, list_members, split_archive_url

_VERSION_FIELDS = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "mtime", "created")
"""Metadata fields that identify an object's content, best first. The first one present is used."""


def content_hash(arrays: Iterable[ArraySpec], options: Mapping[str, Any]) -> str:
    """Hash name, size and version of every object of some arrays.

    The version is the ETag or, in stores without one, the time of the last change. Objects are listed, not read. Their
    hashes are summed in any order without keeping them, because a source may have millions of objects.

    Args:
        arrays: The arrays.
        options: Storage options of S3.

    Returns:
        Hash of 64 hexadecimal digits.
    """
    total = 0
    for number, array in enumerate(arrays):
        for name, size, version in _iter_content(array.url, options):
            line = f"{number}\0{name}\0{size}\0{version}"
            total += int.from_bytes(hashlib.sha256(line.encode()).digest())
    return f"{total % (1 << 256):064x}"


def _iter_content(url: str, options: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Yield the objects of an array; in place of tables of linked files, the files."""
    facts = FileFacts(options)
    for name, size, version in iter_objects(url, options):
        if name.startswith(f"{LINKS}/"):
            yield from _iter_linked_files(url, name, options, facts)
        else:
            yield name, size, version


def _iter_linked_files(
    url: str, table: str, options: Mapping[str, Any], facts: FileFacts
) -> Iterator[tuple[str, int, str]]:
    """Yield the files of a table. A missing one, which quarantines its image, has the size -1.

    Raises:
        DataError: A file has changed since it was linked, so that the positions in the table may be wrong.
    """
    data = sync(open_store(url, options, read_only=True).get(table, default_buffer_prototype()))
    assert data is not None
    try:
        links = LinkTable(data)
    except DamagedMemberError as e:
        raise DataError(f"{join(url, table)} cannot be read ({e})", "Link the files again into another --out") from e
    for row, (file, *linked) in enumerate(links.files()):
        found = facts.find(file)
        if found is not None and found != tuple(linked):
            raise DataError(
                f"{file} has changed since it was linked to {url}",
                "The source no longer describes it",
                "Link the files again into another --out",
            )
        size, version = found or (-1, "")
        yield f"{table}/{row}", size, version


class FileFacts:
    """Size and version of files, of remote ones by listing their directories."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._last: tuple[str, tuple[int, str] | None] = ("", None)
        self._directory, self._files = "", dict[str, tuple[int, str]]()

    def find(self, url: str) -> tuple[int, str] | None:
        """Return size in bytes and version of a file, None if it does not exist."""
        if self._last[0] != url:  # an array of all images is one file
            self._last = (url, self._find(url))
        return self._last[1]

    def _find(self, url: str) -> tuple[int, str] | None:
        if (path := local_path(url)) is not None:
            try:
                stat = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
            return stat.st_size, file_version(stat)
        directory, name = split_url(url)
        if directory != self._directory:
            objects = iter_objects(directory, options_for(directory, self._options))
            self._files = {name: (size, version) for name, size, version in objects}
            self._directory = directory
        return self._files.get(name)


def iter_objects(url: str, options: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Yield name below the URL, size in bytes, and version of each object."""
    path = local_path(url)
    if (parts := split_archive_url(url)) is not None:
        prefix = parts[1] and f"{parts[1]}/"
        for name, member in list_members(parts[0], options).items():
            if name.startswith(prefix):
                yield name.removeprefix(prefix), member.size, f"{member.crc:08x}"
    elif path is not None:
        yield from _iter_files(path, "")
    elif (objects := list_objects(url, options)) is not None:
        for name, facts in objects:
            yield name, facts["size"], str(facts["e_tag"] or facts["last_modified"])
    else:
        filesystem, root = open_filesystem(url, options)
        for name, facts in filesystem.find(root, detail=True).items():
            version = next((str(facts[key]) for key in _VERSION_FIELDS if facts.get(key) is not None), "")
            yield name.removeprefix(root).lstrip("/"), int(facts["size"] or 0), version


def _iter_files(directory: str, prefix: str) -> Iterator[tuple[str, int, str]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _iter_files(entry.path, f"{prefix}{entry.name}/")
            else:
                facts = entry.stat()
                yield prefix + entry.name, facts.st_size, str(facts.st_mtime_ns)


def metadata_hash(*arrays: zarr.Array[Any]) -> str:
    """Hash the metadata of arrays: shape, dtype, chunks, codecs and attributes."""
    texts = [json.dumps(array.metadata.to_dict(), sort_keys=True, default=str) for array in arrays]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
