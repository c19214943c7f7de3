"""Labels that are misplaced as a whole, in plain loops: rolled, mirrored, or those of a neighboring image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

SIDE = 16  # rows and columns of the grid on which images are compared

Grid = list[list[int | None]]  # None: an ignored label
Found = tuple[str | None, float | None]
Transform = Callable[[int, int], tuple[int, int]]


def sample(plane: Sequence[Sequence[int | None]]) -> Grid:
    """The pixels at the centers of 16 x 16 cells; an image with fewer rows or columns has none."""
    height, width = len(plane), len(plane[0])
    if height < SIDE or width < SIDE:
        return [[None] * SIDE for _ in range(SIDE)]
    rows = [math.floor((i + Fraction(1, 2)) * height / SIDE) for i in range(SIDE)]
    columns = [math.floor((i + Fraction(1, 2)) * width / SIDE) for i in range(SIDE)]
    return [[plane[y][x] for x in columns] for y in rows]


def valid(labels: Grid) -> int:
    """Number of cells that are not ignored."""
    return sum(label is not None for row in labels for label in row)


def agreeing(labels: Grid, predicted: Grid, moved: Transform = lambda y, x: (y, x)) -> int:
    """Number of valid cells with the label that is predicted where the transform says they belong."""
    count = 0
    for y in range(SIDE):
        for x in range(SIDE):
            ty, tx = moved(y, x)
            count += labels[y][x] is not None and labels[y][x] == predicted[ty][tx]
    return count


def pixels(cells: int, extent: int) -> int:
    """Pixels of a displacement of at most half the image, rounded half up."""
    signed = cells - SIDE if cells > SIDE // 2 else cells
    return math.floor(Fraction(signed * extent, SIDE) + Fraction(1, 2))


def transforms(height: int, width: int) -> Iterator[tuple[str, Transform]]:
    """Name of each transform, and where a cell of transformed labels belongs."""
    for dy in range(SIDE):
        for dx in range(SIDE):
            name = f"roll(dy={pixels(dy, height)}, dx={pixels(dx, width)})"
            yield name, lambda y, x, dy=dy, dx=dx: ((y - dy) % SIDE, (x - dx) % SIDE)
    yield "flip(lr)", lambda y, x: (y, SIDE - 1 - x)
    yield "flip(ud)", lambda y, x: (SIDE - 1 - y, x)
    yield "rotate(180)", lambda y, x: (SIDE - 1 - y, SIDE - 1 - x)


def find_misplaced(
    labels: Sequence[Sequence[Sequence[int | None]]], predicted: Sequence[Sequence[Sequence[int | None]]]
) -> list[Found]:
    """Transform and gain of each image of one source, (None, None) where the labels seem to be in place.

    Labels are None where they are ignored, and everywhere in an image that is not scored.
    """
    given, found = [sample(plane) for plane in labels], [sample(plane) for plane in predicted]
    results: list[Found] = []
    for i, plane in enumerate(labels):
        n = valid(given[i])
        if 2 * n < SIDE * SIDE:
            results.append((None, None))
            continue
        candidates = [
            (agreeing(given[i], found[i], moved), name) for name, moved in transforms(len(plane), len(plane[0]))
        ]
        own = candidates[0][0]
        for distance in (-1, 1, -2, 2):
            j = i + distance
            if 0 <= j < len(labels) and 2 * valid(given[j]) >= SIDE * SIDE:
                count = agreeing(given[i], found[j])
                if Fraction(count, n) >= Fraction(agreeing(given[j], found[j]), valid(given[j])):
                    candidates.append((count, f"neighbor({distance:+d})"))
        best, name = max(candidates, key=lambda candidate: candidate[0])  # max returns the first of equal ones
        explains = 10 * (best - own) >= n and 2 * (best - own) >= n - own
        named = explains and best > own
        results.append((name, (best - own) / n) if named else (None, None))
    return results
