"""Local paths and URLs of object stores."""

from __future__ import annotations

import os

from masksift.core.errors import UsageError

CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css",
    "js": "text/javascript",
    "png": "image/png",
    "jpg": "image/jpeg",
}
"""What S3 says of an object by its ending, to whoever opens it in a browser: else it is saved, and not shown."""


def local_path(url: str) -> str | None:
    """The absolute path of a URL on local disk, or None where it lies elsewhere."""
    if url.startswith("file://"):
        return os.path.abspath(url.removeprefix("file://"))
    return None if "://" in url or "::" in url else os.path.abspath(os.path.expanduser(url))


def join(url: str, *names: str) -> str:
    """URL of an object below a URL."""
    return "/".join([url.rstrip("/"), *(name.strip("/") for name in names)])


def unsupported_url_error(url: str, cause: Exception) -> UsageError:
    """What is said where fsspec knows no store for a URL, or lacks a package for it."""
    return UsageError(
        f"{url} cannot be opened ({cause})",
        "there is no store to read or write",
        "Give a path, or a URL such as s3://bucket/folder whose fsspec package is installed",
    )
