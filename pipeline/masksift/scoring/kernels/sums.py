"""Sums of consecutive parts of an array, in the order of additions of `numpy.sum`.

Plain numpy: loops would be compiled for a second in the first run, and the arrays are small.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def segment_sums(values: NDArray[np.float64], ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum the parts of an array with the bits of `numpy.sum` of each.

    Args:
        values: Values of all parts, (ends[-1],).
        ends: End of each part, (n,), ascending.

    Returns:
        The sums, (n,).
    """
    # reduceat adds the pairwise sum of the other values to the first one, numpy.sum that of all values to 0
    starts = np.append(0, ends[:-1])
    firsts = starts + np.arange(len(ends))
    padded, is_value = np.zeros(len(values) + len(ends)), np.ones(len(values) + len(ends), bool)
    is_value[firsts] = False
    padded[is_value] = values
    return np.asarray(np.add.reduceat(padded, firsts))


def mean_overlaps(joint: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean intersection over union of the classes present, (n,) float64, NaN without one.

    Args:
        joint: Pixels by given and predicted class, (n, K, K).
    """
    both = joint.diagonal(axis1=1, axis2=2)
    either = joint.sum(axis=1) + joint.sum(axis=2) - both
    present = either > 0
    counts = np.count_nonzero(present, axis=1)
    sums = segment_sums(both[present] / either[present], np.cumsum(counts))
    return np.asarray(np.divide(sums, counts, out=np.full(len(joint), np.nan), where=counts > 0))
