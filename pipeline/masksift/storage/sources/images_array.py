"""The pictures of a source, for those who review: no score is computed from them, and a run is as good without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import zarr

from masksift.core.errors import DataError
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.storage.retry import MAX_ATTEMPTS_ON_OPEN
from masksift.storage.sources.ensemble import split_array_url
from masksift.storage.urls import join, local_path
from masksift.storage.zarr.stores import open_group

AT_ONCE = 16
"""Sources whose pictures are looked for at a time."""


def find_images_arrays(
    sources: Sequence[SourceSpec], name: str, options: Mapping[str, Any]
) -> tuple[ArraySpec | None, ...]:
    """The pictures of each source as `open_images_array` finds them, None where there are none."""

    def found(spec: SourceSpec) -> ArraySpec | None:
        opened = open_images_array(spec, name, options)
        return None if isinstance(opened, str) else opened

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pictures") as pool:
        return tuple(pool.map(found, sources))


def open_images_array(spec: SourceSpec, name: str, options: Mapping[str, Any]) -> ArraySpec | str:
    """The pictures of a source, (image, y, x, 3) uint8, by the name of the array in it or by a URL of its own, in which
    `{source}` is the source's name; or a sentence that says why there are none."""
    place, own = split_array_url(name, spec.url, spec.name)
    try:
        array = open_group(place, options, MAX_ATTEMPTS_ON_OPEN).get(own)
    except (DataError, OSError, ValueError, KeyError, TypeError) as e:
        return f"there are no pictures at {place} ({e})"
    if not isinstance(array, zarr.Array):
        return f"there are no pictures: {place} holds no array {own!r}"
    if array.shape != (*spec.labels.shape, 3) or array.dtype != np.uint8:
        return (
            f"there are no pictures: {own!r} of {place} has the shape {array.shape} and the dtype {array.dtype}, "
            f"where {(*spec.labels.shape, 3)} of uint8 would fit the labels"
        )
    return make_array_spec(array, place)


def make_array_spec(array: zarr.Array[Any], url: str) -> ArraySpec:
    """The facts of an array in the group at a URL, whose axes are in order."""
    node = join(local_path(url) or url, array.path)
    axes = tuple(range(array.ndim))
    return ArraySpec(
        node,
        array.shape,
        array.chunks,
        array.dtype.name,
        array.dtype.itemsize,
        axes,
        array.shards,
        array.metadata.zarr_format,
    )
