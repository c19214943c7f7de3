"""How S3 and what speaks like it is reached: credentials captured once, carried to the workers as data, never printed.

They come from where every tool of AWS looks for them: the environment, a profile, the role of a container or an
instance. Those that are renewed while they are in use (of a role) are left to each worker, which has the role itself.
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
"""Seconds in which a connection must stand."""


@dataclass(frozen=True)
class S3Config:
    """What the configuration says of S3 (`[storage]`). ``client``: obstore or s3fs."""

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    anonymous: bool = False
    path_style: bool | None = None
    client: str = "obstore"


class StorageOptions(dict[str, Any]):
    """What is needed to reach a store. It prints as nothing but its size: keys lie in it."""

    def __repr__(self) -> str:
        return f"Options({len(self)} entries)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[Any, ...]:
        return StorageOptions, (dict(self),)


def is_s3(url: str) -> bool:
    """Whether a URL lies on S3."""
    return url.startswith(("s3://", "s3a://"))


def select_options(url: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options that a URL's own kind of store is reached by."""
    return options if is_s3(url) else {}


def redact_uri(uri: str) -> str:
    """A URI without what may be a password: all before its host, and its query."""
    return re.sub(r"\?\S+", "?***", re.sub(r"//.*@", "//***@", uri))


def reject_password(url: str) -> None:
    """Raises UsageError where a URL has a password in it: URLs stand in run.json, in tables and in messages."""
    if re.match(r"[\w.+-]+://[^/]*:[^/]*@", url):
        raise UsageError(
            f"{redact_uri(url)} has a password in it",
            "it would be stored with the results and printed",
            "Leave it out: keys of S3 come from the environment, --storage.profile or a role, those of other stores "
            "from fsspec's configuration, such as FSSPEC_SFTP_PASSWORD",
        )


def unreachable_error(url: str, cause: Exception) -> UsageError:
    """What is said where S3 does not let anybody in, or is not there."""
    cause = cause.__cause__ if isinstance(cause, StoreUnavailable) and isinstance(cause.__cause__, Exception) else cause
    return UsageError(
        f"{url} cannot be read ({summarize_error(cause)})",
        "there is nothing to work on",
        "See that the URL and --storage.endpoint_url are right, and that the keys here (environment, "
        "--storage.profile, role) may read it",
    )


@cache
def resolve_credentials(endpoint: S3Config) -> StorageOptions:
    """Look for the credentials once. Raises UsageError where the profile does not exist, or the endpoint's URL has a
    password in it."""
    import botocore.session
    from botocore.credentials import RefreshableCredentials
    from botocore.exceptions import ProfileNotFound

    reject_password(endpoint.endpoint_url or "")
    session = botocore.session.Session(profile=endpoint.profile)
    try:
        credentials = None if endpoint.anonymous else session.get_credentials()
        region = endpoint.region or session.get_config_variable("region")
    except ProfileNotFound as e:
        raise UsageError(
            f"there is no profile {endpoint.profile!r} of AWS here",
            "S3 cannot be reached by it",
            "Give a --storage.profile that ~/.aws/config has",
        ) from e
    found = StorageOptions(client=endpoint.client, anonymous=endpoint.anonymous)
    url = endpoint.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    # a server of one's own is at one address, which its buckets are not part of
    path_style = endpoint.path_style if endpoint.path_style is not None else url is not None
    found |= {"endpoint_url": url, "region": region, "path_style": path_style}
    if credentials is not None and not isinstance(credentials, RefreshableCredentials):
        frozen = credentials.get_frozen_credentials()
        found |= {"key": frozen.access_key, "secret": frozen.secret_key, "token": frozen.token}
    return found


def fsspec_kwargs(options: Mapping[str, Any], attempts: int = 1) -> StorageOptions:
    """As the arguments of s3fs. ``attempts``: those that it makes by itself."""
    if not options:
        return StorageOptions()
    config: dict[str, Any] = {
        "retries": {"mode": "standard", "total_max_attempts": attempts},
        "max_pool_connections": 2 * MAX_CONCURRENT_REQUESTS,
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "read_timeout": REQUEST_TIMEOUT_SECONDS,
        "s3": {"addressing_style": "path" if options["path_style"] else "auto"},
    }
    found = StorageOptions(anon=options["anonymous"], config_kwargs=config)
    if options.get("endpoint_url"):
        found["endpoint_url"] = options["endpoint_url"]
    if options.get("region"):
        found["client_kwargs"] = {"region_name": options["region"]}
    return StorageOptions(found | {name: options[name] for name in ("key", "secret", "token") if options.get(name)})


def obstore_kwargs(options: Mapping[str, Any], attempts: int = 1) -> StorageOptions:
    """As the arguments of obstore's S3Store. ``attempts``: those that it makes by itself."""
    told = {
        "endpoint": options.get("endpoint_url"),
        "region": options.get("region") or "us-east-1",
        "access_key_id": options.get("key"),
        "secret_access_key": options.get("secret"),
        "session_token": options.get("token"),
        "skip_signature": options["anonymous"],
        "virtual_hosted_style_request": not options["path_style"],
    }
    plain = str(options.get("endpoint_url") or "").startswith("http://")
    # whoever makes a request again also says when one has taken too long
    limit = "1h" if attempts == 1 else f"{REQUEST_TIMEOUT_SECONDS * 1000:.0f}ms"
    return StorageOptions(
        {name: value for name, value in told.items() if value is not None}
        | {
            "client_options": {"allow_http": plain, "connect_timeout": f"{CONNECT_TIMEOUT_SECONDS}s", "timeout": limit},
            "retry_config": {"max_retries": attempts - 1},
        }
    )
