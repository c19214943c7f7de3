"""Files that others wrote: found below a folder or by a glob, and opened, wherever fsspec reaches."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from masksift.core.errors import DataError, MasksiftError
from masksift.storage.credentials import is_s3, unreachable_error
from masksift.storage.objects import open_filesystem
from masksift.storage.urls import local_path

_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Files:
    """The files of one place: their ``names`` below ``root``, sorted."""

    place: str
    root: str
    names: tuple[str, ...]

    def url(self, name: str) -> str:
        """Where a file lies."""
        return f"{self.root}/{name}"


def find_files(place: str, options: Mapping[str, Any], endings: Sequence[str]) -> Files:
    """The files of a folder and of all folders in it, or those that a glob matches, which end in one of ``endings``
    (lower case). Hidden ones are none. Raises DataError where there is none."""
    filesystem, path = open_filesystem(place, options)
    try:
        if (magic := _MAGIC.search(path)) and not filesystem.exists(path):
            root = path[: magic.start()].rpartition("/")[0]
            every = filesystem.glob(path, detail=True).items()
            found = [name for name, facts in every if facts["type"] != "directory"]
        else:
            found = list(_linked(path)) if os.path.isdir(local_path(place) or "") else filesystem.find(path)
            root = path.rstrip("/") if found != [path] else path.rpartition("/")[0]
    except MasksiftError:
        raise
    except Exception as e:  # every client of S3 has errors of its own
        if is_s3(place):
            raise unreachable_error(place, e) from e
        raise
    names = sorted(name.removeprefix(root).lstrip("/") for name in found)
    wanted = tuple(name for name in names if name.lower().endswith(tuple(endings)) and not re.search(r"(^|/)\.", name))
    if not wanted:
        raise DataError(
            f"there is no file of {', '.join(endings)} at {place}",
            "there is nothing to ingest",
            "Give a folder that holds some, or a glob, in quotes, that matches some",
        )
    return Files(place, root if local_path(place) else str(filesystem.unstrip_protocol(root)), wanted)


def _linked(folder: str) -> Iterator[str]:
    """The files below a folder on disk, links followed: data sets are often put together of them. Each folder once."""
    seen = {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        yield from (os.path.join(place, name) for name in names)
        folders[:] = [name for name in sorted(folders) if os.path.realpath(os.path.join(place, name)) not in seen]
        seen.update(os.path.realpath(os.path.join(place, name)) for name in folders)


@contextmanager
def open_file(url: str, options: Mapping[str, Any]) -> Iterator[BinaryIO]:
    """A file open to be read, which can seek: what is not asked for is not read. Raises DataError if it is missing."""
    filesystem, path = open_filesystem(url, options)
    with ExitStack() as opened:
        try:
            file: Any = open(path, "rb") if local_path(url) else filesystem.open(path, "rb")  # noqa: SIM115
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as e:
            raise DataError(
                f"there is no file {url}", "it cannot be ingested", "Give its path, or see who removed it"
            ) from e
        yield opened.enter_context(file)
