"""Run independent calls one after the other or in threads, with the same results in the same order."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
Run = Callable[[Iterable[Call]], Iterator[Any]]
"""Run calls and yield their results lazily and in order."""


def call(function: Callable[..., Any], *arguments: Any) -> Call:
    """Defer a call, perhaps to another thread."""
    return function, arguments, {}


def serial(calls: Iterable[Call]) -> Iterator[Any]:
    """Run each call when its result is needed."""
    for function, arguments, keywords in calls:
        yield function(*arguments, **keywords)


@contextmanager
def thread_pool(workers: int) -> Iterator[Run]:
    """Run calls in threads: drawing and training spend most of their time in numpy, which releases the lock.

    Settings of the whole process that a call changes for itself, such as the threads of BLAS, must have the same values
    outside, because calls that overlap restore them in any order.

    Args:
        workers: Number of threads.

    Yields:
        The function that runs calls.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    def run(calls: Iterable[Call]) -> Iterator[Any]:
        pending = deque[Future[Any]]()
        for function, arguments, keywords in calls:
            pending.append(pool.submit(function, *arguments, **keywords))
            if len(pending) > 2 * workers:  # results wait for the caller: not too many at a time
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    with threadpool_limits(1), warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield run
