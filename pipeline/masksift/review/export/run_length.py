"""Run-length codes of one region: COCO's, as the table of regions has it, into those of the tools.

COCO counts pixels outside and inside a region in turn, column by column of the whole image. The others go row by row:
CVAT in the region's box, Label Studio over the whole image, four bytes a pixel, packed into bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""Rows [y0, y1) and columns [x0, x1) as y0, x0, y1, x1."""
Mask = NDArray[np.bool_]

_WORD = 8
_SIZES = (3, 4, 8, 16)
"""Label Studio: bits of a value, and of the lengths of runs."""
_LONGEST = 1 << _SIZES[-1]
CHANNELS = 4
"""Values that Label Studio has for a pixel: red, green, blue, opacity."""


def box_mask(counts: NDArray[np.integer], height: int, box: Box) -> Mask:
    """The region in its box, (y1 - y0, x1 - x0) bool. ``counts``: COCO's, of an image of so many rows. Memory is of the
    box, whatever the image."""
    y0, x0, y1, x1 = box
    ends = np.cumsum(counts, dtype=np.int64)
    starts, stops = ends[:-1:2], ends[1::2]
    columns, rows = np.divmod(starts, height)
    # A run that goes on in the next column goes from the first row to the last: in the box it is one run, too.
    places = (columns - x0) * (y1 - y0) + rows - y0
    edges = np.empty(2 * len(places), np.int64)
    edges[0::2], edges[1::2] = places, places + stops - starts
    lengths = np.diff(edges, prepend=0, append=(y1 - y0) * (x1 - x0))
    inside = np.arange(len(lengths)) % 2 == 1
    return np.ascontiguousarray(np.repeat(inside, lengths).reshape(x1 - x0, y1 - y0).T)


def row_run_lengths(mask: Mask) -> list[int]:
    """Pixels outside and inside a mask in turn, row by row, beginning with those outside: CVAT's code in its box."""
    flat = mask.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts: list[int] = np.diff(changes, prepend=0, append=flat.size).tolist()
    return [0, *counts] if flat[0] else counts


def label_studio_rle(mask: Mask, place: tuple[int, int], size: tuple[int, int]) -> list[int]:
    """Label Studio's code of a mask whose upper left corner is at ``place`` (row, column) of an image of ``size``
    (rows, columns): bytes, 0 to 255 each. Raises ValueError where the image has more values than it can count."""
    height, width = size
    total = height * width * CHANNELS
    if total >= 1 << 32:
        raise ValueError(f"{height} x {width} pixels are more than a brush code can count")
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    row, column = np.nonzero(np.diff(padded, axis=1))  # each run's first column, and the one behind its last
    edges = (place[0] + row) * width + place[1] + column
    # a run that ends with its row and one that begins with the next are one
    joined = np.zeros(len(edges), bool)
    joined[1:-1:2] = edges[1:-1:2] == edges[2::2]
    joined[2::2] |= joined[1:-1:2]
    ends = np.concatenate([edges[~joined], [height * width]]) * CHANNELS
    lengths = np.diff(ends, prepend=0)
    values = np.arange(len(lengths)) % 2 * 255
    return _packed(total, lengths[lengths > 0], values[lengths > 0])


def _packed(total: int, lengths: NDArray[np.int64], values: NDArray[np.int64]) -> list[int]:
    """Runs of values as bits: a head (how many values, the bits of one, the bits of lengths), then of each run a 1,
    which of the sizes its length has, the length less 1, the value."""
    pieces = -(-lengths // _LONGEST)
    values, last = np.repeat(values, pieces), np.cumsum(pieces) - 1
    short = np.full(len(values), _LONGEST, np.int64)
    short[last] = lengths - (pieces - 1) * _LONGEST
    which = np.searchsorted(np.array([1 << bits for bits in _SIZES]), short)
    bits = np.array(_SIZES)[which]
    codes = (((4 | which) << bits | (short - 1)) << _WORD) | values
    head = [(total, 32), (_WORD - 1, 5), *((size - 1, 4) for size in _SIZES)]
    every = np.concatenate([np.array([code for code, _ in head], np.int64), codes])
    sizes = np.concatenate([np.array([size for _, size in head], np.int64), 3 + bits + _WORD])
    return np.packbits(_bits(every, sizes)).tolist()


def _bits(codes: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The lowest ``sizes`` bits of each code, the highest first."""
    behind = np.repeat(np.cumsum(sizes), sizes)  # where the bits of a code end
    return (np.repeat(codes, sizes) >> (behind - np.arange(sizes.sum()) - 1) & 1).astype(np.uint8)
