"""Retry policy for requests over a network: bounded attempts, exponential backoff, jitter and timeouts."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import TypeVar

from masksift.core.errors import summarize_error

T = TypeVar("T")

MAX_ATTEMPTS = 12
"""Default for the attempts at one request: at least 30 s, in which a server can restart."""
INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.2, 10.0
"""Upper bounds of the first and of the longest backoff. The bound doubles with each attempt."""
WARN_AFTER_ATTEMPTS = 4
"""Failed attempts after which retries are logged as warnings: short slow phases of a server happen every day."""

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())


class RetryPolicy:
    """Retry requests that fail with a transient error.

    The backoff is drawn uniformly from the upper half of its bound, so that a thousand workers do not return at once
    ("equal jitter" in Brooker 2015, *Exponential Backoff and Jitter*). Only idempotent requests may be retried.

    Args:
        is_transient: Decides by the error if another attempt may succeed.
        max_attempts: Upper bound of the attempts at one request; `math.inf` for no bound.
        deadline_seconds: Time since the first attempt after which no further attempt is made.
        timeout_seconds: Limit of the first attempt of `call_async`; each attempt that times out doubles it.

    Attributes:
        retries: Attempts after the first one, over all requests of this object.
    """

    def __init__(
        self,
        is_transient: Callable[[Exception], bool],
        *,
        max_attempts: float = MAX_ATTEMPTS,
        deadline_seconds: float | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        self._is_transient = is_transient
        self._max_attempts = max_attempts
        self._deadline_seconds = deadline_seconds
        self._timeout_seconds = timeout_seconds
        self.retries = 0

    def call(self, request: Callable[[], T], target: str) -> T:
        """Call a function until it returns or fails for good.

        Args:
            request: The function. It enforces its own timeout.
            target: Name of what is requested, for log lines and errors.

        Returns:
            The result of the function.
        """
        started, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            try:
                return request()
            except Exception as e:
                time.sleep(self._backoff_seconds(e, target, attempt, started))

    async def call_async(
        self, request: Callable[[], Awaitable[T]], target: str, slots: asyncio.Semaphore | None = None
    ) -> T:
        """Await a coroutine function until it returns or fails for good.

        Args:
            request: Makes the awaitable of one attempt.
            target: Name of what is requested, for log lines and errors.
            slots: Semaphore held during each attempt, but not during the backoff.

        Returns:
            The result of the awaitable.
        """
        started, attempt, timeouts = time.monotonic(), 0, 0
        while True:
            attempt += 1
            limit = None if self._timeout_seconds is None else self._timeout_seconds * 2**timeouts
            try:
                async with slots or nullcontext():
                    return await asyncio.wait_for(request(), limit)
            except Exception as e:
                timeouts += isinstance(e, TimeoutError)
                backoff = self._backoff_seconds(e, target, attempt, started)
            await asyncio.sleep(backoff)

    def final_error(self, error: Exception, target: str, attempts: int, elapsed_seconds: float) -> Exception:
        """Return the error to raise after the last attempt, or for an error that is not transient."""
        return error

    def _backoff_seconds(self, error: Exception, target: str, attempt: int, started: float) -> float:
        """Return the time to wait before the next attempt, or raise the final error."""
        elapsed = time.monotonic() - started
        expired = self._deadline_seconds is not None and elapsed >= self._deadline_seconds
        if attempt >= self._max_attempts or expired or not self._is_transient(error):
            final = self.final_error(error, target, attempt, elapsed)
            if final is error:
                raise error
            raise final from error
        self.retries += 1
        bound = min(MAX_BACKOFF_SECONDS, INITIAL_BACKOFF_SECONDS * 2.0 ** min(attempt - 1, 60))
        backoff = random.uniform(bound / 2, bound)
        level = logging.WARNING if attempt >= WARN_AFTER_ATTEMPTS else logging.INFO
        log.log(level, "attempt %d at %s failed (%s), next in %.1f s", attempt, target, summarize_error(error), backoff)
        return backoff
