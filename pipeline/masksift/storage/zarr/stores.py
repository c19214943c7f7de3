"""The stores that Zarr arrays lie in: local folders, S3, whatever fsspec reaches; patient, bounded, and watched."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import zarr
from numpy.typing import NDArray
from obstore.store import S3Store
from zarr.abc.store import ByteRequest, RangeByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, ObjectStore, WrapperStore

from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.core.retry import MAX_ATTEMPTS
from masksift.storage.credentials import fsspec_kwargs, obstore_kwargs, reject_password, select_options
from masksift.storage.retry import StoreRetryPolicy
from masksift.storage.urls import join, local_path, unsupported_url_error
from masksift.storage.zarr.validation import natural_sort_key

T = TypeVar("T")
ObjectRange = tuple[str, ByteRequest | None]
"""An object of the store, or a part of it."""

_slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def _request_semaphore() -> asyncio.Semaphore:
    """What bounds the requests of this process, whichever array they are for."""
    return _slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(MAX_CONCURRENT_REQUESTS))


class RetryingStore(WrapperStore[Store]):
    """A store on a network, whose requests are made again where they fail. ``repeated``: how many were."""

    def __init__(self, store: Store, url: str, attempts: int) -> None:
        super().__init__(store)
        self._url, self._attempts = url, attempts
        self._retry = StoreRetryPolicy(attempts)

    def _with_store(self, store: Store) -> RetryingStore:
        return RetryingStore(store, self._url, self._attempts)

    @property
    def repeated(self) -> int:
        return self._retry.retries

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        ask = super().get
        return await self._retry.call_async(
            lambda: ask(key, prototype, byte_range), self._named(key), _request_semaphore()
        )

    async def set(self, key: str, value: Buffer) -> None:
        put = super().set
        await self._retry.call_async(lambda: put(key, value), self._named(key), _request_semaphore())

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        put = super().set_if_not_exists
        await self._retry.call_async(lambda: put(key, value), self._named(key), _request_semaphore())

    async def exists(self, key: str) -> bool:
        ask = super().exists
        return await self._retry.call_async(lambda: ask(key), self._named(key), _request_semaphore())

    async def delete(self, key: str) -> None:
        remove = super().delete
        await self._retry.call_async(lambda: remove(key), self._named(key), _request_semaphore())

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        names = super().list_prefix
        for name in await self._retry.call_async(
            lambda: _all(names(prefix)), self._named(prefix), _request_semaphore()
        ):
            yield name

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        names = super().list_dir
        for name in await self._retry.call_async(
            lambda: _all(names(prefix)), self._named(prefix), _request_semaphore()
        ):
            yield name

    def _named(self, key: str) -> str:
        return join(self._url, key) if key else self._url


async def _all(names: AsyncIterator[str]) -> list[str]:
    return [name async for name in names]


class InstrumentedStore(WrapperStore[Store]):
    """A store that counts what is read and written and notes the keys that were asked for and are not there.

    ``requests``, ``puts``: objects, or parts of them, asked for and put; ``failures``: what the store itself raised,
    which is no fault of a chunk; ``check``: looks at the bytes that come.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.check: Callable[[str, Buffer, ByteRequest | None], None] | None = None
        self.bytes = self.written = 0
        self.requests = self.puts = 0
        self._kept = np.empty(0, np.uint8)
        self.reset_errors()

    @property
    def io_counters(self) -> Counter[str]:
        """What went over the store so far, by field name of `TaskResult`."""
        repeated = self._store.repeated if isinstance(self._store, RetryingStore) else 0
        return Counter(
            bytes_read=self.bytes, bytes_written=self.written, requests=self.requests, puts=self.puts, repeated=repeated
        )

    @property
    def local(self) -> bool:
        """Whether it lies on this machine's disk, where nothing is gained by asking ahead."""
        return isinstance(self._store, LocalStore)

    def reset_errors(self) -> None:
        """Begin a read: nothing is noted yet."""
        self.absent: list[str] = []
        self.failures: list[Exception] = []

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        try:
            value = await self.fetch(key, byte_range, prototype)
        except Exception as e:
            self.failures.append(e)
            raise
        if value is None:
            self.absent.append(key)
        elif self.check is not None:
            self.check(key, value, byte_range)
        return value

    async def fetch(
        self, key: str, part: ByteRequest | None, prototype: BufferPrototype | None = None
    ) -> Buffer | None:
        """The bytes of an object or of a part of it, None where it is not there: counted, not looked at."""
        self.requests += 1
        value = await super().get(key, prototype or default_buffer_prototype(), part)
        self.bytes += 0 if value is None else len(value)
        return value

    def from_disk(self, parts: list[ObjectRange]) -> Iterator[NDArray[np.uint8] | None]:
        """The bytes of objects of a local store, or of parts of them, None for one that is not there; they lie in
        memory that the next one is read into."""
        assert isinstance(self._store, LocalStore)
        for part in parts:
            yield self._from_disk(self._store.root / part[0], *part)

    def _from_disk(self, path: Path, key: str, part: ByteRequest | None) -> NDArray[np.uint8] | None:
        self.requests += 1
        try:
            with path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if isinstance(part, RangeByteRequest):
                    file.seek(part.start)
                    size = max(0, min(size, part.end) - part.start)
                if self._kept.size < size:
                    self._kept = np.empty(size + size // 4, np.uint8)
                data = self._kept[:size]
                data = data[: file.readinto(data.data)]
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except Exception as e:
            self.failures.append(e)
            raise
        self.bytes += data.size
        self.validate(key, data, part)
        return data

    def validate(self, key: str, data: NDArray[np.uint8], part: ByteRequest | None) -> None:
        """Raises Unreadable where the bytes that came are not what they should be."""
        if self.check is not None:
            self.check(key, default_buffer_prototype().buffer.from_array_like(data), part)

    def part(self, key: str, part: ByteRequest) -> Buffer | None:
        """A part of an object, or None where there is none."""
        return sync(self.get(key, default_buffer_prototype(), part))

    def first_absent(self) -> str | None:
        """The first key that was asked for and is not there."""
        return min(self.absent, key=natural_sort_key, default=None)

    async def set(self, key: str, value: Buffer) -> None:
        self.puts += 1
        await super().set(key, value)
        self.written += len(value)


def open_store(url: str, options: Mapping[str, Any], *, read_only: bool, attempts: int = MAX_ATTEMPTS) -> Store:
    """The zarr store at a URL; one on a network makes each request so many times at most."""
    path = local_path(url)
    if path is not None:
        return LocalStore(path, read_only=read_only)
    reject_password(url)
    own = select_options(url, options)
    if own.get("client") == "obstore":
        return RetryingStore(ObjectStore(_s3_store(url, tuple(own.items())), read_only=read_only), url, attempts)
    try:
        store = FsspecStore.from_url(url, storage_options=fsspec_kwargs(own), read_only=read_only)
    except (ValueError, ImportError) as e:
        raise unsupported_url_error(url, e) from e
    if own:
        store.fs.retries = 1  # those of s3fs itself, beside those of the library below it
    return RetryingStore(store, url, attempts)


def list_objects(url: str, options: Mapping[str, Any]) -> Iterator[Any] | None:
    """Every object below a URL on S3, as obstore tells of it, in pages; None where another client is asked."""
    own = select_options(url, options)
    if own.get("client") != "obstore":
        return None
    return iter(_s3_store(url, tuple(own.items()), MAX_ATTEMPTS).list())


@lru_cache(maxsize=256)  # a block opens some arrays, and its worker many blocks: they share their connections
def _s3_store(url: str, options: tuple[tuple[str, Any], ...], attempts: int = 1) -> S3Store:
    bucket, _, prefix = url.split("://", 1)[1].strip("/").partition("/")
    return S3Store(bucket, prefix=prefix or None, **obstore_kwargs(dict(options), attempts))


def open_group(url: str, options: Mapping[str, Any], attempts: int = MAX_ATTEMPTS) -> zarr.Group:
    """The Zarr group (v2 or v3) at a URL, read-only, as it is now: consolidated metadata may be older than its arrays.
    Raises FileNotFoundError where there is none."""
    store = open_store(url, options, read_only=True, attempts=attempts)
    return zarr.open_group(store, mode="r", use_consolidated=False)
