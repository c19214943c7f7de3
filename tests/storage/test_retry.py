"""Retry policy of stores: which errors are retried, passed on, or reported as a store that does not answer."""

from __future__ import annotations

from collections.abc import Callable

import obstore.exceptions
import pytest

from masksift.core import retry
from masksift.core.retry import MAX_ATTEMPTS
from masksift.storage.retry import StoreRetryPolicy, StoreUnavailable
from support.errors import raises


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "MAX_BACKOFF_SECONDS", 0.0)


def failing(error: Exception, failures: int = 1000) -> tuple[Callable[[], str], list[None]]:
    """Return a request that raises an error a number of times, and the list of its calls."""
    calls: list[None] = []

    def request() -> str:
        calls.append(None)
        if len(calls) <= failures:
            raise error
        return "answer"

    return request, calls


@pytest.mark.parametrize(
    "error",
    [OSError(16, "SlowDown"), ConnectionResetError(), TimeoutError(), obstore.exceptions.GenericError("503")],
    ids=repr,
)
def test_policy_with_a_transient_error_retries(error: Exception) -> None:
    (request, calls), policy = failing(error, 3), StoreRetryPolicy()
    assert policy.call(request, "s3://lake/x") == "answer"
    assert (len(calls), policy.retries) == (4, 3)


def test_policy_after_the_last_attempt_reports_target_attempts_and_cause() -> None:
    request, calls = failing(OSError("SlowDown"))
    with raises(
        StoreUnavailable, r"^The store did not answer s3://lake/x in 12 attempts over 0 s \(OSError: SlowDown\)\. "
    ):
        StoreRetryPolicy().call(request, "s3://lake/x")
    assert len(calls) == MAX_ATTEMPTS


@pytest.mark.parametrize(
    "error", [FileNotFoundError("x"), FileExistsError("x"), ValueError("ours"), MemoryError("ours")], ids=repr
)
def test_policy_with_an_answer_or_a_caller_error_raises_it_unchanged(error: Exception) -> None:
    request, calls = failing(error)
    with pytest.raises(type(error), match=r"x|ours"):
        StoreRetryPolicy().call(request, "s3://lake/x")
    assert len(calls) == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError("Forbidden: https://storage.googleapis.com/storage/v1/b/lake/o"),
        obstore.exceptions.GenericError(
            "Error performing list request: - Server returned non-2xx status code: 403 Forbidden"
        ),
        obstore.exceptions.GenericError("bulk delete request: Server returned non-2xx status code: 401 Unauthorized"),
    ],
    ids=str,
)
def test_policy_with_denied_access_in_a_general_error_raises_at_once(error: Exception) -> None:
    request, calls = failing(error)
    with raises(StoreUnavailable, r"^The store denied access to az://lake/x"):
        StoreRetryPolicy().call(request, "az://lake/x")
    assert len(calls) == 1


def test_policy_with_denied_access_raises_at_once_without_quoting_the_server() -> None:
    quote = "Access denied {body: <AWSAccessKeyId>AKIA-SECRET</AWSAccessKeyId>}"
    request, calls = failing(obstore.exceptions.PermissionDeniedError(quote))
    with raises(
        StoreUnavailable, r"^The store denied access to s3://lake/x \(PermissionDeniedError: Access denied\)\. "
    ):
        StoreRetryPolicy().call(request, "s3://lake/x")
    assert len(calls) == 1
