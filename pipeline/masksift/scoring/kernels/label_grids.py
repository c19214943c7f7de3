"""Sample labels and predicted classes on a coarse grid, and count where they agree if the labels were misplaced."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import inner, kernel

GRID_SIDE = 16
"""Rows and columns of a grid."""

CELLS = GRID_SIDE * GRID_SIDE
"""Cells of a grid; also the number of its circular displacements."""

MIRRORED_COLUMNS, MIRRORED_ROWS, ROTATED = range(CELLS, CELLS + 3)
"""Numbers of the transforms that mirror the columns, the rows, and both."""

NEIGHBORS = (-1, 1, -2, 2)
"""Distances of the images whose predictions are compared with the labels; transform number ``CELLS + 3 + n``."""

LEAST_VALID_CELLS = CELLS // 2
"""An image with fewer valid cells is not compared."""

# A transform explains labels that agree badly with the predictions if it gains at least a tenth of the valid cells, and
# at least half of those that do not agree.
_TENTH, _HALF = 10, 2


@kernel
def _sample(labels, predicted, sizes, ignored, grids):
    """Write the values of planes (n, H, W) at the centers of the cells to ``grids`` (n, 2, GRID_SIDE, GRID_SIDE)."""
    for i in range(len(labels)):
        height, width = sizes[i, 0], sizes[i, 1]
        if height < GRID_SIDE or width < GRID_SIDE:
            grids[i] = ignored
            continue
        for y in range(GRID_SIDE):
            row = (2 * y + 1) * height // (2 * GRID_SIDE)
            for x in range(GRID_SIDE):
                column = (2 * x + 1) * width // (2 * GRID_SIDE)
                grids[i, 0, y, x], grids[i, 1, y, x] = labels[i, row, column], predicted[i, row, column]


def sample_grids(
    labels: NDArray[np.unsignedinteger], predicted_class: NDArray[np.unsignedinteger], sizes: NDArray[np.int64]
) -> NDArray[np.unsignedinteger]:
    """Return labels and predicted classes at the centers of the cells of a grid.

    Args:
        labels: Class planes (n, H, W); ignored pixels hold the dtype's maximum.
        predicted_class: Predicted classes (n, H, W), same dtype.
        sizes: Rows and columns without padding, (n, 2). In an image with fewer than `GRID_SIDE` of either, all cells
            are ignored.

    Returns:
        Labels and predicted classes, (n, 2, GRID_SIDE, GRID_SIDE).
    """
    grids = np.empty((len(labels), 2, GRID_SIDE, GRID_SIDE), labels.dtype)
    ignored, inside = np.iinfo(labels.dtype).max, sizes.clip(0, labels.shape[1:]).astype(np.int64)
    _sample(labels, predicted_class, inside, labels.dtype.type(ignored), grids)
    return grids


@inner
def _agreeing(labels, predicted, ignored):
    """Return the number of cells whose label is the predicted class."""
    count = 0
    for y in range(GRID_SIDE):
        for x in range(GRID_SIDE):
            count += (labels[y, x] == predicted[y, x]) & (labels[y, x] != ignored)
    return count


@inner
def _best_displacement(labels, predicted, repeated, counts):
    """Return the displacement by which labels agree best with predicted classes, and the number of cells that agree.

    Displacement ``GRID_SIDE * dy + dx`` compares label (y, x) with predicted class (y - dy, x - dx), both modulo
    `GRID_SIDE`; of equal ones the first counts. ``repeated`` (GRID_SIDE, 2 GRID_SIDE) and ``counts`` (GRID_SIDE,
    GRID_SIDE) are scratch. Ignored labels are no predicted class.
    """
    for y in range(GRID_SIDE):
        for x in range(GRID_SIDE):  # backward, so that displacements read consecutive cells
            repeated[y, x] = repeated[y, x + GRID_SIDE] = predicted[y, (GRID_SIDE - x) % GRID_SIDE]
    for dy in range(GRID_SIDE):
        of_row = counts[dy]
        of_row[:] = 0
        for y in range(GRID_SIDE):
            row, label = repeated[(y - dy) % GRID_SIDE], labels[y]
            for dx in range(GRID_SIDE):  # vectorized by the compiler: 20 times as fast as with the loops exchanged
                count = np.uint8(0)
                for x in range(GRID_SIDE):
                    count = np.uint8(count + (row[GRID_SIDE - x + dx] == label[x]))
                of_row[dx] += count
    most, best = -1, 0
    for dy in range(GRID_SIDE):
        for dx in range(GRID_SIDE):
            if counts[dy, dx] > most:
                most, best = counts[dy, dx], GRID_SIDE * dy + dx
    return best, most


@kernel
def _find(grids, source, neighbors, ignored, repeated, counts, cells, transforms):
    """Write valid and agreeing cells of each image to ``cells`` (n, 3): as it is, and with the best transform."""
    for i in range(len(grids)):
        labels = grids[i, 0]
        valid = 0
        for y in range(GRID_SIDE):
            for x in range(GRID_SIDE):
                valid += labels[y, x] != ignored
        agreeing = _agreeing(labels, grids[i, 1], ignored)
        cells[i, 0], cells[i, 1], cells[i, 2] = valid, agreeing, agreeing
        transforms[i] = 0
    for i in range(len(grids)):
        valid, own = cells[i, 0], cells[i, 1]
        if valid < LEAST_VALID_CELLS or _TENTH * (valid - own) < valid:
            continue  # too little can be gained
        labels, predicted = grids[i, 0], grids[i, 1]
        transform, best = _best_displacement(labels, predicted, repeated, counts)
        mirrored = (predicted[:, ::-1], predicted[::-1], predicted[::-1, ::-1])
        for number in range(3):
            agreeing = _agreeing(labels, mirrored[number], ignored)
            if agreeing > best:
                transform, best = CELLS + number, agreeing
        for number in range(len(neighbors)):
            j = i + neighbors[number]
            if j < 0 or j >= len(grids) or source[j] != source[i] or cells[j, 0] < LEAST_VALID_CELLS:
                continue
            agreeing = _agreeing(labels, grids[j, 1], ignored)
            # not if the neighbor's own labels fit better: consecutive frames of a video look alike
            if agreeing > best and agreeing * cells[j, 0] >= cells[j, 1] * valid:
                transform, best = CELLS + 3 + number, agreeing
        if _TENTH * (best - own) >= valid and _HALF * (best - own) >= valid - own:
            transforms[i], cells[i, 2] = transform, best


def find_transforms(
    grids: NDArray[np.unsignedinteger], source: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find images whose labels agree much better with the predictions if they were misplaced as a whole.

    The grid of labels is compared with the grid of predicted classes under all circular displacements, mirrored
    left to right, top to bottom and both, and with those of the images before and after. The transform with the most
    agreeing cells counts, the first of equal ones, if it gains at least a tenth of the valid cells and at least half of
    those that do not agree as they are.

    Args:
        grids: Grids (n, 2, GRID_SIDE, GRID_SIDE) of consecutive images (`sample_grids`).
        source: Number of the source of each image, (n,).

    Returns:
        The transform of each image, (n,) int64: 0 for none, a displacement ``GRID_SIDE * dy + dx`` of the labels, one
        of the mirrorings, or ``CELLS + 3 + n`` for the labels of the image at distance ``NEIGHBORS[n]``. And the valid
        cells, those that agree, and those that agree with the transform, (n, 3) int64.
    """
    cells, transforms = np.empty((len(grids), 3), np.int64), np.empty(len(grids), np.int64)
    repeated, counts = np.empty((GRID_SIDE, 2 * GRID_SIDE), grids.dtype), np.empty((GRID_SIDE, GRID_SIDE), np.int64)
    ignored = grids.dtype.type(np.iinfo(grids.dtype).max)
    neighbors = np.array(NEIGHBORS, np.int64)
    grids, source = grids.view(), np.array(source, np.int64)
    grids.flags.writeable = False  # as those of a table: the kernel is compiled for one kind of array
    _find(grids, source, neighbors, ignored, repeated, counts, cells, transforms)
    return transforms, cells
