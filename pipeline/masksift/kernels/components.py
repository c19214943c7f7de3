"""Connected components of a class plane, through connected-components-3d, in strips of rows.

A strip bounds the memory, whatever the image and however torn its classes are. What a component has gathered in one
strip goes over to the next where the two touch; a component that does not reach a strip's last row is finished.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from masksift.kernels.compiling import inner, kernel
from masksift.kernels.encoding import Encoding
from masksift.kernels.tally import CODE, HALF, half_to_fixed, sum_mode

__all__ = ["STRIP", "ComponentMeans", "component_means", "join", "root"]

STRIP = 1 << 22
"""Pixels of a strip."""


@dataclass(frozen=True)
class ComponentMeans:
    """Of the components of one plane that are large enough, and of the smaller ones: how many there are, the sum of
    their mean self-confidences, and the least of these (infinity where there is none)."""

    large: int
    large_sum: float
    large_least: float
    small: int
    small_sum: float
    small_least: float


@kernel
def _shift(plane, labels, classes, shifted):
    """Class numbers plus one; 0, the library's background, where the label is ignored."""
    one, outside = shifted.dtype.type(1), labels.dtype.type(classes)
    for j in range(plane.size):  # a product, and no choice: the loop becomes SIMD code
        shifted[j] = (plane[j] + one) * shifted.dtype.type(labels[j] < outside)


@kernel
def _gather(components, codes, mode, singles, areas, sums):
    # Whole numbers below 2^53 in float64: exact for all but float32, which is summed in the order of the pixels.
    # A run of one component is added up before it is booked: components are long runs of pixels.
    current, area, total = np.int64(0), 0, 0.0
    for j in range(components.size):
        number = np.int64(components[j])
        if number != current:
            if current > 0:
                areas[current - 1] += area
                sums[current - 1] += total
            current, area, total = number, 0, 0.0
        area += 1
        if mode == CODE:
            total += np.float64(codes[j])
        elif mode == HALF:
            total += np.float64(half_to_fixed(codes[j]))
        else:
            total += np.float64(singles[j])
    if current > 0:
        areas[current - 1] += area
        sums[current - 1] += total


@inner
def root(parents, node):
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@kernel
def join(first, components, before, before_ids, parents, count):
    """Unite the open components of the strip before (nodes from `count` on) with those of this strip's first row."""
    for x in range(first.size):
        if before_ids[x] < 0:
            continue
        for near in range(max(0, x - 1), min(first.size, x + 2)):
            if first[near] == before[x]:
                a = root(parents, components[near] - 1)
                b = root(parents, count + before_ids[x])
                parents[max(a, b)] = min(a, b)


@kernel
def _close(last, parents, areas, sums, least_area, unit, stays, ids, open_areas, open_sums, large, small):
    """Gather every component in its root; finish those that do not reach the last row, number those that do.

    Answers how many stay open. `large`, `small`: [count, sum of means, least mean], added to.
    """
    for node in range(parents.size):
        top = root(parents, node)
        if top != node:
            areas[top] += areas[node]
            sums[top] += sums[node]
    number = 0
    for x in range(last.size):
        ids[x] = -1
        if stays and last[x] > 0:
            top = root(parents, last[x] - 1)
            if areas[top] > 0:  # met for the first time
                open_areas[number] = areas[top]
                open_sums[number] = sums[top]
                areas[top] = -number - 1  # from here on: its number
                number += 1
            ids[x] = -areas[top] - 1
    for node in range(parents.size):
        if parents[node] == node and areas[node] > 0:
            mean = sums[node] * unit / areas[node]
            kind = large if areas[node] >= least_area else small
            kind[0] += 1
            kind[1] += mean
            kind[2] = min(kind[2], mean)
    return number


def component_means(
    plane: NDArray[np.unsignedinteger],
    labels: NDArray[np.unsignedinteger],
    self_confidence: NDArray[np.unsignedinteger],
    encoding: Encoding,
    classes: int,
    least_area: int,
) -> ComponentMeans:
    """Mean self-confidences over the 8-connected components of one class plane.

    ``plane`` (H, W): the class numbers whose components are meant; ``labels`` (H, W): class numbers, ignored pixels
    (the dtype's maximum) belong to no component; ``self_confidence`` (H, W): codes. A component is a maximal
    8-connected set of valid pixels of one class; it is large from ``least_area`` pixels on.
    """
    height, width = plane.shape
    rows = max(1, STRIP // width)
    mode = sum_mode(encoding)
    unit = 1.0 if encoding.dtype == "float32" else float(encoding.unit)
    large, small = np.array([0.0, 0.0, np.inf]), np.array([0.0, 0.0, np.inf])
    before, ids = np.zeros(width, plane.dtype), np.full(width, -1, np.int64)
    open_areas, open_sums, still_open = np.zeros(width, np.int64), np.zeros(width), 0
    shifted = np.empty((min(rows, height), width), plane.dtype)
    for y in range(0, height, rows):
        part = shifted[: min(rows, height - y)]
        window = slice(y, y + len(part))
        _shift(plane[window].reshape(-1), labels[window].reshape(-1), classes, part.reshape(-1))
        components, count = cc3d.connected_components(part, connectivity=8, return_N=True)
        codes = np.ascontiguousarray(self_confidence[window]).reshape(-1)
        singles = codes.view(np.float32) if encoding.dtype == "float32" else np.empty(0, np.float32)
        areas = np.concatenate([np.zeros(count, np.int64), open_areas[:still_open]])
        sums = np.concatenate([np.zeros(count), open_sums[:still_open]])
        parents = np.arange(count + still_open)
        _gather(components.reshape(-1), codes, mode, singles, areas, sums)
        join(part[0], components[0], before, ids, parents, count)
        still_open = _close(
            components[-1], parents, areas, sums, least_area, unit, y + len(part) < height, ids, open_areas, open_sums,
            large, small,
        )  # fmt: skip
        before[:] = part[-1]
    return ComponentMeans(
        int(large[0]), float(large[1]), float(large[2]), int(small[0]), float(small[1]), float(small[2])
    )
