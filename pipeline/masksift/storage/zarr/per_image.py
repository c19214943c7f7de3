"""What a source says of each of its images: what it is called, and how much of it is its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from masksift.core.specs import ArraySpec, SourceSpec
from masksift.storage.zarr.stores import open_store


def image_ids(source: SourceSpec, start: int, stop: int, options: Mapping[str, Any]) -> list[str]:
    """The ids of images [start, stop): the source's own, or `<source>/<index>`."""
    if source.image_id is None:
        return [f"{source.name}/{i}" for i in range(start, stop)]
    array = open_array(source.image_id, options)
    own = np.asarray(array[start:stop]).tolist()
    texts = [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in own]
    return [text or f"{source.name}/{i}" for i, text in enumerate(texts, start)]


def image_sizes(source: SourceSpec, start: int, stop: int, options: Mapping[str, Any]) -> NDArray[np.int64]:
    """(n, 2) int64: how many rows and columns of images [start, stop) are their own, as they are stored."""
    found = np.tile(np.array([source.height, source.width], np.int64), (stop - start, 1))
    for axis, spec in enumerate(source.size_arrays):
        if spec is not None:
            found[:, axis] = np.asarray(open_array(spec, options)[start:stop])
    return found


def open_array(spec: ArraySpec, options: Mapping[str, Any]) -> zarr.Array[Any]:
    """The array whose facts are known: without looking for those of another format."""
    return zarr.open_array(open_store(spec.url, options, read_only=True), mode="r", zarr_format=spec.zarr_format)  # type: ignore[arg-type]
