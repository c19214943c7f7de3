"""Access to S3 and compatible stores: the client resolves credentials once and sends them to the workers.

Credentials come from the places that all AWS tools use: the environment, a profile, or the role of a container or an
instance. Credentials of a role expire and are renewed; each worker resolves its own. Credentials are never printed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from masksift.core.errors import UsageError, summarize_error
from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.storage.retry import REQUEST_TIMEOUT_SECONDS, StoreUnavailable

CONNECT_TIMEOUT_SECONDS = 5


@dataclass(frozen=True)
class S3Config:
    """Settings of the configuration table `[storage]` that select a store and its client."""

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    anonymous: bool = False
    path_style: bool | None = None
    client: str = "obstore"


class StorageOptions(dict[str, Any]):
    """Options of an S3 client. Only their number is printed, because they hold credentials."""

    def __repr__(self) -> str:
        """Return the number of entries."""
        return f"Options({len(self)} entries)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a plain dict."""
        return StorageOptions, (dict(self),)


def is_s3(url: str) -> bool:
    """Return whether a URL is on S3."""
    return url.startswith(("s3://", "s3a://"))


def select_options(url: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options for the store of a URL: those of S3, or none."""
    return options if is_s3(url) else {}


def redact_uri(uri: str) -> str:
    """Hide the parts of a URI that may hold a password: user information and query."""
    return re.sub(r"\?\S+", "?***", re.sub(r"//.*@", "//***@", uri))


def reject_password(url: str) -> None:
    """Raise UsageError if a URL contains a password: URLs are written to run.json, tables and messages."""
    if re.match(r"[\w.+-]+://[^/]*:[^/]*@", url):
        raise UsageError(
            f"{redact_uri(url)} contains a password",
            "It would be stored with the results and printed",
            "Remove it: credentials of S3 come from the environment, --storage.profile or a role, those of other "
            "stores from the configuration of fsspec, such as FSSPEC_SFTP_PASSWORD",
        )


def unreachable_error(url: str, cause: Exception) -> UsageError:
    """Make the error for an S3 URL that denies access or does not exist."""
    cause = cause.__cause__ if isinstance(cause, StoreUnavailable) and isinstance(cause.__cause__, Exception) else cause
    return UsageError(
        f"{url} cannot be read ({summarize_error(cause)})",
        "Check the URL and --storage.endpoint_url, and that the credentials here (environment, --storage.profile, "
        "role) may read it",
    )


@cache
def resolve_credentials(config: S3Config) -> StorageOptions:
    """Resolve credentials and endpoint once per process.

    Args:
        config: Store and client.

    Returns:
        Options for `fsspec_kwargs` and `obstore_kwargs`, without credentials if each worker resolves its own.

    Raises:
        UsageError: The profile does not exist, or the endpoint URL contains a password.
    """
    import botocore.session
    from botocore.credentials import RefreshableCredentials
    from botocore.exceptions import ProfileNotFound

    reject_password(config.endpoint_url or "")
    session = botocore.session.Session(profile=config.profile)
    try:
        credentials = None if config.anonymous else session.get_credentials()
        region = config.region or session.get_config_variable("region")
    except ProfileNotFound as e:
        raise UsageError(
            f"AWS profile {config.profile!r} does not exist here", "Pass a --storage.profile from ~/.aws/config"
        ) from e
    url = config.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    # a private server has one host name, without a subdomain per bucket
    path_style = config.path_style if config.path_style is not None else url is not None
    options = StorageOptions(
        client=config.client, anonymous=config.anonymous, endpoint_url=url, region=region, path_style=path_style
    )
    if credentials is not None and not isinstance(credentials, RefreshableCredentials):
        frozen = credentials.get_frozen_credentials()
        options |= {"key": frozen.access_key, "secret": frozen.secret_key, "token": frozen.token}
    return options


def fsspec_kwargs(options: Mapping[str, Any], attempts: int = 1) -> StorageOptions:
    """Return the arguments of s3fs, which then makes a number of attempts at each request."""
    if not options:
        return StorageOptions()
    config: dict[str, Any] = {
        "retries": {"mode": "standard", "total_max_attempts": attempts},
        "max_pool_connections": 2 * MAX_CONCURRENT_REQUESTS,
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "read_timeout": REQUEST_TIMEOUT_SECONDS,
        "s3": {"addressing_style": "path" if options["path_style"] else "auto"},
    }
    kwargs = StorageOptions(anon=options["anonymous"], config_kwargs=config)
    if options.get("endpoint_url"):
        kwargs["endpoint_url"] = options["endpoint_url"]
    if options.get("region"):
        kwargs["client_kwargs"] = {"region_name": options["region"]}
    return StorageOptions(kwargs | {name: options[name] for name in ("key", "secret", "token") if options.get(name)})


def obstore_kwargs(options: Mapping[str, Any], attempts: int = 1) -> StorageOptions:
    """Return the arguments of `obstore.store.S3Store`, which then makes a number of attempts at each request."""
    kwargs = {
        "endpoint": options.get("endpoint_url"),
        "region": options.get("region") or "us-east-1",
        "access_key_id": options.get("key"),
        "secret_access_key": options.get("secret"),
        "session_token": options.get("token"),
        "skip_signature": options["anonymous"],
        "virtual_hosted_style_request": not options["path_style"],
    }
    allow_http = str(options.get("endpoint_url") or "").startswith("http://")
    # with a single attempt the caller retries, and limits the time
    timeout = "1h" if attempts == 1 else f"{REQUEST_TIMEOUT_SECONDS * 1000:.0f}ms"
    return StorageOptions(
        {name: value for name, value in kwargs.items() if value is not None}
        | {
            "client_options": {
                "allow_http": allow_http,
                "connect_timeout": f"{CONNECT_TIMEOUT_SECONDS}s",
                "timeout": timeout,
            },
            "retry_config": {"max_retries": attempts - 1},
        }
    )
