"""What the next windows need is asked for ahead: in fewer requests, within a bound, and with the same bytes."""

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

from masksift.storage.zarr import prefetch as ahead
from masksift.storage.zarr.prefetch import coalesce
from masksift.storage.zarr.reader import ChunkReader
from masksift.storage.zarr.stores import InstrumentedStore, ObjectRange, open_store
from masksift.storage.zarr.validation import ChunkValidator

SHAPE = (12, 6, 8)


def stored(chunks: tuple[int, ...], shards: tuple[int, ...] | None = None) -> str:
    """An array in memory, as one on a network is read; its URL."""
    url = f"memory://{uuid.uuid4().hex}"
    array = zarr.create_array(
        open_store(url, {}, read_only=False), shape=SHAPE, dtype="uint16", chunks=chunks, shards=shards, fill_value=0
    )
    array.with_config({"write_empty_chunks": True})[...] = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    return url


def reader(url: str) -> tuple[ChunkReader, InstrumentedStore, zarr.Array[Any]]:
    store = InstrumentedStore(open_store(url, {}, read_only=True))
    array = zarr.open_array(store, mode="r")
    return ChunkReader(array, store, ChunkValidator(array, url, store.part)), store, array


def images(*edges: int) -> list[tuple[slice, ...]]:
    return [(slice(a, b), slice(0, 6), slice(0, 8)) for a, b in itertools.pairwise(edges)]


def read(chunks: ChunkReader, window: tuple[slice, ...]) -> np.ndarray[Any, Any] | None:
    out = np.zeros(tuple(part.stop - part.start for part in window), "uint16")
    return out if chunks.read(window, out) else None


def part(key: str, start: int, stop: int) -> ObjectRange:
    return key, RangeByteRequest(start, stop)


def test_parts_that_touch_are_one_request() -> None:
    runs = coalesce([part("a", 10, 20), part("b", 0, 5), part("a", 0, 10), part("a", 21, 30), ("c", None), ("c", None)])
    assert [(run.key, run.part, run.places) for run in runs] == [
        ("a", RangeByteRequest(0, 20), (2, 0)),
        ("a", RangeByteRequest(21, 30), (3,)),
        ("b", RangeByteRequest(0, 5), (1,)),
        ("c", None, (4,)),
        ("c", None, (5,)),
    ]


def test_one_request_is_no_larger_than_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "MAX_REQUEST_BYTES", 20)
    runs = coalesce([part("a", n, n + 10) for n in range(0, 50, 10)])
    assert [run.part for run in runs] == [RangeByteRequest(*edges) for edges in ((0, 20), (20, 40), (40, 50))]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), unique=True, max_size=20))
def test_every_part_comes_in_one_request_as_it_was_asked_for(asked: list[tuple[str, int]]) -> None:
    content = {key: np.random.default_rng(ord(key)).integers(0, 255, 50, np.uint8) for key in "ab"}
    parts = [part(key, 5 * n, 5 * n + 5) for key, n in asked]
    runs = coalesce(parts)
    assert sorted(place for run in runs for place in run.places) == list(range(len(parts)))
    for run in runs:
        assert isinstance(run.part, RangeByteRequest)
        whole = content[run.key][run.part.start : run.part.end]
        for place in run.places:
            key, own = parts[place]
            assert isinstance(own, RangeByteRequest)
            np.testing.assert_array_equal(whole[run.share(own)], content[key][own.start : own.end])


@given(
    form=st.sampled_from([((1, 6, 8), None), ((2, 3, 8), None), ((1, 3, 4), (4, 6, 8)), ((2, 6, 8), (12, 6, 8))]),
    told=st.lists(st.integers(1, 11), unique=True, max_size=5).map(sorted),
    done=st.lists(st.tuples(st.integers(0, 11), st.integers(1, 12)).filter(lambda x: x[0] < x[1]), max_size=4),
    bound=st.sampled_from([1, 300, 1 << 20]),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_expected_what_is_read_is_what_is_stored(
    form: Any, told: list[int], done: list[tuple[int, int]], bound: int
) -> None:
    chunks, _, array = reader(stored(*form))
    chunks._ahead._bound = bound
    whole = np.asarray(array[...])
    expected = images(0, *told, 12)
    chunks.prefetch(expected)
    order = [*expected]
    for number, (start, stop) in enumerate(done):  # others in between
        order.insert(2 * number, (slice(start, stop), slice(0, 6), slice(0, 8)))
    for window in order:
        found = read(chunks, window)
        np.testing.assert_array_equal(found, whole[window])
    assert not chunks._ahead._coming, "nothing was asked for that nobody read"


@pytest.mark.parametrize(("chunks", "shards"), [((1, 6, 8), None), ((1, 3, 4), (4, 6, 8))])
def test_windows_read_as_expected_ask_for_each_byte_once(chunks: tuple[int, ...], shards: Any) -> None:
    url = stored(chunks, shards)
    there, store, _ = reader(url)
    windows = images(*range(0, 13, 2))
    there.prefetch(windows)
    before = store.bytes, store.requests
    for window in windows:
        assert read(there, window) is not None
    alone, other, _ = reader(url)
    for window in windows:
        assert read(alone, window) is not None
    assert (store.bytes, store.requests) == (other.bytes, other.requests)
    assert store.requests - before[1] == (12 if shards is None else 3 * (1 + 2)), "an index a shard, a request a window"


def test_what_is_under_way_stays_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    there, store, _ = reader(stored((1, 6, 8)))
    size = 6 * 8 * 2
    there._ahead._bound = 3 * size
    there.prefetch(images(*range(13)))
    asked: list[str] = []
    straight = store.fetch

    async def ask(key: str, part: ByteRequest | None, *more: Any) -> Any:
        asked.append(key)
        return await straight(key, part, *more)

    monkeypatch.setattr(store, "fetch", ask)
    for number, window in enumerate(images(*range(13)), 1):
        assert read(there, window) is not None
        assert len(asked) == min(12, number + 3)


def test_on_a_local_disk_nothing_is_asked_ahead(tmp_path: Any) -> None:
    array = zarr.create_array(str(tmp_path), shape=SHAPE, dtype="uint16", chunks=(1, 6, 8), fill_value=0)
    array.with_config({"write_empty_chunks": True})[...] = 7
    there, store, _ = reader(str(tmp_path))
    there.prefetch(images(*range(13)))
    before = store.requests
    assert read(there, images(0, 1)[0]) is not None
    assert store.requests - before == 1


def test_an_object_that_is_lost_is_lost_for_its_own_window_only() -> None:
    url = stored((1, 6, 8))
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.rm_file(f"{path}/c/2/0/0")
    there, _, array = reader(url)
    whole = np.asarray(array[...])
    windows = images(*range(13))
    there.prefetch(windows)
    for number, window in enumerate(windows):
        found = read(there, window)
        if number == 2:
            assert found is None
        else:
            np.testing.assert_array_equal(found, whole[window])
