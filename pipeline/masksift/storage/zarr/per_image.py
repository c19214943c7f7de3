"""Read the arrays of a source that hold one value per image: ids and unpadded sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.stores import open_store
from masksift.storage.zarr.validation import ChunkDecodeError


def image_ids(source: SourceSpec, start: int, stop: int, options: Mapping[str, Any]) -> list[str]:
    """Return the ids of images [start, stop): those of the source, or `<source>/<index>` without ids."""
    if source.image_id is None:
        return [f"{source.name}/{i}" for i in range(start, stop)]
    values = read_values(source.image_id, start, stop, options).tolist()
    texts = [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values]
    return [text or f"{source.name}/{i}" for i, text in enumerate(texts, start)]


def image_sizes(source: SourceSpec, start: int, stop: int, options: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return the stored rows and columns of images [start, stop) without padding, as (n, 2) int64."""
    sizes = np.tile(np.array([source.height, source.width], np.int64), (stop - start, 1))
    for axis, spec in enumerate(source.size_arrays):
        if spec is not None:
            sizes[:, axis] = read_values(spec, start, stop, options)
    return sizes


def read_values(spec: ArraySpec, start: int, stop: int, options: Mapping[str, Any]) -> NDArray[Any]:
    """Read the values of images [start, stop). A damaged chunk raises DataError."""
    try:
        return ArrayReader(spec, options, absent_is_missing=False).read(slice(start, stop))
    except ChunkDecodeError as e:
        raise DataError(str(e), "Write the array again, or leave it out of the source") from e


def open_array(spec: ArraySpec, options: Mapping[str, Any]) -> zarr.Array[Any]:
    """Open an array of known format, without requests for the metadata of another format."""
    return zarr.open_array(open_store(spec.url, options, read_only=True), mode="r", zarr_format=spec.zarr_format)  # type: ignore[arg-type]
