"""Check that a command does not write into its own input."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator

from masksift.core.errors import UsageError
from masksift.core.specs import SourceSpec
from masksift.storage.sources.ensemble import split_array_url
from masksift.storage.urls import join, local_path

_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}
"""Protocols that name a store like another one."""


def check_output(out: str, inputs: Iterable[str], own: str | None = None) -> None:
    """Refuse an output directory that is a file, in an input, or around one.

    Args:
        out: URL of the output directory.
        inputs: URLs of directories, arrays and files that the command reads.
        own: Name of a directory in the output that belongs to it, although the command reads it.

    Raises:
        UsageError: The output cannot be a directory, or overlaps with an input once symbolic links are resolved.
    """
    if out.rstrip("/").lower().endswith(".zip"):
        raise UsageError(f"--out {out} names a zip archive", "Results are written to a directory", "Pass another name")
    if (path := local_path(out)) is not None:
        while not os.path.lexists(path):
            path = os.path.dirname(path)
        if not os.path.isdir(path):
            raise UsageError(
                f"{path} is a file, but --out {out} needs a directory there", "Pass the path of a new directory"
            )
    if own is not None:
        place = _normalize(join(out, own))
        inputs = (url for url in inputs if not f"{_normalize(url)}/".startswith(f"{place}/"))
    check_separate(out, inputs)


def check_separate(out: str, inputs: Iterable[str]) -> None:
    """Refuse an output, directory or file, that is in an input or around one; see `check_output`."""
    place = _normalize(out)
    for url in inputs:
        other = _normalize(url)
        if place == other:
            relation = "is the input"
        elif place.startswith(f"{other}/"):
            relation = "is inside the input"
        elif other.startswith(f"{place}/"):
            relation = "contains the input"
        else:
            continue
        raise UsageError(
            f"--out {out} {relation} {url}", "Results would be mixed with input data", "Pass another directory as --out"
        )


def source_urls(sources: Iterable[SourceSpec], images: str | None = None) -> Iterator[str]:
    """Yield the URLs of sources and of their arrays, which may be elsewhere; ``images``: name or URL of an array."""
    for source in sources:
        arrays = [source.labels.url, *(array.url for array in source.prediction_arrays)]
        if images is not None:
            arrays.append(join(*split_array_url(images, source.url, source.name)))
        yield from (source.url, *arrays, *filter(_is_group, {url.rstrip("/").rpartition("/")[0] for url in arrays}))


def _is_group(url: str) -> bool:
    """Return whether a directory is a Zarr group, by its metadata or, in a store, by its name."""
    path = local_path(url)
    if path is None:
        return url.endswith(".zarr")
    return any(os.path.exists(os.path.join(path, name)) for name in ("zarr.json", ".zgroup"))


def _normalize(url: str) -> str:
    """Return one spelling of a location: a path without symbolic links, or a URL without empty parts."""
    if (path := local_path(url)) is not None:
        return os.path.realpath(path).rstrip("/")
    protocol, _, rest = url.rpartition("://")
    rest = re.sub("/+", "/", posixpath.normpath(rest)) if rest else ""
    return f"{_ALIASES.get(protocol, protocol)}://{rest.strip('/')}"
