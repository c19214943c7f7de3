"""Requests to a store that are not answered, or answered by a fault of the store, are made again after a pause.

Stores on a network are slow for a moment (503), close connections, and forget to answer. All that is asked of them here
may be asked twice: an object is read, or put as a whole under a name that is its own. The clients' own repetitions are
switched off: they count nowhere, and each client has other rules.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import obstore.exceptions as obstore_says

from masksift.core.errors import RunFailed, cause_of
from masksift.runtime.telemetry.logs import logger

T = TypeVar("T")

log = logger(__name__)

MAX_ATTEMPTS = 12
"""Times that a request is made, at most: half a minute at least, in which a server starts again."""
MAX_ATTEMPTS_ON_OPEN = 5
"""Times where a source or a folder is looked at for the first time: its address may just be wrong."""
INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.2, 10.0
"""Seconds: the first pause, and the longest. Each is twice the one before, and a draw decides how much of its second
half is waited, so that a thousand workers do not come back at once (Brooker 2015, *Exponential backoff and jitter*:
"equal jitter")."""
REQUEST_TIMEOUT_SECONDS = 20.0
"""Seconds without an answer after which a request is given up. The next time it is twice as long: what is large takes
its time."""

WARN_AFTER_ATTEMPTS = 4
"""Failed attempts at one request from which on the log warns: stores are slow for a moment every day."""

_ABSENT = (
    FileNotFoundError,
    NotADirectoryError,
    IsADirectoryError,
    FileExistsError,
    obstore_says.NotFoundError,
    obstore_says.AlreadyExistsError,
    obstore_says.PreconditionError,
)
"""Answers, not faults."""
_PERMISSION_ERRORS = (PermissionError, obstore_says.PermissionDeniedError, obstore_says.UnauthenticatedError)
_NON_RETRYABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    MemoryError,
    NotImplementedError,
    ImportError,
    obstore_says.InvalidPathError,
    obstore_says.NotSupportedError,
    obstore_says.UnknownConfigurationKeyError,
)
"""Faults of whoever asks: the same request would meet them again."""
_NO_KEYS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")


class StoreUnavailable(RunFailed):
    """A store that did not answer in all the attempts that were made, or that refuses."""


class RetryPolicy:
    """Makes the requests of one user of a store. ``repeated``: how many it has made again."""

    def __init__(self, attempts: int = MAX_ATTEMPTS) -> None:
        self._attempts = attempts
        self.repeated = 0

    async def call_async(self, request: Callable[[], Awaitable[T]], what: str, slots: asyncio.Semaphore) -> T:
        """What the request answers. ``what``: names it in an error; ``slots``: one is held while it is under way.
        Raises Unanswered; what says that an object is there, or is not, passes through."""
        begun, silences, attempt = time.monotonic(), 0, 0
        while True:
            attempt += 1
            try:
                async with slots:
                    return await asyncio.wait_for(request(), REQUEST_TIMEOUT_SECONDS * 2**silences)
            except Exception as e:
                silences += isinstance(e, TimeoutError)
                pause = self._pause_after(e, what, attempt, begun)
            await asyncio.sleep(pause)

    def call(self, request: Callable[[], T], what: str) -> T:
        """As `awaited`, for a function that waits itself, and gives up by itself."""
        begun, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            try:
                return request()
            except Exception as e:
                time.sleep(self._pause_after(e, what, attempt, begun))

    def _pause_after(self, error: Exception, what: str, attempt: int, begun: float) -> float:
        """Seconds to wait before the request is made again. Raises where it is not to be."""
        if isinstance(error, (*_ABSENT, *_NON_RETRYABLE)) or type(error).__name__ in _NO_KEYS:
            raise error
        said = cause_of(error)
        if isinstance(error, _PERMISSION_ERRORS):
            raise StoreUnavailable(
                f"the store refuses {what} ({said})",
                "the run cannot go on; what is done is kept",
                "See that the keys may read the sources and write the results, and run the same command again",
            ) from error
        if attempt >= self._attempts:
            raise StoreUnavailable(
                f"the store did not answer {what} in {attempt} attempts over {time.monotonic() - begun:.0f} s ({said})",
                "the run cannot go on; what is done is kept",
                "See whether the store is well, and run the same command again",
            ) from error
        self.repeated += 1
        most = min(MAX_BACKOFF_SECONDS, INITIAL_BACKOFF_SECONDS * 2 ** (attempt - 1))
        pause = random.uniform(most / 2, most)
        level = logging.WARNING if attempt >= WARN_AFTER_ATTEMPTS else logging.INFO
        log.log(level, "attempt %d at %s failed (%s): again in %.1f s", attempt, what, said, pause)
        return pause
