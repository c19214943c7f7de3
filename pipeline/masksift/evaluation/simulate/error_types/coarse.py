"""Error type `coarse`: a mask is a polygon with few vertices, as if the annotator had clicked too few points.

This error type is masksift's own. The vertices have equal distances along the outline; the position of the first one is
random. Holes are lost. `size` is the number of vertices, at least 3. An object whose outline has no more corners keeps
its outline.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masksift.evaluation.simulate.error_types.base import ErrorParams, Mask, Plane, iter_objects, mask_error

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""(rows, columns) of a step to the right, down, left and up."""
_LEFT_AHEAD = ((0, 1), (1, 1), (1, 0), (0, 0))
"""Offset in the padded mask, for each step, of the pixel to the left behind the reached corner. The pixel to the right
has the offset of the next step."""


def simplify_outlines(plane: Plane, mask: Mask, rng: np.random.Generator, params: ErrorParams) -> Mask:
    """Replace each object of a mask by a polygon."""
    new = np.zeros_like(mask)
    for box, object_mask in iter_objects(mask):
        vertices = _sample_vertices(trace_outline(object_mask), int(params.size), rng)
        new[box] |= fill_polygon(vertices, object_mask.shape)
    return new


def trace_outline(mask: Mask) -> NDArray[np.int64]:
    """Trace the corners (N, 2) of the outline of one 8-connected object, clockwise, one step apart."""
    padded = np.pad(mask, 1)
    y, x = (int(indices[0]) for indices in np.nonzero(mask))
    corners: list[tuple[int, int]] = []
    start, direction = (y, x), 0  # no pixel above or to the left of the first one: the outline passes here once
    while not corners or (y, x) != start or direction != 0:
        corners.append((y, x))
        y, x = y + _STEPS[direction][0], x + _STEPS[direction][1]
        (left_y, left_x), (right_y, right_x) = _LEFT_AHEAD[direction], _LEFT_AHEAD[(direction + 1) % 4]
        if padded[y + left_y, x + left_x]:  # also where two pixels touch diagonally: the object stays connected
            direction = (direction - 1) % 4
        elif not padded[y + right_y, x + right_x]:
            direction = (direction + 1) % 4
    return np.array(corners, np.int64)


def _sample_vertices(corners: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Pick ``count`` equally spaced corners, or all if there are no more."""
    first = rng.integers(len(corners))
    if len(corners) <= count:
        return corners
    return np.take(corners, (first + np.arange(count) * len(corners) // count) % len(corners), axis=0)


def fill_polygon(vertices: NDArray[np.int64], shape: tuple[int, ...]) -> Mask:
    """Fill the pixels with centers inside a polygon of pixel corners (N, 2), by the even-odd rule."""
    inside = np.zeros(shape, bool)
    centers = np.arange(shape[1]) + 0.5
    for (y0, x0), (y1, x1) in zip(vertices.tolist(), np.roll(vertices, -1, axis=0).tolist(), strict=True):
        if y0 != y1:
            rows = np.arange(min(y0, y1), max(y0, y1))
            crossings = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
            inside[rows] ^= crossings[:, None] < centers
    return inside


COARSE = mask_error(simplify_outlines, 8, "number of vertices of the polygon, 3 or more")
