"""Clients of object stores: obstore for S3 and Azure, s3fs for single objects on S3, gcsfs for Google Cloud Storage.

Google's emulators speak the JSON API only, as gcsfs does; obstore speaks the XML API only, and could not be tested.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import fsspec
import obstore.exceptions
from obstore.fsspec import FsspecStore
from obstore.store import AzureStore, S3Store

from masksift.core.errors import UsageError
from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.core.retry import MAX_ATTEMPTS
from masksift.storage.credentials import StorageOptions, cloud_of, reject_password, select_options
from masksift.storage.retry import REQUEST_TIMEOUT_SECONDS
from masksift.storage.urls import local_path, unsupported_url_error

CONNECT_TIMEOUT_SECONDS = 5
_NO_TIMEOUT, _REQUEST_TIMEOUT = "1h", f"{REQUEST_TIMEOUT_SECONDS * 1000:.0f}ms"


def open_filesystem(
    url: str, options: Mapping[str, Any], attempts: int = MAX_ATTEMPTS, *, asynchronous: bool = False
) -> tuple[fsspec.AbstractFileSystem, str]:
    """Open the file system of a URL, whose client makes `attempts` attempts, and return it with the path in it."""
    if (local := local_path(url)) is not None:  # not by its name, in which fsspec would interpret `::`
        return fsspec.filesystem("file"), local
    reject_password(url)
    cloud, selected = cloud_of(url), select_options(url, options)
    try:
        if cloud == "az":
            filesystem = AzureFileSystem(url.partition("://")[0], selected, attempts)
        elif cloud == "gs":
            filesystem = _open_gcsfs(selected, attempts, asynchronous)
        elif cloud == "s3":
            kwargs = _s3fs_kwargs(selected, attempts) if selected else {}
            filesystem = fsspec.filesystem("s3", asynchronous=asynchronous, **kwargs)
            filesystem.retries = attempts  # s3fs retries in addition to botocore
        else:
            filesystem, path = fsspec.core.url_to_fs(url)
            return filesystem, path
    except (ValueError, ImportError) as e:
        raise unsupported_url_error(url, e) from e
    return filesystem, filesystem._strip_protocol(url)


class AzureFileSystem(FsspecStore):
    """File system of the containers of an account, with obstore as the client.

    Adds content types and conditional writes to obstore's own file system.

    Args:
        scheme: Scheme of its URLs.
        options: Options of `_resolve_azure`.
        attempts: Attempts at each request.
        **configured: Settings that fsspec adds from its own configuration; `options` contain them.
    """

    protocol = ("az", "abfs", "abfss")  # type: ignore[assignment]
    cachable = False  # fsspec would compare the options by their printed form, which hides them

    def __init__(self, scheme: str, options: Mapping[str, Any], attempts: int, **configured: Any) -> None:
        self._options, self._attempts = options, attempts
        super().__init__(scheme)  # type: ignore[call-overload]

    def _construct_store(self, bucket: str) -> Any:
        return _open_bucket(f"{self.protocol}://{bucket}", tuple(self._options.items()), self._attempts, blocking=True)

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        container, name = self._split_path(path)
        attributes = {"Content-Type": kwargs["content_type"]} if "content_type" in kwargs else None
        try:
            await self._construct_store(container).put_async(name, value, mode=mode, attributes=attributes)
        except obstore.exceptions.AlreadyExistsError as e:
            raise FileExistsError(path) from e


class BucketPath(NamedTuple):
    """Objects below a path of a bucket or a container, whose store is shared by all paths of it."""

    store: S3Store | AzureStore
    path: str


def obstore_store(url: str, options: Mapping[str, Any], attempts: int = 1) -> BucketPath | None:
    """Open the objects below a URL with obstore, or return None if it is not the client for them.

    Args:
        url: Any URL.
        options: Storage options by cloud.
        attempts: Attempts of the client at each request. With a single one the caller retries, and limits the time.

    Returns:
        The store of the bucket, and the path of the URL in it.
    """
    selected = select_options(url, options)
    if cloud_of(url) != "az" and selected.get("client") != "obstore":
        return None
    scheme, _, place = url.partition("://")
    bucket, _, path = place.strip("/").partition("/")
    return BucketPath(_open_bucket(f"{scheme}://{bucket}", tuple(selected.items()), attempts), path)


@lru_cache(maxsize=256)  # all sources and blocks share connections; a store takes 5 ms to make
def _open_bucket(
    url: str, options: tuple[tuple[str, Any], ...], attempts: int, *, blocking: bool = False
) -> S3Store | AzureStore:
    bucket = url.split("://", 1)[1]
    kwargs = _s3_kwargs(dict(options)) if cloud_of(url) == "s3" else dict(options)
    container, _, host = bucket.partition("@")
    if host and cloud_of(url) == "az":  # abfss://container@account.dfs.core.windows.net
        kwargs |= {"account_name": host.split(".")[0], "endpoint": f"https://{host.replace('.dfs.', '.blob.', 1)}"}
    client: dict[str, Any] = {
        "allow_http": str(kwargs.get("endpoint", "")).startswith("http://"),  # otherwise only with TLS
        "connect_timeout": f"{CONNECT_TIMEOUT_SECONDS}s",
        "timeout": _NO_TIMEOUT if attempts == 1 else _REQUEST_TIMEOUT,
    }
    if blocking:  # the caller does not limit the time of a single attempt
        client |= {"timeout": _NO_TIMEOUT, "read_timeout": _REQUEST_TIMEOUT}
    kwargs |= {"client_options": client, "retry_config": {"max_retries": attempts - 1}}
    if cloud_of(url) == "s3":
        return S3Store(bucket, **kwargs)
    if "account_name" not in kwargs and "AZURE_STORAGE_ACCOUNT_NAME" not in os.environ:
        raise UsageError(
            f"The account of {url} is unknown",
            "Pass --storage.account, or set AZURE_STORAGE_ACCOUNT_NAME or AZURE_STORAGE_CONNECTION_STRING",
        )
    return AzureStore(container, **kwargs)


def _s3_kwargs(options: Mapping[str, Any]) -> dict[str, Any]:
    kwargs = {
        "endpoint": options.get("endpoint_url"),
        "region": options.get("region") or "us-east-1",
        "access_key_id": options.get("key"),
        "secret_access_key": options.get("secret"),
        "session_token": options.get("token"),
        "skip_signature": options["anonymous"],
        "virtual_hosted_style_request": not options["path_style"],
    }
    return {name: value for name, value in kwargs.items() if value is not None}


def _s3fs_kwargs(options: Mapping[str, Any], attempts: int) -> StorageOptions:
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


def _open_gcsfs(options: Mapping[str, Any], attempts: int, asynchronous: bool) -> fsspec.AbstractFileSystem:
    # its default class asks for the layout of each bucket over gRPC, for a minute where the answer is missing
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    import aiohttp
    from gcsfs.core import GCSFileSystem

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=REQUEST_TIMEOUT_SECONDS)
    filesystem = GCSFileSystem(requests_timeout=timeout, use_listings_cache=False, asynchronous=asynchronous, **options)
    if attempts == 1:  # instead of six over a minute, for which it has no setting
        filesystem._request = GCSFileSystem._request.__wrapped__.__get__(filesystem)
    return filesystem
