"""Run independent calls in this process or in several, with the same results in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
Run = Callable[[Iterable[Call]], Iterator[Any]]
"""Run calls and yield their results lazily and in order."""


def call(function: Callable[..., Any], *arguments: Any) -> Call:
    """Defer a call, perhaps to another process: `function` must be importable by name."""
    return function, arguments, {}


def serial(calls: Iterable[Call]) -> Iterator[Any]:
    """Run each call in this process when its result is needed."""
    for function, arguments, keywords in calls:
        yield function(*arguments, **keywords)


@contextmanager
def process_pool(workers: int) -> Iterator[Run]:
    """Run calls in processes that end with the context; fewer than 2 workers mean this process.

    Unlike those of the standard library, joblib's processes need no `if __name__ == "__main__":` in the caller's
    script.

    Args:
        workers: Number of processes.

    Yields:
        The function that runs calls.
    """
    if workers < 2:
        yield serial
        return
    from joblib import Parallel
    from joblib.externals.loky import get_reusable_executor

    try:
        yield Parallel(n_jobs=workers, return_as="generator")
    finally:
        # idle processes would hold their memory for five minutes while the run needs it
        get_reusable_executor().shutdown(wait=True)
