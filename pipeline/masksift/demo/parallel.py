"""Independent calls, one after the other or on a few processes: the same answers in the same order either way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
Run = Callable[[Iterable[Call]], Iterator[Any]]
"""Makes the calls and gives their answers, lazily and in order."""


def call(function: Callable[..., Any], *arguments: Any) -> Call:
    """A call to be made later, perhaps elsewhere: `function` must be importable by name."""
    return function, arguments, {}


def serial(calls: Iterable[Call]) -> Iterator[Any]:
    """The definition of a run: each call when its answer is wanted."""
    for function, arguments, keywords in calls:
        yield function(*arguments, **keywords)


@contextmanager
def processes(workers: int) -> Iterator[Run]:
    """A run on so many processes, which end with the block; `workers` below 2 means this process.

    The processes are joblib's (it comes with scikit-learn): unlike those of the standard library, they need no
    `if __name__ == "__main__":` in the script that calls.
    """
    if workers < 2:
        yield serial
        return
    from joblib import Parallel
    from joblib.externals.loky import get_reusable_executor

    try:
        yield Parallel(n_jobs=workers, return_as="generator")
    finally:
        # Left alone they would wait for five minutes, holding their memory while the audit runs.
        get_reusable_executor().shutdown(wait=True)
