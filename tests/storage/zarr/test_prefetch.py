"""Prefetching: coalesced requests, a bound of bytes in flight, and unchanged results."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.abc.store import ByteRequest, RangeByteRequest

from masksift.storage.zarr import prefetch as prefetch_module
from masksift.storage.zarr.prefetch import coalesce
from masksift.storage.zarr.reader import ChunkReader
from masksift.storage.zarr.stores import InstrumentedStore, ObjectRange, open_store
from masksift.storage.zarr.validation import ChunkValidator

SHAPE = (12, 6, 8)


def store_array(chunks: tuple[int, ...], shards: tuple[int, ...] | None = None) -> str:
    """Store an array in the memory file system, which counts as a network store, and return its URL."""
    url = f"memory://{uuid.uuid4().hex}"
    array = zarr.create_array(
        open_store(url, {}, read_only=False), shape=SHAPE, dtype="uint16", chunks=chunks, shards=shards, fill_value=0
    )
    array.with_config({"write_empty_chunks": True})[...] = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    return url


def open_reader(url: str) -> tuple[ChunkReader, InstrumentedStore, zarr.Array[Any]]:
    store = InstrumentedStore(open_store(url, {}, read_only=True))
    array = zarr.open_array(store, mode="r")
    return ChunkReader(array, store, ChunkValidator(array, url, store.read_range)), store, array


def images(*edges: int) -> list[tuple[slice, ...]]:
    return [(slice(a, b), slice(0, 6), slice(0, 8)) for a, b in itertools.pairwise(edges)]


def read(chunks: ChunkReader, window: tuple[slice, ...]) -> np.ndarray[Any, Any] | None:
    out = np.zeros(tuple(part.stop - part.start for part in window), "uint16")
    return out if chunks.read(window, out) else None


def byte_range(key: str, start: int, stop: int) -> ObjectRange:
    return key, RangeByteRequest(start, stop)


def test_coalesce_merges_adjacent_ranges_of_an_object() -> None:
    requests = coalesce(
        [
            byte_range("a", 10, 20),
            byte_range("b", 0, 5),
            byte_range("a", 0, 10),
            byte_range("a", 21, 30),
            ("c", None),
            ("c", None),
        ]
    )
    assert [(request.key, request.byte_range, request.positions) for request in requests] == [
        ("a", RangeByteRequest(0, 20), (2, 0)),
        ("a", RangeByteRequest(21, 30), (3,)),
        ("b", RangeByteRequest(0, 5), (1,)),
        ("c", None, (4,)),
        ("c", None, (5,)),
    ]


def test_coalesce_limits_the_size_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch_module, "MAX_REQUEST_BYTES", 20)
    requests = coalesce([byte_range("a", n, n + 10) for n in range(0, 50, 10)])
    assert [request.byte_range for request in requests] == [
        RangeByteRequest(*edges) for edges in ((0, 20), (20, 40), (40, 50))
    ]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), unique=True, max_size=20))
def test_coalesce_requests_every_range_once(spans: list[tuple[str, int]]) -> None:
    content = {key: np.random.default_rng(ord(key)).integers(0, 255, 50, np.uint8) for key in "ab"}
    ranges = [byte_range(key, 5 * n, 5 * n + 5) for key, n in spans]
    requests = coalesce(ranges)
    assert sorted(position for request in requests for position in request.positions) == list(range(len(ranges)))
    for request in requests:
        assert isinstance(request.byte_range, RangeByteRequest)
        whole = content[request.key][request.byte_range.start : request.byte_range.end]
        for position in request.positions:
            key, own = ranges[position]
            assert isinstance(own, RangeByteRequest)
            np.testing.assert_array_equal(whole[request.slice_of(own)], content[key][own.start : own.end])


@given(
    form=st.sampled_from([((1, 6, 8), None), ((2, 3, 8), None), ((1, 3, 4), (4, 6, 8)), ((2, 6, 8), (12, 6, 8))]),
    announced=st.lists(st.integers(1, 11), unique=True, max_size=5).map(sorted),
    others=st.lists(st.tuples(st.integers(0, 11), st.integers(1, 12)).filter(lambda x: x[0] < x[1]), max_size=4),
    max_bytes=st.sampled_from([1, 300, 1 << 20]),
)
@settings(max_examples=60, deadline=None)
def test_reads_in_any_order_return_the_stored_values(
    form: Any, announced: list[int], others: list[tuple[int, int]], max_bytes: int
) -> None:
    chunks, _, array = open_reader(store_array(*form))
    chunks._prefetcher._max_bytes = max_bytes
    whole = np.asarray(array[...])
    expected = images(0, *announced, 12)
    chunks.prefetch(expected)
    order = [*expected]
    for number, (start, stop) in enumerate(others):
        order.insert(2 * number, (slice(start, stop), slice(0, 6), slice(0, 8)))
    for window in order:
        values = read(chunks, window)
        np.testing.assert_array_equal(values, whole[window])
    assert not chunks._prefetcher._pending, "every prefetched window was read"


@pytest.mark.parametrize(("chunks", "shards"), [((1, 6, 8), None), ((1, 3, 4), (4, 6, 8))])
def test_announced_windows_request_each_byte_once(chunks: tuple[int, ...], shards: Any) -> None:
    url = store_array(chunks, shards)
    prefetching, store, _ = open_reader(url)
    windows = images(*range(0, 13, 2))
    prefetching.prefetch(windows)
    before = store.bytes, store.requests
    for window in windows:
        assert read(prefetching, window) is not None
    sequential, other, _ = open_reader(url)
    for window in windows:
        assert read(sequential, window) is not None
    assert (store.bytes, store.requests) == (other.bytes, other.requests)
    assert store.requests - before[1] == (12 if shards is None else 3 * (1 + 2)), (
        "one index per shard, one request per window"
    )


def test_requests_in_flight_stay_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    prefetching, store, _ = open_reader(store_array((1, 6, 8)))
    size = 6 * 8 * 2
    prefetching._prefetcher._max_bytes = 3 * size
    prefetching.prefetch(images(*range(13)))
    requested: list[str] = []
    original = store.fetch

    async def fetch(key: str, byte_range: ByteRequest | None, *args: Any) -> Any:
        requested.append(key)
        return await original(key, byte_range, *args)

    monkeypatch.setattr(store, "fetch", fetch)
    for number, window in enumerate(images(*range(13)), 1):
        assert read(prefetching, window) is not None
        assert len(requested) == min(12, number + 3)


def test_local_store_is_not_prefetched(tmp_path: Any) -> None:
    array = zarr.create_array(str(tmp_path), shape=SHAPE, dtype="uint16", chunks=(1, 6, 8), fill_value=0)
    array.with_config({"write_empty_chunks": True})[...] = 7
    prefetching, store, _ = open_reader(str(tmp_path))
    prefetching.prefetch(images(*range(13)))
    before = store.requests
    assert read(prefetching, images(0, 1)[0]) is not None
    assert store.requests - before == 1


def test_missing_object_affects_only_its_window() -> None:
    url = store_array((1, 6, 8))
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.rm_file(f"{path}/c/2/0/0")
    prefetching, _, array = open_reader(url)
    whole = np.asarray(array[...])
    windows = images(*range(13))
    prefetching.prefetch(windows)
    for number, window in enumerate(windows):
        values = read(prefetching, window)
        if number == 2:
            assert values is None
        else:
            np.testing.assert_array_equal(values, whole[window])
