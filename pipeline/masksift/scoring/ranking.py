"""Rank images by score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rank_order(
    scores: NDArray[np.float64], sources: NDArray[np.integer], indices: NDArray[np.integer]
) -> NDArray[np.intp]:
    """Return the rows in the order of review, lowest score first.

    Ties go by source, then by index in the source. Rows without a score (NaN) are left out.

    Args:
        scores: Scores (N,).
        sources: Source numbers (N,).
        indices: Image indices within their sources (N,).

    Returns:
        Row numbers (M,), M <= N.
    """
    order = np.lexsort((indices, sources, scores))
    return order[: int(np.isfinite(scores).sum())]


def percentiles(ranks: NDArray[np.integer], count: int) -> NDArray[np.float64]:
    """Return the percentage of all ``count`` ranked images reviewed after each rank, float64 in (0, 100]."""
    return ranks * 100 / max(count, 1)
