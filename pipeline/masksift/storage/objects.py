"""Read and write whole objects at URLs, through fsspec."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import fsspec

from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.core.retry import MAX_ATTEMPTS
from masksift.storage.clients import open_filesystem
from masksift.storage.credentials import cloud_of
from masksift.storage.retry import StoreRetryPolicy
from masksift.storage.urls import CONTENT_TYPES, join, local_path

_CONTENT_TYPE_ARGUMENTS = {"s3": "ContentType", "az": "content_type", "gs": "content_type"}
"""Argument of `pipe_file` for the content type, by cloud."""


@dataclass(frozen=True)
class ObjectDirectory:
    """Objects below a prefix. Picklable: the connection is opened on first use.

    Attributes:
        url: URL of the prefix; names of objects are relative to it.
        options: Storage options by cloud.
        io_counters: Counts of `requests`, `puts` and, on a network, `repeated` requests.
        attempts: Upper bound of the attempts at one request.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    io_counters: Counter[str] = field(default_factory=Counter, repr=False, compare=False)
    attempts: int = field(default=MAX_ATTEMPTS, repr=False, compare=False)

    @cached_property
    def _filesystem(self) -> tuple[fsspec.AbstractFileSystem, str]:
        return open_filesystem(self.url, self.options, attempts=1)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the connection and the counts."""
        return {"url": self.url, "options": self.options, "io_counters": Counter[str](), "attempts": self.attempts}

    def _path(self, name: str) -> str:
        return join(self._filesystem[1], name) if name else self._filesystem[1]

    @property
    def _is_local(self) -> bool:
        return local_path(self.url) is not None

    def _request(self, request: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the file system with the path of an object, with retries on a network."""
        path = self._path(name)
        if self._is_local:
            return request(path, *args, **kwargs)
        policy = StoreRetryPolicy(self.attempts)
        try:
            return policy.call(lambda: request(path, *args, **kwargs), join(self.url, name))
        finally:
            self.io_counters["repeated"] += policy.retries

    def read(self, name: str) -> bytes | None:
        """Return the bytes of an object, or None if it does not exist."""
        self.io_counters["requests"] += 1
        try:
            data: bytes = self._request(self._filesystem[0].cat_file, name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return data

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop) of an object. A missing one raises FileNotFoundError."""
        self.io_counters["requests"] += 1
        data: bytes = self._request(self._filesystem[0].cat_file, name, start=start, end=stop)
        return data

    def size(self, name: str) -> int:
        """Return the size of an object in bytes. A missing one raises FileNotFoundError."""
        self.io_counters["requests"] += 1
        return int(self._request(self._filesystem[0].info, name)["size"])

    def create(self, name: str, data: bytes) -> bool:
        """Write an object that does not exist yet. Return False and write nothing if it does."""
        if self._is_local:
            path = self._path(name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                with open(path, "xb") as file:
                    file.write(data)
            except FileExistsError:
                return False
            return True
        if (existing := self.read(name)) is not None:  # some servers ignore the condition of the request below
            return existing == data
        self.io_counters["puts"] += 1
        try:
            self._request(partial(_create_object, self._filesystem[0]), name, data)
        except FileExistsError:
            return self.read(name) == data  # written by an attempt whose answer was lost
        return True

    def write(self, name: str, data: bytes) -> None:
        """Write an object atomically."""
        self.io_counters["puts"] += 1
        if self._is_local:
            with _replace_file(self._path(name)) as temporary, open(temporary, "wb") as file:
                file.write(data)
            return
        argument = _CONTENT_TYPE_ARGUMENTS.get(cloud_of(self.url) or "")
        content_type = CONTENT_TYPES.get(name.rpartition(".")[2])
        kwargs = {argument: content_type} if argument and content_type else {}
        self._request(self._filesystem[0].pipe_file, name, data, **kwargs)

    def put(self, name: str, path: str) -> None:
        """Upload a local file of any size atomically."""
        self.io_counters["puts"] += 1
        if self._is_local:
            with _replace_file(self._path(name)) as temporary:
                shutil.copyfile(path, temporary)
            return
        filesystem = self._filesystem[0]
        self._request(lambda target: filesystem.put_file(path, target), name)

    def remove(self, name: str) -> None:
        """Remove an object if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self._request(self._filesystem[0].rm_file, name)

    def remove_all(self, names: Sequence[str]) -> None:
        """Remove objects if they exist, some of them at a time."""
        with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS, thread_name_prefix="remove") as pool:
            list(pool.map(self.remove, names))

    def remove_below(self, prefix: str) -> None:
        """Remove all objects below a prefix, if there are any."""
        with contextlib.suppress(FileNotFoundError):
            self._request(partial(self._filesystem[0].rm, recursive=True), prefix)

    def names(self, prefix: str = "") -> list[str]:
        """Return the sorted names directly below a prefix, relative to it."""
        path = self._path(prefix)
        try:
            entries = self._request(self._filesystem[0].ls, prefix, detail=False, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(
            entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry.rstrip("/") != path.rstrip("/")
        )


@contextlib.contextmanager
def _replace_file(path: str) -> Iterator[str]:
    """Yield a temporary path that replaces a local file at the end, or is removed after an error."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex}.partial"
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _create_object(filesystem: fsspec.AbstractFileSystem, path: str, data: bytes) -> None:
    """Write a new object. Raise FileExistsError if it exists, whatever the error of the server is."""
    try:
        filesystem.pipe_file(path, data, mode="create")
    except (TypeError, ValueError, NotImplementedError):  # the store has no conditional writes
        if filesystem.exists(path):
            raise FileExistsError(path) from None
        filesystem.pipe_file(path, data)
    except OSError as e:
        if e.errno == errno.EINVAL:  # s3fs translates the answer 412 of other servers than Amazon's so
            raise FileExistsError(path) from e
        raise
