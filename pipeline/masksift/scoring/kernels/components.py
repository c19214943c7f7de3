"""Means over the connected components of a class plane, row by row.

A row is a sequence of runs, neighboring pixels of one class. A run joins the components of the runs that it touches in
the row above. A component without a run in a row is finished. Memory is proportional to a few rows, for any image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import inner, kernel
from masksift.scoring.kernels._union_find import find_root
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.pixel_statistics import HALF, SINGLE, half_to_fixed, sum_mode

_CLASS, _FIRST, _BEHIND = range(3)
"""Rows of a table of runs: class plus one, first column, column after the last."""


@dataclass(frozen=True)
class ComponentMeans:
    """Large and small components of n planes: their numbers, and sums and minima of their mean self-confidences.

    All are (n,) float64. A minimum without components is infinity.
    """

    large: NDArray[np.float64]
    large_sum: NDArray[np.float64]
    large_least: NDArray[np.float64]
    small: NDArray[np.float64]
    small_sum: NDArray[np.float64]
    small_least: NDArray[np.float64]


@inner
def _find_runs(plane, labels, classes, shifted, begins, words, runs):
    """Write the classes and columns of a row's runs into ``runs`` (3, W + 8).

    Scratch: ``shifted`` (W,); ``begins`` (W rounded up to a multiple of 8,), 1 where a run begins; ``words``, a view of
    ``begins`` as numbers of eight bytes, most of which are 0 because runs are long.

    Returns:
        The number of runs.
    """
    one, outside = shifted.dtype.type(1), labels.dtype.type(classes)
    for x in range(plane.size):  # a product instead of a branch lets the compiler vectorize
        shifted[x] = (plane[x] + one) * shifted.dtype.type(labels[x] < outside)
    begins[0] = 1
    for x in range(1, plane.size):
        begins[x] = shifted[x] != shifted[x - 1]
    found = np.int64(0)
    for word in range(words.size):
        if words[word]:
            for x in range(8 * word, 8 * word + 8):
                runs[_FIRST, found] = x
                found += np.int64(begins[x])
    runs[_FIRST, found] = plane.size
    valid = np.int64(0)
    for r in range(found):
        shifted_class = shifted[runs[_FIRST, r]]
        runs[_CLASS, valid] = shifted_class
        runs[_BEHIND, valid] = runs[_FIRST, r + 1]
        runs[_FIRST, valid] = runs[_FIRST, r]
        valid += np.int64(shifted_class > 0)
    return valid


@inner
def _sum_runs(codes, mode, runs, found, along, totals):
    """Sum the codes of each run into ``totals`` (W,): integers as differences of cumulative sums, float32 directly."""
    if mode == SINGLE:
        for r in range(found):
            total = totals.dtype.type(0)
            for x in range(runs[_FIRST, r], runs[_BEHIND, r]):
                total += totals.dtype.type(codes[x])
            totals[r] = total
        return
    so_far = np.int64(0)
    for x in range(codes.size):
        along[x] = so_far
        so_far += half_to_fixed(codes[x]) if mode == HALF else np.int64(codes[x])
    along[codes.size] = so_far
    for r in range(found):
        totals[r] = along[runs[_BEHIND, r]] - along[runs[_FIRST, r]]


@inner
def _join(runs, found, nodes, above, above_found, above_nodes, parents, count):
    """Assign the runs of a row to the nodes of the runs they touch above, or to new nodes from ``count`` on.

    Returns:
        The number of nodes, and whether any two were united.
    """
    near, united = 0, False
    for r in range(found):
        node = np.int64(-1)
        while near < above_found and above[_BEHIND, near] < runs[_FIRST, r]:
            near += 1
        other = near
        while other < above_found and above[_FIRST, other] <= runs[_BEHIND, r]:  # corners touch
            if above[_CLASS, other] == runs[_CLASS, r]:
                top = find_root(parents, above_nodes[other])
                if node < 0:
                    node = top
                elif top < node:
                    parents[node] = top
                    node = top
                    united = True
                elif node < top:
                    parents[top] = node
                    united = True
            other += 1
        if node < 0:
            node = count
            parents[node] = node
            count += 1
        nodes[r] = node
    return count, united


@inner
def _add_plane(plane, labels, codes, mode, classes, least_area, unit, row, table, sums, large, small):
    """Add [count, sum of means, minimum mean] of the components of one plane to ``large`` and ``small`` (3,).

    Scratch, of which arrays of two hold a row and the row above in turn: ``row`` and ``table`` (`_scratch`), and
    ``sums`` (2, 2 W) of the dtype of the sums.
    """
    height = plane.shape[0]
    shifted, begins, words, along, totals = row
    runs, nodes, areas, parents, number = table
    still_open, above_found = np.int64(0), np.int64(0)
    for y in range(height + 1):  # the row after the last has no runs and finishes all
        now, then = y % 2, 1 - y % 2
        area, total = areas[now], sums[now]
        found, count, united = np.int64(0), still_open, False
        for node in range(still_open):
            parents[node] = node
        if y < height:
            found = _find_runs(plane[y], labels[y], classes, shifted, begins, words, runs[now])
            _sum_runs(codes[y], mode, runs[now], found, along, totals)
            count, united = _join(runs[now], found, nodes[now], runs[then], above_found, nodes[then], parents, count)
        for node in range(still_open, count):
            area[node] = 0
            total[node] = 0
        for r in range(found):
            node = nodes[now, r]
            area[node] += runs[now, _BEHIND, r] - runs[now, _FIRST, r]
            total[node] += totals[r]
        if united:
            for node in range(count):
                top = find_root(parents, node)
                if top != node:
                    parents[node] = top
                    area[top] += area[node]
                    total[top] += total[node]
        for node in range(count):
            number[node] = -1
        before, still_open = still_open, np.int64(0)
        for r in range(found):
            top = parents[nodes[now, r]]
            if number[top] < 0:
                number[top] = still_open
                areas[then, still_open] = area[top]
                sums[then, still_open] = total[top]
                still_open += 1
            nodes[now, r] = number[top]
        for node in range(before):
            if parents[node] == node and number[node] < 0:
                mean = total[node] * unit / area[node]
                group = large if area[node] >= least_area else small
                group[0] += 1
                group[1] += mean
                if mean < group[2]:
                    group[2] = mean
        above_found = found


@kernel
def _means(planes, labels, codes, mode, classes, least_areas, unit, row, table, sums, large, small):
    """Add the components of each plane to ``large`` and ``small`` (n, 3), see `_add_plane`."""
    for i in range(len(planes)):
        _add_plane(
            planes[i],
            labels[i],
            codes[i],
            mode,
            classes,
            least_areas[i],
            unit,
            row,
            table,
            sums,
            large[i],
            small[i],
        )


def _scratch(width: int, classes_dtype: np.dtype[Any], sums_dtype: type) -> tuple[tuple[NDArray[Any], ...], ...]:
    """Return undefined arrays for one row, and for the runs of a row and their components."""
    begins = np.zeros((width + 7) // 8 * 8, np.uint8)
    totals: NDArray[Any] = np.empty(width, sums_dtype)
    row = (np.empty(width, classes_dtype), begins, begins.view(np.uint64), np.empty(width + 1, np.int64), totals)
    shapes = ((2, 3, width + 8), (2, width), (2, 2 * width), (2 * width,), (2 * width,))
    return row, tuple(np.empty(shape, np.int64) for shape in shapes)


def component_means(
    planes: NDArray[np.unsignedinteger],
    labels: NDArray[np.unsignedinteger],
    self_confidence: NDArray[np.unsignedinteger],
    encoding: Encoding,
    classes: int,
    least_areas: NDArray[np.int64],
) -> ComponentMeans:
    """Compute the mean self-confidences of the 8-connected components of class planes.

    Sums of codes are exact below 2^53 units, except for float32, which is summed in float64 row by row.

    Args:
        planes: Classes (n, H, W) whose components are found.
        labels: Class planes (n, H, W); ignored pixels, the dtype's maximum, belong to no component.
        self_confidence: Codes (n, H, W).
        encoding: Encoding of the codes.
        classes: Number of classes.
        least_areas: Smallest large component in pixels, (n,).

    Returns:
        Statistics of the component means.
    """
    planes, labels, codes = (np.ascontiguousarray(array) for array in (planes, labels, self_confidence))
    single = encoding.dtype == "float32"
    codes, unit = (codes.view(np.float32), 1.0) if single else (codes, float(encoding.unit))
    large, small = (np.tile([0.0, 0.0, np.inf], (len(planes), 1)) for _ in range(2))
    width, dtype = planes.shape[2], np.float64 if single else np.int64
    row, table = _scratch(width, planes.dtype, dtype)
    sums = np.empty((2, 2 * width), dtype)
    _means(planes, labels, codes, sum_mode(encoding), classes, least_areas, unit, row, table, sums, large, small)
    return ComponentMeans(*large.T, *small.T)
