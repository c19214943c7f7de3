"""Sort the rows of a table by a number."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def sort_rows(
    table: pa.Table, by: str, *, highest_first: bool = False, limit: int | None = None
) -> tuple[NDArray[np.float64], pa.Table]:
    """Sort the rows with a finite value of a column; equal values keep their order.

    Args:
        table: The rows.
        by: Name of a float column.
        highest_first: Sort in descending order.
        limit: Largest number of rows to keep, None for all.

    Returns:
        Sort keys (n,) in ascending order, negated values if the highest comes first, and the rows.
    """
    values = table[by].to_numpy()
    keys = -values if highest_first else values
    order = np.argsort(keys, kind="stable")
    order = order[np.isfinite(keys[order])][:limit]
    return keys[order], table.take(order)
