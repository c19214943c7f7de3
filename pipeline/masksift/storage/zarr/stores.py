"""Zarr stores on local disk, S3 and other file systems, with retries, bounded concurrency and counts."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import obstore
import zarr
from numpy.typing import NDArray
from obstore.exceptions import PreconditionError
from obstore.store import AzureStore, S3Store
from zarr.abc.store import ByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.common import concurrent_map
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, ObjectStore, WrapperStore

from masksift.core.errors import UsageError
from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.core.retry import MAX_ATTEMPTS
from masksift.storage.clients import BucketPath, obstore_store, open_filesystem
from masksift.storage.credentials import cloud_of, options_for, reject_password
from masksift.storage.retry import StoreRetryPolicy
from masksift.storage.urls import join, local_path, unsupported_url_error
from masksift.storage.zarr.links import (
    LinkedStore,
    LinkSettings,
    changed_file,
    is_local_store,
    read_values,
)
from masksift.storage.zarr.validation import ChunkDecodeError, ChunkValidator, natural_sort_key
from masksift.storage.zarr.zip_store import DamagedMemberError, ZipStore, list_members, split_archive_url

T = TypeVar("T")
ObjectRange = tuple[str, ByteRequest | None]
"""Key of an object and a byte range in it; None for the whole object."""

_semaphores: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, asyncio.Semaphore]] = WeakKeyDictionary()


def _request_semaphore(limit: int) -> asyncio.Semaphore:
    """Return the semaphore that bounds the concurrent requests of this process over all stores of the same limit."""
    by_limit = _semaphores.setdefault(asyncio.get_running_loop(), {})
    return by_limit.setdefault(limit, asyncio.Semaphore(limit))


class RetryingStore(WrapperStore[Store]):
    """Network store that retries failed requests, and bounds those at a time together with other such stores."""

    def __init__(self, store: Store, url: str, attempts: int, concurrency: int = MAX_CONCURRENT_REQUESTS) -> None:
        super().__init__(store)
        self._url, self._attempts, self._concurrency = url, attempts, concurrency
        self._policy = StoreRetryPolicy(attempts)

    def _with_store(self, store: Store) -> RetryingStore:
        return RetryingStore(store, self._url, self._attempts, self._concurrency)

    @property
    def retries(self) -> int:
        """Number of repeated requests."""
        return self._policy.retries

    async def _call(self, key: str, request: Callable[[], Awaitable[T]]) -> T:
        target = join(self._url, key) if key else self._url
        return await self._policy.call_async(request, target, _request_semaphore(self._concurrency))

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object or a range of it."""
        value = await self._call(key, lambda: self._store.get(key, prototype, byte_range))
        if value is not None and isinstance(byte_range, SuffixByteRequest) and len(value) > byte_range.suffix:
            return value[-byte_range.suffix :]  # HTTP lets a server ignore a range, and one of Google's emulators does
        return value

    async def get_version(
        self, key: str, prototype: BufferPrototype, byte_range: RangeByteRequest, etag: str
    ) -> Buffer | None:
        """Return a range of one version of an object, where the client can ask for it; else of any version."""
        if not isinstance(store := self._store, _BucketStore):
            return await self.get(key, prototype, byte_range)
        return await self._call(key, lambda: store.get_version(key, prototype, byte_range, etag))

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object."""
        await self._call(key, lambda: self._store.set(key, value))

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write an object that does not exist yet."""
        await self._call(key, lambda: self._store.set_if_not_exists(key, value))

    async def exists(self, key: str) -> bool:
        """Return whether an object exists."""
        return await self._call(key, lambda: self._store.exists(key))

    async def delete(self, key: str) -> None:
        """Delete an object."""
        await self._call(key, lambda: self._store.delete(key))

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys that begin with a prefix."""
        for name in await self._call(prefix, lambda: _collect(self._store.list_prefix(prefix))):
            yield name

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly below a prefix."""
        for name in await self._call(prefix, lambda: _collect(self._store.list_dir(prefix))):
            yield name


async def _collect(names: AsyncIterator[str]) -> list[str]:
    return [name async for name in names]


class _ObjectTooLarge(ValueError):
    """An object of the store is larger than the caller expects; its argument is the size."""


class _BucketStore(ObjectStore[AzureStore | S3Store]):
    """Objects below a path of a bucket. Large objects are refused before they are read.

    Args:
        place: Store of the bucket, which all paths share, and the path.
        read_only: Refuse to write.

    Attributes:
        max_bytes: Largest object that is read as a whole; None for any.
    """

    def __init__(self, place: BucketPath, *, read_only: bool = False) -> None:
        super().__init__(place.store, read_only=read_only)
        self._place = place
        self.max_bytes: int | None = None

    def __eq__(self, value: object) -> bool:
        return super().__eq__(value) and isinstance(value, _BucketStore) and self._place.path == value._place.path

    def with_read_only(self, read_only: bool = False) -> _BucketStore:
        """Return the same objects, read-only or not."""
        return _BucketStore(self._place, read_only=read_only)

    def _full(self, key: str) -> str:
        """Return the key in the bucket of a key below the path."""
        return "/".join(filter(None, (self._place.path, key)))

    async def exists(self, key: str) -> bool:
        """Return whether an object exists."""
        return await super().exists(self._full(key))

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object."""
        await super().set(self._full(key), value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write an object that does not exist yet."""
        await super().set_if_not_exists(self._full(key), value)

    async def delete(self, key: str) -> None:
        """Delete an object."""
        await super().delete(self._full(key))

    async def delete_dir(self, prefix: str) -> None:
        """Delete the objects of a directory."""
        keys = [(key,) async for key in self.list_prefix(f"{prefix.rstrip('/')}/" if prefix else "")]
        await concurrent_map(keys, self.delete, limit=MAX_CONCURRENT_REQUESTS)

    async def getsize(self, key: str) -> int:
        """Return the size of an object in bytes."""
        return await super().getsize(self._full(key))

    async def _list(self, prefix: str | None = None) -> AsyncGenerator[obstore.ObjectMeta, None]:
        """Yield the metadata of the objects below a prefix, with their keys below the path."""
        start = len(self._place.path) + 1 if self._place.path else 0
        async for facts in super()._list(self._full(prefix or "")):
            yield {**facts, "path": facts["path"][start:]}

    def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        """Yield the names directly below a prefix."""
        return super().list_dir(self._full(prefix))

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object or a range of it."""
        key = self._full(key)
        if byte_range is not None or self.max_bytes is None:
            return await super().get(key, prototype, byte_range)
        try:
            response = await obstore.get_async(self.store, key)
        except FileNotFoundError:
            return None
        if response.meta["size"] > self.max_bytes:
            raise _ObjectTooLarge(response.meta["size"])
        return prototype.buffer.from_bytes(await response.bytes_async())  # type: ignore[arg-type]

    async def get_version(
        self, key: str, prototype: BufferPrototype, byte_range: RangeByteRequest, etag: str
    ) -> Buffer | None:
        """Return a range of an object; None for a missing one, DamagedMemberError if it has another ETag."""
        options: Any = {"range": (byte_range.start, byte_range.end), "if_match": etag}
        try:
            response = await obstore.get_async(self.store, self._full(key), options=options)
            return prototype.buffer.from_bytes(await response.bytes_async())  # type: ignore[arg-type]
        except FileNotFoundError:
            return None
        except PreconditionError as e:
            raise changed_file(key) from e


class InstrumentedStore(WrapperStore[Store]):
    """Store that counts traffic, validates bytes, and records absent keys and errors of the store itself.

    Attributes:
        validator: Checks every range before it is read, and its bytes afterwards; raises ChunkDecodeError.
        bytes: Bytes read.
        written: Bytes written.
        requests: Read requests.
        puts: Write requests.
        absent: Keys read since `reset_errors` that do not exist.
        failures: Errors of the store since `reset_errors`, as opposed to damaged chunks.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.validator: ChunkValidator | None = None
        self.bytes = self.written = 0
        self.requests = self.puts = 0
        self._buffer = np.empty(0, np.uint8)
        self.reset_errors()

    @property
    def io_counters(self) -> Counter[str]:
        """Store traffic so far, by field name of `TaskResult`."""
        retries = sum(store.retries for store in _inner_stores(self._store) if isinstance(store, RetryingStore))
        return Counter(
            bytes_read=self.bytes, bytes_written=self.written, requests=self.requests, puts=self.puts, repeated=retries
        )

    @property
    def local(self) -> bool:
        """True for a store on a local disk, where prefetching gains nothing."""
        return is_local_store(self._store)

    def follow_links(self, array: zarr.Array[Any], options: Mapping[str, Any]) -> None:
        """Read the chunks of the array of this store from the files that it is linked to, if it is."""
        settings = LinkSettings.of(array.attrs.asdict())
        if settings is not None:

            def open_place(url: str) -> Store:
                return open_store(url, options_for(url, options), read_only=True)

            size = math.prod(array.chunks) * array.dtype.itemsize
            self._store = LinkedStore(self._store, settings, size, open_place)

    def describe_file(self, key: str) -> str:
        """Name the file that a chunk is linked to, in brackets; "" for a stored chunk."""
        link = self._store.cached_link(key) if isinstance(self._store, LinkedStore) else None
        return "" if link is None else f" (file {link.url})"

    def reset_errors(self) -> None:
        """Forget absent keys and failures before a read."""
        self.absent: list[str] = []
        self.failures: list[Exception] = []

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object or a range of it after validation."""
        if self.validator is not None:
            self.validator.check_range(key, byte_range)
        try:
            value = await self.fetch(key, byte_range, prototype)
        except ChunkDecodeError:
            raise
        except Exception as e:
            self.failures.append(e)
            raise
        if value is None:
            self.absent.append(key)
        elif self.validator is not None:
            self.validator.check_bytes(key, value, byte_range)
        return value

    async def fetch(
        self, key: str, byte_range: ByteRequest | None, prototype: BufferPrototype | None = None
    ) -> Buffer | None:
        """Return an object or a range of it, counted but not validated; None if it does not exist."""
        self.requests += 1
        if byte_range is None and self.validator is not None:
            self._limit_object(key, self.validator)
        try:
            value = await super().get(key, prototype or default_buffer_prototype(), byte_range)
        except _ObjectTooLarge as e:
            assert self.validator is not None
            self.validator.check_object(key, *e.args)
            raise
        except DamagedMemberError as e:
            if self.validator is None:
                raise
            raise self.validator.decode_error(key, str(e)) from e
        self.bytes += 0 if value is None else len(value)
        return value

    def _limit_object(self, key: str, validator: ChunkValidator) -> None:
        """Refuse an object that is too large: here on a local disk, else when the store answers with its size."""
        store = self._store._store if isinstance(self._store, RetryingStore) else self._store
        if isinstance(store, _BucketStore | ZipStore):
            store.max_bytes = validator.max_object_bytes
        elif isinstance(store, LocalStore):
            with contextlib.suppress(OSError):
                validator.check_object(key, (store.root / key).stat().st_size)

    def iter_local(self, ranges: list[ObjectRange]) -> Iterator[NDArray[np.uint8] | None]:
        """Yield the bytes of objects of a local store, None for an absent one.

        Args:
            ranges: Objects and byte ranges.

        Yields:
            Bytes in a buffer that the next step overwrites.
        """
        for key, byte_range in ranges:
            if isinstance(self._store, LinkedStore):
                yield self._read_linked(self._store, key)
            elif isinstance(self._store, LocalStore):
                yield self._read_local(self._store.root / key, key, byte_range)
            else:
                value = sync(self.get(key, default_buffer_prototype(), byte_range))
                yield None if value is None else value.as_numpy_array()

    def _read_local(self, path: Path, key: str, byte_range: ByteRequest | None) -> NDArray[np.uint8] | None:
        self.requests += 1
        try:
            with path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if byte_range is None and self.validator is not None:
                    self.validator.check_object(key, size)
                elif isinstance(byte_range, RangeByteRequest):
                    file.seek(byte_range.start)
                    size = max(0, min(size, byte_range.end) - byte_range.start)
                if self._buffer.size < size:
                    self._buffer = np.empty(size + size // 4, np.uint8)
                data = self._buffer[:size]
                data = data[: file.readinto(data.data)]
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except ChunkDecodeError:
            raise
        except Exception as e:
            self.failures.append(e)
            raise
        self.bytes += data.size
        self.validate(key, data, byte_range)
        return data

    def _read_linked(self, store: LinkedStore, key: str) -> NDArray[np.uint8] | None:
        self.requests += 1
        try:
            link = store.cached_link(key) or sync(store.find_link(key))
            assert link is not None
            if self._buffer.size < link.buffer_bytes:
                self._buffer = np.empty(link.buffer_bytes, np.uint8)
            values = read_values(link.url, link, self._buffer)
            self.bytes += 0 if values is None else link.stored
            return values
        except DamagedMemberError as e:
            if self.validator is None:
                raise
            raise self.validator.decode_error(key, str(e)) from e
        except Exception as e:
            self.failures.append(e)
            raise

    def validate(self, key: str, data: NDArray[np.uint8], byte_range: ByteRequest | None) -> None:
        """Validate bytes read by `fetch`."""
        if self.validator is not None:
            self.validator.check_bytes(key, default_buffer_prototype().buffer.from_array_like(data), byte_range)

    def read_range(self, key: str, byte_range: ByteRequest) -> Buffer | None:
        """Return a range of an object, or None if the object does not exist."""
        return sync(self.get(key, default_buffer_prototype(), byte_range))

    def first_absent(self) -> str | None:
        """Return the first absent key in natural order."""
        return min(self.absent, key=natural_sort_key, default=None)

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object."""
        self.puts += 1
        await super().set(key, value)
        self.written += len(value)


def _inner_stores(store: Store) -> Iterator[Store]:
    if isinstance(store, ZipStore):
        yield store._store
    elif isinstance(store, LinkedStore):
        for place in store.places:
            yield from _inner_stores(place)
    else:
        yield store


def open_store(
    url: str,
    options: Mapping[str, Any],
    *,
    read_only: bool,
    attempts: int = MAX_ATTEMPTS,
    concurrency: int = MAX_CONCURRENT_REQUESTS,
) -> Store:
    """Open the Zarr store of a URL, with retries and bounded concurrency if it is on a network."""
    if (parts := split_archive_url(url)) is not None:
        return _open_archive(*parts, options, read_only=read_only, attempts=attempts)
    path = local_path(url)
    if path is not None:
        return LocalStore(path, read_only=read_only)
    reject_password(url)
    if (objects := obstore_store(url, options)) is not None:
        return RetryingStore(_BucketStore(objects, read_only=read_only), url, attempts, concurrency)
    if cloud_of(url):
        filesystem, prefix = open_filesystem(url, options, attempts=1, asynchronous=True)
        return RetryingStore(FsspecStore(filesystem, path=prefix, read_only=read_only), url, attempts, concurrency)
    try:
        store = FsspecStore.from_url(url, read_only=read_only)
    except (ValueError, ImportError) as e:
        raise unsupported_url_error(url, e) from e
    return RetryingStore(store, url, attempts, concurrency)


def _open_archive(archive: str, node: str, options: Mapping[str, Any], *, read_only: bool, attempts: int) -> ZipStore:
    if not read_only:
        raise UsageError(f"{archive} is a zip archive", "Archives are read-only", "Pass the URL of a directory")
    members = list_members(archive, options)
    parent, _, name = archive.rpartition("/")
    return ZipStore(open_store(parent or "/", options, read_only=True, attempts=attempts), name, members, node)


def list_objects(url: str, options: Mapping[str, Any]) -> Iterator[tuple[str, obstore.ObjectMeta]] | None:
    """List the names of all objects below a URL with obstore's metadata; None if obstore is not the client."""
    place = obstore_store(url, options, MAX_ATTEMPTS)
    if place is None:
        return None
    start = len(place.path) + 1 if place.path else 0
    return ((facts["path"][start:], facts) for page in place.store.list(place.path or None) for facts in page)


def open_bare_array(url: str, options: Mapping[str, Any], attempts: int = MAX_ATTEMPTS) -> zarr.Array[Any]:
    """Open a Zarr array, version 2 or 3, read-only. A missing one raises FileNotFoundError."""
    return zarr.open_array(open_store(url, options, read_only=True, attempts=attempts), mode="r")
