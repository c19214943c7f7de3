"""Read and write the metadata of a group and of several of its arrays at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

import zarr
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import StorePath, WrapperStore

from masksift.core.limits import MAX_CONCURRENT_METADATA_REQUESTS
from masksift.core.retry import MAX_ATTEMPTS
from masksift.storage.zarr.stores import open_store

_V3, _V2_GROUP, _V2_ARRAY = "zarr.json", (".zgroup", ".zattrs"), (".zarray", ".zattrs")


class MetadataStore(WrapperStore[Store]):
    """Store that reads some metadata objects once, all at a time, and asks for no object of another Zarr format.

    A source has up to seven arrays. Opened one after the other, they take as many round trips to a store on a network.

    Args:
        store: Store of a group.
        names: Names of arrays in the group, which may be missing.
    """

    def __init__(self, store: Store, names: Iterable[str] = ()) -> None:
        super().__init__(store)
        stripped = dict.fromkeys(name.strip("/") for name in names)
        # zarr refuses the others with an error when they are opened
        self._names = [name for name in stripped if not {"", ".", ".."} & set(name.split("/"))]
        self._objects: dict[str, Buffer | BaseException | None] = {}

    def _with_store(self, store: Store) -> MetadataStore:
        other = MetadataStore(store, self._names)
        other._objects = self._objects
        return other

    async def prefetch(self) -> None:
        """Read the metadata objects. An error is raised where zarr reads the object."""
        await self._fetch([_V3, *(f"{name}/{_V3}" for name in self._names)])
        if self._objects[_V3] is None:
            await self._fetch([*_V2_GROUP, *(f"{name}/{key}" for name in self._names for key in _V2_ARRAY)])
        else:
            self._objects |= dict.fromkeys(_V2_GROUP)
        self._objects[".zmetadata"] = None  # consolidated metadata, which may be older than the arrays

    async def _fetch(self, keys: list[str]) -> None:
        prototype = default_buffer_prototype()
        values = await asyncio.gather(*(self._store.get(key, prototype) for key in keys), return_exceptions=True)
        self._objects |= dict(zip(keys, values, strict=True))

    def is_missing(self, name: str) -> bool:
        """Return whether the store has no member of this name, if that was read."""
        return self._objects.get(_V3) is not None and self._objects.get(f"{name}/{_V3}", b"") is None

    def read_array(self, name: str) -> zarr.Array[Any] | None:
        """Return an array of version 3 whose metadata were read; None for all else, which zarr opens."""
        value = self._objects.get(f"{name}/{_V3}")
        if not isinstance(value, Buffer):
            return None
        metadata = json.loads(value.to_bytes())
        if not isinstance(metadata, dict) or metadata.get("node_type") != "array":
            return None
        return zarr.Array.from_dict(StorePath(self, name), metadata)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object or a range of it; a prefetched one without a request."""
        if byte_range is not None or key not in self._objects:
            return await super().get(key, prototype, byte_range)
        value = self._objects[key]
        if isinstance(value, BaseException):
            raise value
        return value


def _open_store(url: str, options: Mapping[str, Any], attempts: int = MAX_ATTEMPTS, *, read_only: bool) -> Store:
    return open_store(
        url, options, read_only=read_only, attempts=attempts, concurrency=MAX_CONCURRENT_METADATA_REQUESTS
    )


def write_metadata(url: str, options: Mapping[str, Any], objects: Mapping[str, bytes]) -> None:
    """Write metadata objects by key below a URL, all at a time. Existing ones are overwritten."""
    store, make_buffer = _open_store(url, options, read_only=False), default_buffer_prototype().buffer.from_bytes

    async def write() -> None:
        await asyncio.gather(*(store.set(key, make_buffer(data)) for key, data in objects.items()))

    sync(write())


def open_member(group: zarr.Group, name: str) -> zarr.Array[Any] | zarr.Group | None:
    """Open an array or a group in a group.

    One whose metadata were read with the group is made here: a source has seven names, and a call of zarr, which waits
    for its event loop, takes 0.2 ms.

    Args:
        group: The group.
        name: Name of the member.

    Returns:
        The member; None for a missing one.

    Raises:
        KeyError: The metadata lack a key.
    """
    store, path = group.store_path.store, "/".join(filter(None, (group.path, name.strip("/"))))
    if isinstance(store, MetadataStore):
        if store.is_missing(path):
            return None
        if (array := store.read_array(path)) is not None:
            return array
    try:
        return group[name]
    except KeyError as e:
        if name in str(e):
            return None
        raise


def open_group(
    url: str, options: Mapping[str, Any], attempts: int = MAX_ATTEMPTS, names: Iterable[str] = ()
) -> zarr.Group:
    """Open a Zarr group, version 2 or 3, read-only.

    Args:
        url: URL of the group.
        options: Storage options by cloud.
        attempts: Upper bound of the attempts at one request.
        names: Names of arrays whose metadata are read together with those of the group.

    Returns:
        The group.

    Raises:
        FileNotFoundError: There is no group.
    """
    store = MetadataStore(_open_store(url, options, attempts, read_only=True), names)
    sync(store.prefetch())
    return zarr.open_group(store, mode="r", use_consolidated=False)
