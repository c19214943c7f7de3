"""Rank images by score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def percentiles(ranks: NDArray[np.integer], count: int) -> NDArray[np.float64]:
    """Return the percentage of all ``count`` ranked images reviewed after each rank, float64 in (0, 100]."""
    return ranks * 100 / max(count, 1)
