"""Error type `drop`: the annotator did not label a class or one object.

*Drop* of Lad & Mueller 2023 (arXiv 2307.05080). The fill of the paper could not be consulted; here it is an option: the
nearest pixel of another class, a background class, or no label. `size` is the least share of the valid pixels that is
lost.
"""

from __future__ import annotations

import numpy as np

from masksift.evaluation.simulate.error_types.base import (
    CorruptedLabels,
    ErrorParams,
    ErrorType,
    Plane,
    choose_mask,
    replace_mask,
)


def draw(plane: Plane, rng: np.random.Generator, params: ErrorParams) -> CorruptedLabels | None:
    """Remove a class or one of its objects."""
    choice = choose_mask(plane, rng, params, params.size)
    if choice is None:
        return None
    label, mask = choice
    return CorruptedLabels(replace_mask(plane, label, mask, np.zeros_like(mask), params), (label,))


DROP = ErrorType(draw, 0.01, "least share of the valid pixels that is lost")
