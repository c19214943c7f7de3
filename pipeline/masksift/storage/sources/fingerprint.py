"""Detect changes of a source without reading it, by names, sizes and versions of its objects."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import zarr

from masksift.core.specs import ArraySpec
from masksift.storage.clients import open_filesystem
from masksift.storage.urls import local_path
from masksift.storage.zarr.stores import list_objects
from masksift.storage.zarr.zip_store import list_members, split_archive_url

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
        for name, size, version in iter_objects(array.url, options):
            line = f"{number}\0{name}\0{size}\0{version}"
            total += int.from_bytes(hashlib.sha256(line.encode()).digest())
    return f"{total % (1 << 256):064x}"


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
