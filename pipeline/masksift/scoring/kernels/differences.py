"""Keep the pixels of an image whose label and predicted class differ, the only ones that can be flagged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import kernel

Planes = tuple[
    NDArray[np.unsignedinteger], NDArray[np.unsignedinteger], NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]
]
"""Labels, predicted classes, and codes of self-confidence and of predicted confidence."""


@dataclass(frozen=True)
class Differences:
    """Pixels that differ, in pixel order; an ignored pixel always differs.

    Attributes:
        bits: Bit j % 8 of byte j // 8 is 1 if pixel j differs, uint8.
        values: Values of the planes at these pixels, (n,) each.
    """

    bits: NDArray[np.uint8]
    values: Planes


# Eight pixels at a time: most have no difference. Among those with any, each pixel is copied, and only the place of the
# next one depends on the comparison, because a branch would be mispredicted.


@kernel
def _gather(differs, words, labels, predicted, own, best, given, winner, low, high):
    """Copy the pixels that differ. ``words`` are words of eight of ``differs``. The outputs have eight more places."""
    found = np.int64(0)
    for word in range(words.size):
        if words[word]:
            for j in range(8 * word, 8 * word + 8):
                given[found], winner[found], low[found], high[found] = labels[j], predicted[j], own[j], best[j]
                found += np.int64(differs[j])
    for j in range(8 * words.size, differs.size):
        given[found], winner[found], low[found], high[found] = labels[j], predicted[j], own[j], best[j]
        found += np.int64(differs[j])


@kernel
def _scatter(bits, given, winner, low, high, labels, predicted, own, best):
    """Write the pixels that differ into planes of zeros."""
    found = 0
    for byte in range(bits.size):
        if bits[byte]:
            for j in range(8 * byte, min(8 * byte + 8, labels.size)):
                if (bits[byte] >> np.uint8(j & 7)) & 1:
                    labels[j], predicted[j], own[j], best[j] = given[found], winner[found], low[found], high[found]
                    found += 1


def find_differences(planes: Planes) -> Differences:
    """Find the pixels of an image whose label and predicted class differ.

    Args:
        planes: Planes (H, W), C-contiguous; labels of ignored pixels are the dtype's maximum.

    Returns:
        The pixels.
    """
    flat = [plane.reshape(-1) for plane in planes]
    differs = flat[0] != flat[1]
    words = differs[: differs.size // 8 * 8].view(np.uint64)
    count = int(np.count_nonzero(differs))
    values = [np.empty(count + 8, plane.dtype) for plane in flat]
    _gather(differs.view(np.uint8), words, *flat, *values)
    given, winner, low, high = (found[:count] for found in values)
    return Differences(np.packbits(differs, bitorder="little"), (given, winner, low, high))


def restore_planes(differences: Differences, planes: Planes) -> None:
    """Write the values of the pixels that differ into C-contiguous planes (H, W), and 0 everywhere else."""
    for plane in planes:
        plane[...] = 0
    _scatter(differences.bits, *differences.values, *(plane.reshape(-1) for plane in planes))
