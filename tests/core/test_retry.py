"""Retry policy: attempts, backoff, timeouts and deadlines, for plain and for coroutine functions."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.core import retry
from masksift.core.errors import summarize_error
from masksift.core.retry import MAX_ATTEMPTS, RetryPolicy


@pytest.fixture(autouse=True)
def backoffs(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record backoffs instead of sleeping. Other threads of this process still sleep."""
    recorded: list[float] = []

    async def sleep(seconds: float) -> None:
        recorded.append(seconds)

    monkeypatch.setattr(retry, "time", SimpleNamespace(**{**vars(time), "sleep": recorded.append}))
    monkeypatch.setattr(retry, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    return recorded


class FlakyServer:
    """Raise an error a number of times, then answer."""

    def __init__(self, error: Exception, failures: int) -> None:
        self.error, self.failures, self.requests = error, failures, 0

    def answer(self) -> str:
        self.requests += 1
        if self.requests <= self.failures:
            raise self.error
        return "answer"

    async def answer_async(self) -> str:
        return self.answer()


def is_os_error(error: Exception) -> bool:
    return isinstance(error, OSError)


def call_async(policy: RetryPolicy, request: Callable[[], Awaitable[str]]) -> str:
    async def run() -> str:
        return await policy.call_async(request, "target", asyncio.Semaphore(2))

    return asyncio.run(run())


CALLS: dict[str, Callable[[RetryPolicy, FlakyServer], str]] = {
    "call": lambda policy, server: policy.call(server.answer, "target"),
    "call_async": lambda policy, server: call_async(policy, server.answer_async),
}


@pytest.mark.parametrize("call", CALLS)
def test_policy_with_transient_errors_retries_until_the_answer(call: str, backoffs: list[float]) -> None:
    policy, server = RetryPolicy(is_os_error), FlakyServer(OSError("busy"), 3)
    assert CALLS[call](policy, server) == "answer"
    assert (server.requests, policy.retries, len(backoffs)) == (4, 3, 3)


@pytest.mark.parametrize("call", CALLS)
def test_policy_after_the_last_attempt_raises_the_last_error(call: str) -> None:
    policy, server = RetryPolicy(is_os_error, max_attempts=5), FlakyServer(OSError("busy"), 1000)
    with pytest.raises(OSError, match="busy"):
        CALLS[call](policy, server)
    assert (server.requests, policy.retries) == (5, 4)


@pytest.mark.parametrize("call", CALLS)
def test_policy_with_a_permanent_error_raises_it_at_once(call: str) -> None:
    server = FlakyServer(ValueError("wrong"), 1000)
    with pytest.raises(ValueError, match="wrong"):
        CALLS[call](RetryPolicy(is_os_error), server)
    assert server.requests == 1


def test_policy_after_the_deadline_makes_no_further_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(retry, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    policy = RetryPolicy(is_os_error, max_attempts=math.inf, deadline_seconds=60)
    with pytest.raises(OSError, match="busy"):
        policy.call(FlakyServer(OSError("busy"), 1000).answer, "target")
    assert 60 <= now < 60 + retry.MAX_BACKOFF_SECONDS


def test_policy_after_a_timeout_doubles_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []
    original = asyncio.wait_for

    async def wait_for(request: Any, limit: float) -> Any:
        limits.append(limit)
        return await original(request, None if len(limits) > 3 else 0.001)

    async def request() -> str:
        if len(limits) <= 3:
            await asyncio.Event().wait()
        return "answer"

    monkeypatch.setattr(retry.asyncio, "wait_for", wait_for)
    assert call_async(RetryPolicy(is_os_error, timeout_seconds=20), request) == "answer"
    assert limits == [20, 40, 80, 160]


def test_backoff_doubles_up_to_its_bound_with_equal_jitter(backoffs: list[float]) -> None:
    for _ in range(50):
        with pytest.raises(OSError, match="busy"):
            RetryPolicy(is_os_error).call(FlakyServer(OSError("busy"), 1000).answer, "target")
    by_call = list(zip(*[iter(backoffs)] * (MAX_ATTEMPTS - 1), strict=True))
    for attempt, drawn in enumerate(zip(*by_call, strict=True)):
        bound = min(retry.MAX_BACKOFF_SECONDS, retry.INITIAL_BACKOFF_SECONDS * 2**attempt)
        assert bound / 2 <= min(drawn) < max(drawn) <= bound
        assert max(drawn) > 3 / 4 * bound, "50 draws in the lower half: probability 1e-15"


def test_call_async_runs_no_more_requests_than_slots() -> None:
    running, most = 0, 0

    async def request() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(int))])
        running -= 1

    async def run() -> None:
        slots = asyncio.Semaphore(2)
        await asyncio.gather(*(RetryPolicy(is_os_error).call_async(request, "target", slots) for _ in range(10)))

    asyncio.run(run())
    assert most == 2


@given(st.text(max_size=400))
def test_cause_of_any_text_is_one_short_line(text: str) -> None:
    cause = summarize_error(Exception(text))
    assert cause.startswith("Exception")
    assert len(cause) <= 180
    assert not set("\n{<\\") & set(cause)
