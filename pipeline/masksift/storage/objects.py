"""Bytes at URLs, through fsspec: whole objects in, whole objects out."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import fsspec

from masksift.errors import UsageError
from masksift.storage.access import for_fsspec, options_of

__all__ = ["Folder", "filesystem_of", "join", "local_path", "unknown_place"]


def local_path(url: str) -> str | None:
    """The absolute path of a URL on local disk, or None where it lies elsewhere."""
    if url.startswith("file://"):
        return os.path.abspath(url.removeprefix("file://"))
    return None if "://" in url or "::" in url else os.path.abspath(os.path.expanduser(url))


def join(url: str, *names: str) -> str:
    """URL of an object below a URL."""
    return "/".join([url.rstrip("/"), *(name.strip("/") for name in names)])


def unknown_place(url: str, cause: Exception) -> UsageError:
    """What is said where fsspec knows no store for a URL, or lacks a package for it."""
    return UsageError(
        f"{url} cannot be opened ({cause})", "there is no store to read or write",
        "Give a path, or a URL such as s3://bucket/folder whose fsspec package is installed",
    )  # fmt: skip


def filesystem_of(url: str, options: Mapping[str, Any]) -> tuple[fsspec.AbstractFileSystem, str]:
    """fsspec's filesystem for a URL, and the path in it. Raises UsageError where there is none."""
    try:
        filesystem, path = fsspec.core.url_to_fs(local_path(url) or url, **for_fsspec(options_of(url, options)))
    except (ValueError, ImportError) as e:
        raise unknown_place(url, e) from e
    return filesystem, path


@dataclass(frozen=True)
class Folder:
    """A prefix in a store. Names are relative to it. Picklable; the connection is made where it is used."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def _filesystem(self) -> tuple[fsspec.AbstractFileSystem, str]:
        return filesystem_of(self.url, self.options)

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "options": self.options}

    def _path(self, name: str) -> str:
        return join(self._filesystem[1], name) if name else self._filesystem[1]

    def read(self, name: str) -> bytes | None:
        """The bytes of an object, or None where there is none."""
        try:
            data: bytes = self._filesystem[0].cat_file(self._path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return data

    def write(self, name: str, data: bytes) -> None:
        """Put an object: it is there as a whole, or not at all."""
        filesystem, path = self._filesystem[0], self._path(name)
        if local_path(self.url) is None:
            filesystem.pipe_file(path, data)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        partial = f"{path}.{uuid.uuid4().hex}.partial"
        try:
            with open(partial, "wb") as file:
                file.write(data)
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)
            raise

    def remove(self, name: str) -> None:
        """Remove an object; nothing happens where there is none."""
        with contextlib.suppress(FileNotFoundError):
            self._filesystem[0].rm_file(self._path(name))

    def names(self, prefix: str = "") -> list[str]:
        """Sorted names directly below `prefix`, relative to it; empty where there are none."""
        path = self._path(prefix)
        try:
            entries = self._filesystem[0].ls(path, detail=False, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(
            entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry.rstrip("/") != path.rstrip("/")
        )
