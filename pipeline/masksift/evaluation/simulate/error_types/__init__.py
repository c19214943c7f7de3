"""The kinds of known errors: the list, in the open. Each is a pure function of a plane, a generator and a setting."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from masksift.evaluation.simulate.error_types.base import CorruptedLabels, ErrorParams, ErrorType, Plane, ignored_in
from masksift.evaluation.simulate.error_types.boundary import BOUNDARY
from masksift.evaluation.simulate.error_types.coarse import COARSE
from masksift.evaluation.simulate.error_types.drop import DROP
from masksift.evaluation.simulate.error_types.missing_region import MISSING_REGION
from masksift.evaluation.simulate.error_types.shift import SHIFT
from masksift.evaluation.simulate.error_types.swap import SWAP

__all__ = ["DRAWS", "ERROR_TYPES", "CorruptedLabels", "ErrorParams", "ErrorType", "Plane", "apply_error", "ignored_in"]

ERROR_TYPES: Mapping[str, ErrorType] = {
    "drop": DROP,
    "swap": SWAP,
    "shift": SHIFT,
    "boundary": BOUNDARY,
    "coarse": COARSE,
    "missing_region": MISSING_REGION,
}

DRAWS = 16
"""Draws after which an image is left as it is."""


def apply_error(plane: Plane, generator: np.random.Generator, setting: ErrorParams) -> CorruptedLabels | None:
    """The first draw that changes anything; None where none of them does."""
    for _ in range(DRAWS):
        drawn = ERROR_TYPES[setting.kind].draw(plane, generator, setting)
        if drawn is None:
            return None
        if not np.array_equal(drawn.plane, plane):
            return drawn
    return None
