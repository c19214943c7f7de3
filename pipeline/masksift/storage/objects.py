"""Bytes at URLs, through fsspec: whole objects in, whole objects out."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import fsspec

from masksift.core.retry import MAX_ATTEMPTS
from masksift.storage.credentials import fsspec_kwargs, is_s3, reject_password, select_options
from masksift.storage.retry import StoreRetryPolicy
from masksift.storage.urls import CONTENT_TYPES, join, local_path, unsupported_url_error


def open_filesystem(
    url: str, options: Mapping[str, Any], attempts: int = MAX_ATTEMPTS
) -> tuple[fsspec.AbstractFileSystem, str]:
    """fsspec's filesystem for a URL, which makes a request to S3 so many times by itself, and the path in it. Raises
    UsageError where there is none."""
    reject_password(url)
    own = select_options(url, options)
    try:
        filesystem, path = fsspec.core.url_to_fs(local_path(url) or url, **fsspec_kwargs(own, attempts))
    except (ValueError, ImportError) as e:
        raise unsupported_url_error(url, e) from e
    if own:
        filesystem.retries = attempts  # those of s3fs, beside those of the library below it
    return filesystem, path


@dataclass(frozen=True)
class ObjectDirectory:
    """A prefix in a store. Names are relative to it. Picklable; the connection is made where it is used.

    ``used``: `requests`, `puts` and, on a network, `repeated`, those that were made again; ``attempts``: how often one
    is made at most.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    io_counters: Counter[str] = field(default_factory=Counter, repr=False, compare=False)
    attempts: int = field(default=MAX_ATTEMPTS, repr=False, compare=False)

    @cached_property
    def _filesystem(self) -> tuple[fsspec.AbstractFileSystem, str]:
        return open_filesystem(self.url, self.options, attempts=1)

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "options": self.options, "io_counters": Counter[str](), "attempts": self.attempts}

    def _path(self, name: str) -> str:
        return join(self._filesystem[1], name) if name else self._filesystem[1]

    def _request(self, request: Callable[..., Any], name: str, *words: Any, **more: Any) -> Any:
        """What the filesystem answers; on a network it is asked again where it does not."""
        path = self._path(name)
        if local_path(self.url) is not None:
            return request(path, *words, **more)
        policy = StoreRetryPolicy(self.attempts)
        try:
            return policy.call(lambda: request(path, *words, **more), join(self.url, name))
        finally:
            self.io_counters["repeated"] += policy.retries

    def read(self, name: str) -> bytes | None:
        """The bytes of an object, or None where there is none."""
        self.io_counters["requests"] += 1
        try:
            data: bytes = self._request(self._filesystem[0].cat_file, name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return data

    def create(self, name: str, data: bytes) -> bool:
        """Put an object that is not there yet. False, and nothing is done, where another one is."""
        if local_path(self.url) is not None:
            path = self._path(name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                with open(path, "xb") as file:
                    file.write(data)
            except FileExistsError:
                return False
            return True
        self.io_counters["puts"] += 1
        try:
            self._request(partial(_put_new, self._filesystem[0]), name, data)
        except FileExistsError:
            return self.read(name) == data  # of an attempt of ours whose answer was lost
        return True

    def write(self, name: str, data: bytes) -> None:
        """Put an object: it is there as a whole, or not at all."""
        self.io_counters["puts"] += 1
        path = self._path(name)
        if local_path(self.url) is None:
            kind = CONTENT_TYPES.get(name.rpartition(".")[2]) if is_s3(self.url) else None
            self._request(self._filesystem[0].pipe_file, name, data, **({"ContentType": kind} if kind else {}))
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

    def put(self, name: str, path: str) -> None:
        """Put a file from local disk, whatever its size: it is there as a whole, or not at all."""
        self.io_counters["puts"] += 1
        if local_path(self.url) is None:
            filesystem = self._filesystem[0]
            self._request(lambda place: filesystem.put_file(path, place), name)
            return
        place = self._path(name)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        partial = f"{place}.{uuid.uuid4().hex}.partial"
        try:
            shutil.copyfile(path, partial)
            os.replace(partial, place)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)
            raise

    def remove(self, name: str) -> None:
        """Remove an object; nothing happens where there is none."""
        with contextlib.suppress(FileNotFoundError):
            self._request(self._filesystem[0].rm_file, name)

    def names(self, prefix: str = "") -> list[str]:
        """Sorted names directly below `prefix`, relative to it; empty where there are none."""
        path = self._path(prefix)
        try:
            entries = self._request(self._filesystem[0].ls, prefix, detail=False, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(
            entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry.rstrip("/") != path.rstrip("/")
        )


def _put_new(filesystem: fsspec.AbstractFileSystem, path: str, data: bytes) -> None:
    """Raises FileExistsError where the object is there, by whichever words the server says so."""
    try:
        filesystem.pipe_file(path, data, mode="create")
    except (TypeError, ValueError, NotImplementedError):  # a store of which that cannot be asked
        if filesystem.exists(path):
            raise FileExistsError(path) from None
        filesystem.pipe_file(path, data)
    except OSError as e:
        if e.errno == errno.EINVAL:  # as s3fs understands the answer 412 of servers that are not Amazon's
            raise FileExistsError(path) from e
        raise
