"""coarse: a mask is drawn as a polygon of few points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masksift.evaluation.simulate.error_types.base import (
    CorruptedLabels,
    ErrorParams,
    ErrorType,
    Mask,
    Plane,
    choose,
    objects_of,
    reshaped,
)

_TURNS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""(rows, columns) of a step to the right, down, left and up."""
_AHEAD = ((0, 1), (1, 1), (1, 0), (0, 0))
"""Of the pixel on the left behind a corner, for each of these steps, in a mask padded by one; the one on its right is
that of the next."""


def draw(plane: Plane, generator: np.random.Generator, setting: ErrorParams) -> CorruptedLabels | None:
    """The annotator clicked too few points: each object becomes a polygon whose corners lie on its outline, at equal
    distances along it, the first one anywhere. Holes are lost.

    A kind of this project's own. ``size``: the number of points, 3 or more; an object whose outline has no more corners
    than that stays as it is, but for its holes.
    """
    chosen = choose(plane, generator, setting)
    if chosen is None:
        return None
    label, mask = chosen
    new = np.zeros_like(mask)
    for box, own in objects_of(mask):
        new[box] |= polygon(_some(outline(own), int(setting.size), generator), own.shape)
    return CorruptedLabels(reshaped(plane, label, mask, new, setting), (label,))


def outline(mask: Mask) -> NDArray[np.int64]:
    """(n, 2) corners of pixels (row, column), one step from each to the next: once around an object (pixels that touch
    by a side or a corner), clockwise, from its first pixel's upper left corner on. At corners where two pixels touch it
    goes from one to the other, so that the object stays one."""
    padded = np.pad(mask, 1)
    y, x = (int(place[0]) for place in np.nonzero(mask))
    corners: list[tuple[int, int]] = []
    start, turn = (y, x), 0  # there is nothing above and nothing to the left of it: the way comes by once
    while not corners or (y, x) != start or turn != 0:
        corners.append((y, x))
        y, x = y + _TURNS[turn][0], x + _TURNS[turn][1]
        (left_y, left_x), (right_y, right_x) = _AHEAD[turn], _AHEAD[(turn + 1) % 4]
        if padded[y + left_y, x + left_x]:
            turn = (turn - 1) % 4
        elif not padded[y + right_y, x + right_x]:
            turn = (turn + 1) % 4
    return np.array(corners, np.int64)


def _some(corners: NDArray[np.int64], points: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """So many of the corners, at equal distances from one to the next; all, where they are no more."""
    first = generator.integers(len(corners))
    if len(corners) <= points:
        return corners
    places = (first + np.arange(points) * len(corners) // points) % len(corners)
    return np.take(corners, places, axis=0)


def polygon(corners: NDArray[np.int64], shape: tuple[int, ...]) -> Mask:
    """The pixels of a shape whose centres lie inside a polygon, by the even-odd rule; ``corners`` (n, 2): (row, column)
    of corners of pixels."""
    inside = np.zeros(shape, bool)
    centres = np.arange(shape[1]) + 0.5
    for (y0, x0), (y1, x1) in zip(corners.tolist(), np.roll(corners, -1, axis=0).tolist(), strict=True):
        if y0 != y1:
            rows = np.arange(min(y0, y1), max(y0, y1))
            crossing = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
            inside[rows] ^= crossing[:, None] < centres
    return inside


COARSE = ErrorType(draw, 8, "number of points of the polygon, 3 or more", ("nearest", "background", "ignore"))
