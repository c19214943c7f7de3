"""What the next windows of an array need is asked of a store on a network before they are read.

One request at a time would leave a worker waiting: an answer takes a tenth of a second, whatever it holds. So several
are under way, for the windows that follow, within a bound of bytes. Parts that touch are asked for as one.
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
"""Parts that touch are one request up to this size."""

Slices = tuple[slice, ...]
Locate = Callable[[Slices], list[ObjectRange] | None]
Answer = asyncio.Task[Buffer | None]


@dataclass(frozen=True)
class CoalescedRequest:
    """One request, and the parts that its answer holds, by their place in a list. ``part``: None for a whole object."""

    key: str
    part: ByteRequest | None
    places: tuple[int, ...]

    def share(self, of: ByteRequest | None) -> slice:
        """Where a part of the object lies in the answer."""
        if not (isinstance(self.part, RangeByteRequest) and isinstance(of, RangeByteRequest)):
            return slice(None)
        return slice(of.start - self.part.start, of.end - self.part.start)


def coalesce(parts: list[ObjectRange]) -> list[CoalescedRequest]:
    """The requests that bring some parts: those of one object that touch are asked for together."""
    runs: list[CoalescedRequest] = []
    for place in sorted(range(len(parts)), key=lambda i: _place(parts[i])):
        key, part = parts[place]
        last = runs[-1] if runs else None
        if last is not None and last.key == key and _touch(last.part, part):
            both = RangeByteRequest(last.part.start, part.end)  # type: ignore[union-attr]
            runs[-1] = CoalescedRequest(key, both, (*last.places, place))
        else:
            runs.append(CoalescedRequest(key, part, (place,)))
    return runs


def _place(part: ObjectRange) -> tuple[str, int]:
    return part[0], part[1].start if isinstance(part[1], RangeByteRequest) else 0


def _touch(first: ByteRequest | None, second: ByteRequest | None) -> bool:
    if not (isinstance(first, RangeByteRequest) and isinstance(second, RangeByteRequest)):
        return False
    return first.end == second.start and second.end - first.start <= MAX_REQUEST_BYTES


@dataclass(frozen=True)
class _PendingWindow:
    """A window, its parts, and the requests that bring them."""

    window: Slices
    parts: list[ObjectRange]
    requests: list[tuple[CoalescedRequest, Answer]]


class Prefetcher:
    """Brings the parts of one array's windows. ``locate``: the parts of a window, None where that is not known;
    ``size``: decoded bytes of a chunk, the most that a whole object may hold; ``bound``: bytes under way at most,
    beside those of the window that is read."""

    def __init__(self, store: InstrumentedStore, locate: Locate, size: int, bound: int) -> None:
        self._store, self._locate, self._size, self._bound = store, locate, size, bound
        self._following: Iterator[Slices] = iter(())
        self._next: Slices | None = None
        self._coming: deque[_PendingWindow] = deque()
        self._arrived: _PendingWindow | None = None

    def prefetch(self, windows: Iterable[Slices]) -> None:
        """The windows that are read next, in this order; others in between are none the worse for it."""
        if not self._store.local:
            self._following, self._next = iter(windows), None
            self._coming.clear()

    def advance_to(self, window: Slices) -> None:
        """A window is about to be read, here or in another way: it and those before it are not waited for."""
        self._arrived = None
        if any(asked.window == window for asked in self._coming):
            while self._arrived is None or self._arrived.window != window:
                self._arrived = self._coming.popleft()
        elif not self._coming and self._peek() == window:
            self._next = None

    def fetch(self, window: Slices, parts: list[ObjectRange]) -> Iterator[NDArray[np.uint8] | None]:
        """The bytes of each part of a window, None for one that is not there. Raises Unreadable where they are not
        what they should be; errors of the store pass through."""
        if self._store.local:
            return self._store.from_disk(parts)
        asked, self._arrived = self._arrived, None
        if asked is None or (asked.window, asked.parts) != (window, parts):
            asked = _PendingWindow(window, parts, self._ask(coalesce(parts)))
        self._ask_ahead()
        return self._answers(asked)

    def _ask(self, runs: list[CoalescedRequest]) -> list[tuple[CoalescedRequest, Answer]]:
        async def begin() -> list[Answer]:
            tasks = [asyncio.ensure_future(self._store.fetch(run.key, run.part)) for run in runs]
            for task in tasks:
                task.add_done_callback(_seen)
            return tasks

        return list(zip(runs, sync(begin()), strict=True))

    def _ask_ahead(self) -> None:
        """Ask for the windows that follow, as far as the bound goes; for one in any case."""
        under_way = sum(self._bytes(run) for asked in self._coming for run, _ in asked.requests)
        while (window := self._peek()) is not None:
            try:
                parts = self._locate(window)
            except (MissingChunkError, ChunkDecodeError):
                parts = None
            if parts is None:
                return  # it comes out where that window is read
            runs = coalesce(parts)
            under_way += sum(map(self._bytes, runs))
            if self._coming and under_way > self._bound:
                return
            self._coming.append(_PendingWindow(window, parts, self._ask(runs)))
            self._next = None

    def _peek(self) -> Slices | None:
        if self._next is None:
            self._next = next(self._following, None)
        return self._next

    def _bytes(self, run: CoalescedRequest) -> int:
        return run.part.end - run.part.start if isinstance(run.part, RangeByteRequest) else self._size

    def _answers(self, asked: _PendingWindow) -> Iterator[NDArray[np.uint8] | None]:
        found: dict[int, NDArray[np.uint8] | None] = {}
        waiting = iter(asked.requests)
        for place, (key, part) in enumerate(asked.parts):
            while place not in found:
                run, answer = next(waiting)
                data = self._wait(answer)
                for inside in run.places:
                    found[inside] = None if data is None else data[run.share(asked.parts[inside][1])]
            own = found.pop(place)
            if own is not None:
                self._store.validate(key, own, part)
            yield own

    def _wait(self, answer: Answer) -> NDArray[np.uint8] | None:
        async def wait() -> Buffer | None:
            return await answer

        try:
            value = sync(wait())
        except Exception as e:
            self._store.failures.append(e)
            raise
        return None if value is None else value.as_numpy_array()


def _seen(task: Answer) -> None:
    """What failed for a window that nobody reads any more is nobody's loss."""
    if not task.cancelled():
        task.exception()
