"""Retry policy for requests to object stores."""

from __future__ import annotations

import re
from functools import cache

from masksift.core.errors import RunFailed, summarize_error
from masksift.core.retry import MAX_ATTEMPTS, RetryPolicy

MAX_ATTEMPTS_ON_OPEN = 5
"""Attempts when a source or a directory is first opened: its URL may simply be wrong."""
REQUEST_TIMEOUT_SECONDS = 20.0
"""Time without an answer after which the first attempt is abandoned."""

_MISSING_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")
"""Names of botocore's exceptions, which is imported only where S3 is used."""


class StoreUnavailable(RunFailed):
    """A store refused a request, or did not answer it in all attempts."""


class StoreRetryPolicy(RetryPolicy):
    """Retry requests that time out or fail with a server error.

    Every request of masksift is idempotent: it reads an object, or writes one as a whole under a unique name. The
    retries of the clients are switched off, because they are not counted and follow different rules.
    """

    def __init__(self, max_attempts: int = MAX_ATTEMPTS) -> None:
        super().__init__(_is_transient, max_attempts=max_attempts, timeout_seconds=REQUEST_TIMEOUT_SECONDS)

    def final_error(self, error: Exception, target: str, attempts: int, elapsed_seconds: float) -> Exception:
        """Return the error unchanged if it is an answer or the caller's fault, else `StoreUnavailable`."""
        if _is_passed_on(error):
            return error
        cause = summarize_error(error)
        effect = "The run stops here; finished blocks are kept"
        if _is_permission_error(error):
            return StoreUnavailable(
                f"The store denied access to {target} ({cause})",
                effect,
                "Check that the credentials may read the sources and write the results, and run the same command again",
            )
        return StoreUnavailable(
            f"The store did not answer {target} in {attempts} attempts over {elapsed_seconds:.0f} s ({cause})",
            effect,
            "Check the state of the store, and run the same command again",
        )


@cache  # obstore is imported only where a store is used
def _final_errors() -> tuple[type[Exception], ...]:
    """Return the errors that report the state of an object, and those that the same request would raise again."""
    from obstore import exceptions

    return (
        *(FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError),
        *(exceptions.NotFoundError, exceptions.AlreadyExistsError, exceptions.PreconditionError),
        *(ValueError, TypeError, LookupError, AttributeError, AssertionError),
        *(MemoryError, NotImplementedError, ImportError),
        *(exceptions.InvalidPathError, exceptions.NotSupportedError, exceptions.UnknownConfigurationKeyError),
    )


def _is_permission_error(error: Exception) -> bool:
    """Return whether access was denied. gcsfs, and obstore for lists and deletions, report it by a general error."""
    from obstore import exceptions

    if isinstance(error, (PermissionError, exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)):
        return True
    code = getattr(error, "code", None)  # of gcsfs.retry.HttpError
    return code in (401, 403) or re.search(r"^Forbidden: |non-2xx status code: 40[13] ", str(error)) is not None


def _is_passed_on(error: Exception) -> bool:
    return isinstance(error, _final_errors()) or type(error).__name__ in _MISSING_CREDENTIALS


def _is_transient(error: Exception) -> bool:
    return not _is_passed_on(error) and not _is_permission_error(error)
