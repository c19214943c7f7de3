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
"""Content type by file ending. S3 sends it to browsers, which otherwise download the object instead of showing it."""


def local_path(url: str) -> str | None:
    """Return the absolute path of a URL on local disk, or None for other URLs."""
    if url.startswith("file://"):
        return os.path.abspath(url.removeprefix("file://"))
    return None if "://" in url or "::" in url else os.path.abspath(os.path.expanduser(url))


def join(url: str, *names: str) -> str:
    """Return the URL of an object below a URL."""
    return "/".join([url.rstrip("/"), *(name.strip("/") for name in names)])


def unsupported_url_error(url: str, cause: Exception) -> UsageError:
    """Make the error for a URL that fsspec does not support, or whose package is missing."""
    return UsageError(
        f"{url} cannot be opened ({cause})",
        "Pass a path, or a URL such as s3://bucket/directory whose fsspec package is installed",
    )
