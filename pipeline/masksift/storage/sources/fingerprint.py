"""What tells that a source has changed, without reading it: the names, sizes and marks of its objects."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import zarr

from masksift.core.specs import ArraySpec
from masksift.storage.objects import open_filesystem
from masksift.storage.urls import local_path
from masksift.storage.zarr.stores import list_objects

_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "mtime", "created")
"""What stores say of an object's contents, the surest first: one of them is enough."""


def content_hash(arrays: Iterable[ArraySpec], options: Mapping[str, Any]) -> str:
    """A digest over every object of the arrays: its name, its size, and its ETag or, where the store has none, the time
    of its last change. Objects are listed, not read; they are added up in any order as they come, and none is kept: a
    source may have millions."""
    total = 0
    for number, array in enumerate(arrays):
        for name, size, mark in _objects(array.url, options):
            line = f"{number}\0{name}\0{size}\0{mark}"
            total += int.from_bytes(hashlib.sha256(line.encode()).digest())
    return f"{total % (1 << 256):064x}"


def _objects(url: str, options: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    """(name below the URL, bytes, mark) of each object."""
    path = local_path(url)
    if path is not None:
        yield from _files(path, "")
    elif (pages := list_objects(url, options)) is not None:
        for page in pages:
            for facts in page:
                yield facts["path"], facts["size"], str(facts["e_tag"] or facts["last_modified"])
    else:
        filesystem, root = open_filesystem(url, options)
        for place, facts in filesystem.find(root, detail=True).items():
            mark = next((str(facts[name]) for name in _MARKS if facts.get(name) is not None), "")
            yield place.removeprefix(root).lstrip("/"), int(facts["size"] or 0), mark


def _files(folder: str, below: str) -> Iterator[tuple[str, int, str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(entry.path, f"{below}{entry.name}/")
            else:
                facts = entry.stat()
                yield below + entry.name, facts.st_size, str(facts.st_mtime_ns)


def metadata_hash(*arrays: zarr.Array[Any]) -> str:
    """A digest of the arrays' metadata: another shape, dtype, chunk or attribute is another input."""
    texts = [json.dumps(array.metadata.to_dict(), sort_keys=True, default=str) for array in arrays]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
