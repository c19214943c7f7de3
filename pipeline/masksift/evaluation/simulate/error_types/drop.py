"""drop: a class, or one object of it, is lost."""

from __future__ import annotations

import numpy as np

from masksift.evaluation.simulate.error_types.base import (
    CorruptedLabels,
    ErrorParams,
    ErrorType,
    Plane,
    choose,
    reshaped,
)


def draw(plane: Plane, generator: np.random.Generator, setting: ErrorParams) -> CorruptedLabels | None:
    """The annotator did not label a class, or missed one object of it.

    *Drop* of Lad & Mueller 2023 (arXiv 2307.05080). The paper's own filling could not be consulted; here it is a
    choice: the class of the nearest pixel of another class, a background, or no label. ``size``: the least share of the
    valid pixels that is lost.
    """
    chosen = choose(plane, generator, setting, setting.size)
    if chosen is None:
        return None
    label, mask = chosen
    return CorruptedLabels(reshaped(plane, label, mask, np.zeros_like(mask), setting), (label,))


DROP = ErrorType(draw, 0.01, "least share of the valid pixels that is lost", ("nearest", "background", "ignore"))
