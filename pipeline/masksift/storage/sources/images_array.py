"""Find the RGB images of sources. They are shown in reviews; no score depends on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import zarr

from masksift.core.errors import DataError
from masksift.core.limits import MAX_CONCURRENT_SOURCES
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.storage.retry import MAX_ATTEMPTS_ON_OPEN
from masksift.storage.sources.ensemble import split_array_url
from masksift.storage.sources.open import METADATA_ERRORS, find_array, find_array_by_url
from masksift.storage.urls import is_absolute, join, local_path
from masksift.storage.zarr.metadata import open_group


def find_images_arrays(
    sources: Sequence[SourceSpec], name: str, options: Mapping[str, Any]
) -> tuple[ArraySpec | None, ...]:
    """Return the images array of each source, or None: see `open_images_array`."""

    def find(spec: SourceSpec) -> ArraySpec | None:
        array = open_images_array(spec, name, options)
        return None if isinstance(array, str) else array

    with ThreadPoolExecutor(MAX_CONCURRENT_SOURCES, thread_name_prefix="images") as pool:
        return tuple(pool.map(find, sources))


def open_images_array(
    spec: SourceSpec, name: str, options: Mapping[str, Any], group: zarr.Group | None = None
) -> ArraySpec | str:
    """Open the images of a source.

    Args:
        spec: The source.
        name: Name of the array in the source, or a URL in which `{source}` stands for the name of the source.
        options: Storage options of S3.
        group: Group of the source if it is open already.

    Returns:
        The array, (image, y, x, 3) uint8, or the reason why it cannot be used, as text.
    """
    place, array_name = split_array_url(name, spec.url, spec.name)
    try:
        if is_absolute(name):
            found = find_array_by_url(join(place, array_name), "images", options)
            return _check_images(found.array, found.url, found.name, spec)
        if group is None:
            group = open_group(place, options, MAX_ATTEMPTS_ON_OPEN, [array_name])
        array = find_array(group, place, array_name)
    except (DataError, OSError, *METADATA_ERRORS) as e:
        return f"no images: {place} cannot be opened ({e})"
    if array is None:
        return f"no images: {place} contains no array {array_name!r}"
    return _check_images(array, place, array_name, spec)


def _check_images(array: zarr.Array[Any], place: str, name: str, spec: SourceSpec) -> ArraySpec | str:
    if array.shape != (*spec.labels.shape, 3) or array.dtype != np.uint8:
        return (
            f"no images: {name!r} of {place} has shape {array.shape} and dtype {array.dtype}, the labels need "
            f"{(*spec.labels.shape, 3)} of uint8"
        )
    return make_array_spec(array, place)


def make_array_spec(array: zarr.Array[Any], url: str) -> ArraySpec:
    """Describe an array in the group at a URL whose axes are in canonical order."""
    return ArraySpec(
        url=join(local_path(url) or url, *filter(None, [array.path])),
        shape=array.shape,
        chunks=array.chunks,
        dtype=array.dtype.name,
        itemsize=array.dtype.itemsize,
        axes=tuple(range(array.ndim)),
        shards=array.shards,
        zarr_format=array.metadata.zarr_format,
    )
