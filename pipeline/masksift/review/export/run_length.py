"""Convert the COCO run lengths of the region table to the run-length codes of other tools.

COCO alternates between counts of pixels outside and inside of a region, column by column over the whole image. The
others go row by row: CVAT within the box of the region, Label Studio over the whole image with four values per pixel,
packed into bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""Rows [y0, y1) and columns [x0, x1), as y0, x0, y1, x1."""
Mask = NDArray[np.bool_]

_VALUE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
"""Bits of a run length in Label Studio's code."""
_MAX_RUN = 1 << _LENGTH_BITS[-1]
CHANNELS = 4
"""Values of a pixel in Label Studio's code: red, green, blue, alpha."""


def box_mask(counts: NDArray[np.integer], height: int, box: Box) -> Mask:
    """Decode COCO run lengths within a box; memory grows with the box, not with the image of ``height`` rows."""
    y0, x0, y1, x1 = box
    ends = np.cumsum(counts, dtype=np.int64)
    starts, stops = ends[:-1:2], ends[1::2]
    columns, rows = np.divmod(starts, height)
    # A run that continues in the next column spans all rows, so it is one run in the box, too.
    positions = (columns - x0) * (y1 - y0) + rows - y0
    edges = np.empty(2 * len(positions), np.int64)
    edges[0::2], edges[1::2] = positions, positions + stops - starts
    lengths = np.diff(edges, prepend=0, append=(y1 - y0) * (x1 - x0))
    inside = np.arange(len(lengths)) % 2 == 1
    return np.ascontiguousarray(np.repeat(inside, lengths).reshape(x1 - x0, y1 - y0).T)


def row_run_lengths(mask: Mask) -> list[int]:
    """Encode a mask for CVAT: alternating counts of pixels outside and inside, row by row, outside first."""
    flat = mask.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts: list[int] = np.diff(changes, prepend=0, append=flat.size).tolist()
    return [0, *counts] if flat[0] else counts


def label_studio_rle(mask: Mask, corner: tuple[int, int], size: tuple[int, int]) -> list[int]:
    """Encode a mask for Label Studio.

    Args:
        mask: Mask of a part of the image.
        corner: Row and column of its upper left corner in the image.
        size: Rows and columns of the image.

    Returns:
        Bytes, 0 to 255 each.

    Raises:
        ValueError: The image has more pixels than the code can count.
    """
    height, width = size
    total = height * width * CHANNELS
    if total >= 1 << 32:
        raise ValueError(f"{height} x {width} pixels exceed the limit of a brush mask")
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    row, column = np.nonzero(np.diff(padded, axis=1))  # first column of each run, and the one after its last
    edges = (corner[0] + row) * width + corner[1] + column
    # a run at the end of a row and one at the start of the next are one run
    joined = np.zeros(len(edges), bool)
    joined[1:-1:2] = edges[1:-1:2] == edges[2::2]
    joined[2::2] |= joined[1:-1:2]
    ends = np.concatenate([edges[~joined], [height * width]]) * CHANNELS
    lengths = np.diff(ends, prepend=0)
    values = np.arange(len(lengths)) % 2 * 255
    return _pack_runs(total, lengths[lengths > 0], values[lengths > 0])


def _pack_runs(total: int, lengths: NDArray[np.int64], values: NDArray[np.int64]) -> list[int]:
    """Pack runs of values into bits.

    The header holds the number of values, the bits of a value and the possible bits of a length. Each run is a 1 bit,
    the index of its length's size, the length - 1, and the value.

    Args:
        total: Number of values.
        lengths: Lengths of the runs.
        values: Values of the runs.

    Returns:
        Bytes, 0 to 255 each.
    """
    splits = -(-lengths // _MAX_RUN)
    values, last = np.repeat(values, splits), np.cumsum(splits) - 1
    short = np.full(len(values), _MAX_RUN, np.int64)
    short[last] = lengths - (splits - 1) * _MAX_RUN
    which = np.searchsorted(np.array([1 << bits for bits in _LENGTH_BITS]), short)
    bits = np.array(_LENGTH_BITS)[which]
    codes = (((4 | which) << bits | (short - 1)) << _VALUE_BITS) | values
    header = [(total, 32), (_VALUE_BITS - 1, 5), *((size - 1, 4) for size in _LENGTH_BITS)]
    all_codes = np.concatenate([np.array([code for code, _ in header], np.int64), codes])
    sizes = np.concatenate([np.array([size for _, size in header], np.int64), 3 + bits + _VALUE_BITS])
    return np.packbits(_to_bits(all_codes, sizes)).tolist()


def _to_bits(codes: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the lowest ``sizes`` bits of each code, most significant first."""
    ends = np.repeat(np.cumsum(sizes), sizes)  # end of the bits of each code
    return (np.repeat(codes, sizes) >> (ends - np.arange(sizes.sum()) - 1) & 1).astype(np.uint8)
