"""Objects below a path of a bucket whose store is shared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from obstore.store import MemoryStore
from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import default_buffer_prototype

from masksift.storage.clients import BucketPath
from masksift.storage.zarr.stores import _BucketStore

KEYS = ("zarr.json", "a/zarr.json", "a/c/0", "ab/zarr.json")


async def collect(names: AsyncIterator[str]) -> list[str]:
    return sorted([name async for name in names])


@pytest.mark.parametrize("path", ["lake/run", ""])
def test_store_below_a_path_sees_and_removes_its_own_objects_only(path: str) -> None:
    bucket, prototype = MemoryStore(), default_buffer_prototype()
    store = _BucketStore(BucketPath(bucket, path))  # type: ignore[arg-type]
    sibling = _BucketStore(BucketPath(bucket, f"{path}-2"))  # type: ignore[arg-type]

    async def use() -> None:
        for number, key in enumerate(KEYS):
            await store.set(key, prototype.buffer.from_bytes(b"x" * (number + 1)))
        if path:
            await sibling.set("a/c/0", prototype.buffer.from_bytes(b"sibling"))
            assert store != sibling
        assert await collect(store.list()) == sorted(KEYS)
        assert await collect(store.list_prefix("a/")) == ["a/c/0", "a/zarr.json"]
        assert await collect(store.list_dir("")) == ["a", "ab", "zarr.json"]
        assert await collect(store.list_dir("a")) == ["c", "zarr.json"]
        assert await store.getsize("a/c/0") == 3
        assert (await store.exists("a/c/0"), await store.exists("a/c/1")) == (True, False)
        value = await store.get("a/c/0", prototype, RangeByteRequest(1, 3))
        assert value is not None
        assert value.to_bytes() == b"xx"
        store.max_bytes = 1
        with pytest.raises(ValueError, match="3"):
            await store.get("a/c/0", prototype)
        await store.set_if_not_exists("a/c/0", prototype.buffer.from_bytes(b"other"))
        assert await store.getsize("a/c/0") == 3
        await store.delete_dir("a")
        await store.delete("ab/zarr.json")
        assert await collect(store.list()) == ["zarr.json"]
        if path:
            assert await collect(sibling.list()) == ["a/c/0"]

    asyncio.run(use())
