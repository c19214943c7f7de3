"""Find labels that are misplaced as a whole, from the grids in a table of images, and name the transform."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.label_grids import (
    CELLS,
    GRID_SIDE,
    MIRRORED_COLUMNS,
    MIRRORED_ROWS,
    NEIGHBORS,
    ROTATED,
    find_transforms,
)
from masksift.storage.tables.arrow import joined_bytes, replace_column, table_from_columns
from masksift.storage.tables.schemas import TRANSFORM

REACH = max(NEIGHBORS)
"""Distance up to which the images before and after an image are needed."""

_MIRRORED = {MIRRORED_COLUMNS: "flip(lr)", MIRRORED_ROWS: "flip(ud)", ROTATED: "rotate(180)"}


def add_transforms(images: Any) -> Any:
    """Replace the grids of images by the columns of `TRANSFORM`.

    Args:
        images: Table with the columns of `scored_images_schema`. Images of a source are consecutive. The result is that
            of the whole table for all images but `REACH` at each end.

    Returns:
        The table.
    """
    sources = images["source"].combine_chunks().dictionary_encode().indices.to_numpy()
    transforms, cells = find_transforms(_unpack_grids(images["grids"]), sources)
    height, width = (images[name].to_numpy() for name in ("height", "width"))
    texts = [
        _transform_text(*one) if one[0] else None
        for one in zip(transforms.tolist(), height.tolist(), width.tolist(), strict=True)
    ]
    gain = (cells[:, 2] - cells[:, 1]) / np.maximum(cells[:, 0], 1)
    columns = {"suspected_transform": texts, "transform_gain": np.ma.MaskedArray(gain, transforms == 0)}
    return replace_column(images, "grids", table_from_columns(columns, TRANSFORM))


def _unpack_grids(column: Any) -> NDArray[np.unsignedinteger]:
    data = joined_bytes(column)
    dtype = np.uint8 if data.size == 2 * CELLS * len(column) else np.uint16
    cells: NDArray[np.unsignedinteger] = data.view(dtype)
    return cells.reshape(-1, 2, GRID_SIDE, GRID_SIDE)


def _transform_text(transform: int, height: int, width: int) -> str:
    """Return a transform as text, with the displacement in pixels of an image."""
    if transform in _MIRRORED:
        return _MIRRORED[transform]
    if transform > ROTATED:
        return f"neighbor({NEIGHBORS[transform - ROTATED - 1]:+d})"
    dy, dx = (
        (cells - GRID_SIDE * (cells > GRID_SIDE // 2), extent)
        for cells, extent in zip(divmod(transform, GRID_SIDE), (height, width), strict=True)
    )
    return f"roll(dy={_pixels(*dy)}, dx={_pixels(*dx)})"


def _pixels(cells: int, extent: int) -> int:
    """Return the pixels of a number of cells, rounded half up."""
    return (2 * cells * extent + GRID_SIDE) // (2 * GRID_SIDE)
