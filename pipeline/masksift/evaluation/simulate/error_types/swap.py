"""swap: two classes are exchanged all over an image, or one object is given another class."""

from __future__ import annotations

import numpy as np

from masksift.evaluation.simulate.error_types.base import (
    CorruptedLabels,
    ErrorParams,
    ErrorType,
    Plane,
    choose,
    counts_of,
    ignored_in,
)


def draw(plane: Plane, generator: np.random.Generator, setting: ErrorParams) -> CorruptedLabels | None:
    """The annotator took one class for another: everywhere in the image (`whole`), or once (`one`).

    *Swap* of Lad & Mueller 2023 (arXiv 2307.05080); that it may befall one object is this project's addition. Both
    classes are among the setting's ``classes``: of a whole swap the image has both, an object may be given any.
    ``size``: the least share of the valid pixels that changes.
    """
    return _object(plane, generator, setting) if setting.objects == "one" else _classes(plane, generator, setting)


def _classes(plane: Plane, generator: np.random.Generator, setting: ErrorParams) -> CorruptedLabels | None:
    floor = setting.size * np.count_nonzero(plane != ignored_in(plane))
    present = counts_of(plane, setting.classes)
    pairs = [(a, b) for a in present for b in present if a < b and present[a] + present[b] >= floor]
    if not pairs:
        return None
    a, b = pairs[generator.integers(len(pairs))]
    after = plane.copy()
    after[plane == a], after[plane == b] = b, a
    return CorruptedLabels(after, (a, b))


def _object(plane: Plane, generator: np.random.Generator, setting: ErrorParams) -> CorruptedLabels | None:
    chosen = choose(plane, generator, setting, setting.size)
    others = [k for k in setting.classes if chosen is not None and k != chosen[0]]
    if chosen is None or not others:
        return None
    label, mask = chosen
    other = others[generator.integers(len(others))]
    after = plane.copy()
    after[mask] = other
    return CorruptedLabels(after, (label, other))


SWAP = ErrorType(draw, 0.01, "least share of the valid pixels that changes")
