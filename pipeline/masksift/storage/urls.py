"""Local paths and URLs of object stores."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote_to_bytes

from masksift.core.errors import UsageError

LINKED_SOURCE = "linked.zarr"
"""Name of the source in the output directory of a run that reads files directly."""
CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css",
    "js": "text/javascript",
    "png": "image/png",
    "jpg": "image/jpeg",
}
"""Content type by file ending. S3 sends it to browsers, which otherwise download the object instead of showing it."""

_FILE_URL = re.compile(r"file:(?://(?:localhost(?=/))?|(?=/))")


def local_path(url: str) -> str | None:
    """Return the absolute path of a URL on local disk, or None for other URLs.

    Args:
        url: A path, taken literally except for `~`, or a `file:` URL, whose percent-encoding is decoded (RFC 8089).

    Returns:
        The path, without a trailing slash.
    """
    if prefix := _FILE_URL.match(url):
        return os.path.abspath(os.fsdecode(unquote_to_bytes(url[prefix.end() :])))
    return None if "://" in url or _is_chain(url) else os.path.abspath(os.path.expanduser(url))


def _is_chain(url: str) -> bool:
    """Return whether `::` in a URL without `://` chains file systems (`zip::a.zip`), not names a file (`a::b`)."""
    head, separator, _ = url.partition("::")
    if not separator or os.path.lexists(url):
        return False
    import fsspec  # takes 50 ms, and few paths get here

    return head in fsspec.available_protocols()


def is_absolute(name: str) -> bool:
    """Return whether a name is a URL or an absolute path, not relative to a source or a directory."""
    return "://" in name or name.startswith(("/", "file:/"))


def join(url: str, *names: str) -> str:
    """Return the URL of an object below a URL; below a `file:` URL a path, because names are not percent-encoded."""
    base = (local_path(url) or url) if _FILE_URL.match(url) else url
    return "/".join([base.rstrip("/"), *(name.strip("/") for name in names)])


def split_url(url: str) -> tuple[str, str]:
    """Split the URL of a file into the URL of its directory and its name, both decoded if it is local."""
    parent, _, name = (local_path(url) or url).rstrip("/").rpartition("/")
    return parent or "/", name


def unsupported_url_error(url: str, cause: Exception) -> UsageError:
    """Make the error for a URL that fsspec does not support, or whose package is missing."""
    if isinstance(cause, ImportError) and url.startswith(("gs://", "gcs://")):
        return UsageError(
            f"{url} needs the package gcsfs, which is not installed",
            "Install it here and on the workers with `pip install 'masksift[gcs]'`",
        )
    return UsageError(
        f"{url} cannot be opened ({cause})",
        "Pass a path, or a URL such as s3://bucket/directory whose fsspec package is installed",
    )
