"""The kinds of known errors: the list, in the open. Each is a pure function of a plane, a generator and a setting."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from masksift.evaluation.simulate.error_types.base import Drawn, Kind, Plane, Setting, ignored_in
from masksift.evaluation.simulate.error_types.boundary import BOUNDARY
from masksift.evaluation.simulate.error_types.coarse import COARSE
from masksift.evaluation.simulate.error_types.drop import DROP
from masksift.evaluation.simulate.error_types.missing_region import MISSING_REGION
from masksift.evaluation.simulate.error_types.shift import SHIFT
from masksift.evaluation.simulate.error_types.swap import SWAP

__all__ = ["DRAWS", "KINDS", "Drawn", "Kind", "Plane", "Setting", "change", "ignored_in"]

KINDS: Mapping[str, Kind] = {
    "drop": DROP,
    "swap": SWAP,
    "shift": SHIFT,
    "boundary": BOUNDARY,
    "coarse": COARSE,
    "missing_region": MISSING_REGION,
}

DRAWS = 16
"""Draws after which an image is left as it is."""


def change(plane: Plane, generator: np.random.Generator, setting: Setting) -> Drawn | None:
    """The first draw that changes anything; None where none of them does."""
    for _ in range(DRAWS):
        drawn = KINDS[setting.kind].draw(plane, generator, setting)
        if drawn is None:
            return None
        if not np.array_equal(drawn.plane, plane):
            return drawn
    return None
