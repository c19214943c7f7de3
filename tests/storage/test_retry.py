"""A request that is not answered is made again, a bounded number of times; an answer is an answer, whatever it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import obstore.exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.core.errors import cause_of
from masksift.storage import retry as patience
from masksift.storage.retry import MAX_ATTEMPTS, RetryPolicy, StoreUnavailable
from support.sources import refuses


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that it made, none of which is waited for. Other threads of this process sleep as they do."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(patience, "time", SimpleNamespace(**{**vars(time), "sleep": made.append}))
    monkeypatch.setattr(patience, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    return made


class Store:
    """Fails so many times with an error, then answers."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.times, self.asked = error, times, 0

    def call(self) -> str:
        self.asked += 1
        if self.asked <= self.times:
            raise self.error
        return "answer"

    async def ask(self) -> str:
        return self.call()


def waited(patience: RetryPolicy, request: Callable[[], Awaitable[str]]) -> str:
    async def run() -> str:
        return await patience.call_async(request, "s3://lake/x", asyncio.Semaphore(2))

    return asyncio.run(run())


BOTH: dict[str, Callable[[RetryPolicy, Store], str]] = {
    "awaited": lambda patience, store: waited(patience, store.ask),
    "called": lambda patience, store: patience.call(store.call, "s3://lake/x"),
}
PASSING: list[Exception] = [
    OSError(16, "SlowDown"),
    ConnectionResetError(),
    TimeoutError(),
    obstore.exceptions.GenericError("503"),
]


@pytest.mark.parametrize("way", BOTH)
@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_passes_is_waited_for(way: str, error: Exception, pauses: list[float]) -> None:
    patience, store = RetryPolicy(), Store(error, 3)
    assert BOTH[way](patience, store) == "answer"
    assert (store.asked, patience.repeated) == (4, 3)
    assert len(pauses) == 3


@pytest.mark.parametrize("way", BOTH)
def test_what_does_not_pass_is_given_up_and_said(way: str) -> None:
    patience, store = RetryPolicy(), Store(OSError("SlowDown"), 1000)
    with refuses(
        StoreUnavailable, r"^the store did not answer s3://lake/x in 12 attempts over 0 s \(OSError: SlowDown\); "
    ):
        BOTH[way](patience, store)
    assert (store.asked, patience.repeated) == (MAX_ATTEMPTS, MAX_ATTEMPTS - 1)


@pytest.mark.parametrize("way", BOTH)
@pytest.mark.parametrize(
    "error", [FileNotFoundError("x"), FileExistsError("x"), ValueError("ours"), MemoryError("ours")], ids=repr
)
def test_answers_and_faults_of_our_own_pass_through_at_once(way: str, error: Exception) -> None:
    store = Store(error, 1000)
    with pytest.raises(type(error), match=r"x|ours"):
        BOTH[way](RetryPolicy(), store)
    assert store.asked == 1


@pytest.mark.parametrize("way", BOTH)
def test_a_refusal_is_said_without_what_the_server_quotes(way: str) -> None:
    said = "Access denied {body: <AWSAccessKeyId>AKIA-SECRET</AWSAccessKeyId>}"
    store = Store(obstore.exceptions.PermissionDeniedError(said), 1000)
    with refuses(StoreUnavailable, r"^the store refuses s3://lake/x \(PermissionDeniedError: Access denied\); "):
        BOTH[way](RetryPolicy(), store)
    assert store.asked == 1


def test_silence_is_given_up_and_the_next_time_waited_for_twice_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []
    straight = asyncio.wait_for

    async def wait_for(request: Any, limit: float) -> Any:
        limits.append(limit)
        return await straight(request, None if len(limits) > 3 else 0.001)

    async def request() -> str:
        if len(limits) <= 3:
            await asyncio.Event().wait()
        return "answer"

    monkeypatch.setattr(patience.asyncio, "wait_for", wait_for)
    assert waited(RetryPolicy(), request) == "answer"
    assert limits == [20, 40, 80, 160]


def test_pauses_grow_are_bounded_and_are_drawn(pauses: list[float]) -> None:
    for _ in range(50):
        with pytest.raises(StoreUnavailable, match="did not answer"):
            RetryPolicy().call(Store(OSError(), 1000).call, "x")
    by_attempt = list(zip(*[iter(pauses)] * (MAX_ATTEMPTS - 1), strict=True))
    for number, drawn in enumerate(zip(*by_attempt, strict=True)):
        most = min(patience.MAX_BACKOFF_SECONDS, patience.INITIAL_BACKOFF_SECONDS * 2**number)
        assert most / 2 <= min(drawn) < max(drawn) <= most
        assert max(drawn) > 3 / 4 * most, "fifty draws, all of them in the lower half: once in 10^15 runs"


def test_no_more_requests_are_under_way_than_there_are_slots() -> None:
    now, most = 0, 0

    async def request() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(3):
            await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(int))])
        now -= 1

    async def run() -> None:
        slots = asyncio.Semaphore(2)
        await asyncio.gather(*(RetryPolicy().call_async(request, "x", slots) for _ in range(10)))

    asyncio.run(run())
    assert most == 2


@given(st.text(max_size=400))
def test_a_cause_is_short_and_one_line(text: str) -> None:
    said = cause_of(Exception(text))
    assert said.startswith("Exception")
    assert len(said) <= 180
    assert not set("\n{<\\") & set(said)
