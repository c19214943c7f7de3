"""Overlap reads and writes with computation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

S = TypeVar("S")

T = TypeVar("T")


def read_ahead(read: Callable[[S, int], T], windows: Iterator[S]) -> Iterator[tuple[S, T]]:
    """Read one window ahead of the one that is worked on, in a thread of its own. ``read(window, turn)``: turns are 0
    and 1, one after the other; what was read in a turn has been worked on when the turn comes again."""
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        waiting = None
        for number, window in enumerate(windows):
            coming = (window, pool.submit(read, window, number % 2))
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = coming
        if waiting is not None:
            yield waiting[0], waiting[1].result()


class WriteBehind:
    """Does one thing after the other in a thread, while the work goes on: a store on a network takes its time to take
    something. ``at_once``: there is no use in that, and everything is done where it is asked for."""

    def __init__(self, *, at_once: bool) -> None:
        self._pool = None if at_once else ThreadPoolExecutor(1, thread_name_prefix="write-behind")
        self._last: Future[None] | None = None

    def __call__(self, act: Callable[..., None], *words: Any) -> None:
        """Do it; what was asked for before is done when this returns. Raises what that raised."""
        if self._pool is None:
            act(*words)
            return
        self.wait()
        self._last = self._pool.submit(act, *words)

    def wait(self) -> None:
        """Until all is done."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.wait()
        finally:
            if self._pool is not None:
                self._pool.shutdown()
