"""Prefetch the chunks of the next windows of an array from a network store.

An answer takes a tenth of a second whatever its size, so sequential requests would leave a worker waiting. Several
requests for the following windows run at once, bounded in bytes. Adjacent byte ranges are one request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest, RangeByteRequest
from zarr.core.buffer import Buffer
from zarr.core.sync import sync

from masksift.storage.zarr.stores import InstrumentedStore, ObjectRange
from masksift.storage.zarr.validation import ChunkDecodeError, MissingChunkError

MAX_REQUEST_BYTES = 8 << 20
"""Largest request into which adjacent byte ranges are merged."""

Slices = tuple[slice, ...]
Locate = Callable[[Slices], list[ObjectRange] | None]
Answer = asyncio.Task[Buffer | None]


@dataclass(frozen=True)
class CoalescedRequest:
    """One request for one or more byte ranges of an object.

    Attributes:
        key: Key of the object.
        byte_range: Requested range; None for the whole object.
        positions: Positions of the ranges in the list that was coalesced.
    """

    key: str
    byte_range: ByteRequest | None
    positions: tuple[int, ...]

    def slice_of(self, byte_range: ByteRequest | None) -> slice:
        """Return the slice of the answer that holds a byte range."""
        if not (isinstance(self.byte_range, RangeByteRequest) and isinstance(byte_range, RangeByteRequest)):
            return slice(None)
        return slice(byte_range.start - self.byte_range.start, byte_range.end - self.byte_range.start)


def coalesce(ranges: list[ObjectRange]) -> list[CoalescedRequest]:
    """Merge adjacent byte ranges of an object into requests."""
    requests: list[CoalescedRequest] = []
    for position in sorted(range(len(ranges)), key=lambda i: _sort_key(ranges[i])):
        key, byte_range = ranges[position]
        last = requests[-1] if requests else None
        if last is not None and last.key == key and _are_adjacent(last.byte_range, byte_range):
            merged = RangeByteRequest(last.byte_range.start, byte_range.end)  # type: ignore[union-attr]
            requests[-1] = CoalescedRequest(key, merged, (*last.positions, position))
        else:
            requests.append(CoalescedRequest(key, byte_range, (position,)))
    return requests


def _sort_key(item: ObjectRange) -> tuple[str, int]:
    return item[0], item[1].start if isinstance(item[1], RangeByteRequest) else 0


def _are_adjacent(first: ByteRequest | None, second: ByteRequest | None) -> bool:
    if not (isinstance(first, RangeByteRequest) and isinstance(second, RangeByteRequest)):
        return False
    return first.end == second.start and second.end - first.start <= MAX_REQUEST_BYTES


@dataclass(frozen=True)
class _PendingWindow:
    """A window with its byte ranges and the running requests for them."""

    window: Slices
    ranges: list[ObjectRange]
    requests: list[tuple[CoalescedRequest, Answer]]


class Prefetcher:
    """Fetch the chunks of an array's windows, with requests for the following windows in flight.

    Args:
        store: Store of the array.
        locate: Returns the byte ranges of a window, None if they are unknown.
        chunk_bytes: Decoded bytes of a chunk, taken as the size of a request for a whole object.
        max_bytes: Bound of the bytes in flight besides those of the current window.
    """

    def __init__(self, store: InstrumentedStore, locate: Locate, chunk_bytes: int, max_bytes: int) -> None:
        self._store, self._locate, self._chunk_bytes, self._max_bytes = store, locate, chunk_bytes, max_bytes
        self._following: Iterator[Slices] = iter(())
        self._next: Slices | None = None
        self._pending: deque[_PendingWindow] = deque()
        self._current: _PendingWindow | None = None

    def prefetch(self, windows: Iterable[Slices]) -> None:
        """Announce the windows that are read next, in this order. Other reads in between are allowed."""
        if not self._store.local:
            self._following, self._next = iter(windows), None
            self._pending.clear()

    def advance_to(self, window: Slices) -> None:
        """Prepare for the read of a window: stop waiting for those before it."""
        self._current = None
        if any(pending.window == window for pending in self._pending):
            while self._current is None or self._current.window != window:
                self._current = self._pending.popleft()
        elif not self._pending and self._peek() == window:
            self._next = None

    def fetch(self, window: Slices, ranges: list[ObjectRange]) -> Iterator[NDArray[np.uint8] | None]:
        """Return the bytes of each byte range of a window, None for an absent object.

        Damaged bytes raise ChunkDecodeError; errors of the store are raised unchanged.
        """
        if self._store.local:
            return self._store.iter_local(ranges)
        pending, self._current = self._current, None
        if pending is None or (pending.window, pending.ranges) != (window, ranges):
            pending = _PendingWindow(window, ranges, self._start(coalesce(ranges)))
        self._start_following()
        return self._iter_answers(pending)

    def _start(self, requests: list[CoalescedRequest]) -> list[tuple[CoalescedRequest, Answer]]:
        async def start() -> list[Answer]:
            tasks = [asyncio.ensure_future(self._store.fetch(request.key, request.byte_range)) for request in requests]
            for task in tasks:
                task.add_done_callback(_consume_exception)
            return tasks

        return list(zip(requests, sync(start()), strict=True))

    def _start_following(self) -> None:
        """Start the requests of the following windows up to the bound, but of one in any case."""
        in_flight = sum(self._size(request) for pending in self._pending for request, _ in pending.requests)
        while (window := self._peek()) is not None:
            try:
                ranges = self._locate(window)
            except (MissingChunkError, ChunkDecodeError):
                ranges = None
            if ranges is None:
                return  # the read of that window reports the reason
            requests = coalesce(ranges)
            in_flight += sum(map(self._size, requests))
            if self._pending and in_flight > self._max_bytes:
                return
            self._pending.append(_PendingWindow(window, ranges, self._start(requests)))
            self._next = None

    def _peek(self) -> Slices | None:
        if self._next is None:
            self._next = next(self._following, None)
        return self._next

    def _size(self, request: CoalescedRequest) -> int:
        span = request.byte_range
        return span.end - span.start if isinstance(span, RangeByteRequest) else self._chunk_bytes

    def _iter_answers(self, pending: _PendingWindow) -> Iterator[NDArray[np.uint8] | None]:
        answers: dict[int, NDArray[np.uint8] | None] = {}
        requests = iter(pending.requests)
        for position, (key, byte_range) in enumerate(pending.ranges):
            while position not in answers:
                request, answer = next(requests)
                data = self._wait(answer)
                for i in request.positions:
                    answers[i] = None if data is None else data[request.slice_of(pending.ranges[i][1])]
            chunk = answers.pop(position)
            if chunk is not None:
                self._store.validate(key, chunk, byte_range)
            yield chunk

    def _wait(self, answer: Answer) -> NDArray[np.uint8] | None:
        async def wait() -> Buffer | None:
            return await answer

        try:
            value = sync(wait())
        except ChunkDecodeError:
            raise
        except Exception as e:
            self._store.failures.append(e)
            raise
        return None if value is None else value.as_numpy_array()


def _consume_exception(task: Answer) -> None:
    """Consume the exception of an abandoned prefetch, so that asyncio does not log it as never retrieved."""
    if not task.cancelled():
        task.exception()
