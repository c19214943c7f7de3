"""Registry of simulated annotation errors, one module per error type."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from masksift.evaluation.simulate.error_types.base import (
    CorruptedLabels,
    ErrorParams,
    ErrorType,
    Plane,
    ignored_value,
)
from masksift.evaluation.simulate.error_types.boundary import BOUNDARY
from masksift.evaluation.simulate.error_types.coarse import COARSE
from masksift.evaluation.simulate.error_types.drop import DROP
from masksift.evaluation.simulate.error_types.missing_region import MISSING_REGION
from masksift.evaluation.simulate.error_types.shift import SHIFT
from masksift.evaluation.simulate.error_types.swap import SWAP

__all__ = ["ERROR_TYPES", "CorruptedLabels", "ErrorParams", "ErrorType", "Plane", "apply_error", "ignored_value"]

ERROR_TYPES: Mapping[str, ErrorType] = {
    "drop": DROP,
    "swap": SWAP,
    "shift": SHIFT,
    "boundary": BOUNDARY,
    "coarse": COARSE,
    "missing_region": MISSING_REGION,
}

MAX_DRAWS = 16


def apply_error(plane: Plane, rng: np.random.Generator, params: ErrorParams) -> CorruptedLabels | None:
    """Draw errors until one changes a pixel. Returns None if none of `MAX_DRAWS` draws does."""
    for _ in range(MAX_DRAWS):
        corrupted = ERROR_TYPES[params.error_type].draw(plane, rng, params)
        if corrupted is None:
            return None
        if not np.array_equal(corrupted.plane, plane):
            return corrupted
    return None
