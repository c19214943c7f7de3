"""Scores -> ranks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rank_order(
    scores: NDArray[np.float64], sources: NDArray[np.integer], indices: NDArray[np.integer]
) -> NDArray[np.intp]:
    """The rows in the order of review: the lowest score first. scores, sources, indices: (N,).

    Ties go by source, then by index in the source. A row without a score (NaN) has no rank and is left out.
    """
    order = np.lexsort((indices, sources, scores))
    return order[: int(np.isfinite(scores).sum())]


def percentiles(ranks: NDArray[np.integer], count: int) -> NDArray[np.float64]:
    """float64: what percentage of all ``count`` ranked images one has seen after each of the ``ranks``, in (0, 100]."""
    return ranks * 100 / max(count, 1)
