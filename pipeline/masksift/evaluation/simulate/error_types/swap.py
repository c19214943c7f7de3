"""Error type `swap`: the annotator confused two classes, everywhere in the image or for one object.

*Swap* of Lad & Mueller 2023 (arXiv 2307.05080); the swap of one object is masksift's addition. Both classes are among
`classes`. A whole swap exchanges two classes of the image; an object may get a class that the image does not have.
`size` is the least share of the valid pixels that changes.
"""

from __future__ import annotations

import numpy as np

from masksift.evaluation.simulate.error_types.base import (
    CorruptedLabels,
    ErrorParams,
    ErrorType,
    Plane,
    choose_mask,
    class_counts,
    ignored_value,
)


def draw(plane: Plane, rng: np.random.Generator, params: ErrorParams) -> CorruptedLabels | None:
    """Exchange two classes (`whole`), or relabel one object (`one`)."""
    return _relabel_object(plane, rng, params) if params.objects == "one" else _exchange_classes(plane, rng, params)


def _exchange_classes(plane: Plane, rng: np.random.Generator, params: ErrorParams) -> CorruptedLabels | None:
    min_pixels = params.size * np.count_nonzero(plane != ignored_value(plane))
    counts = class_counts(plane, params.classes)
    pairs = [(a, b) for a in counts for b in counts if a < b and counts[a] + counts[b] >= min_pixels]
    if not pairs:
        return None
    a, b = pairs[rng.integers(len(pairs))]
    result = plane.copy()
    result[plane == a], result[plane == b] = b, a
    return CorruptedLabels(result, (a, b))


def _relabel_object(plane: Plane, rng: np.random.Generator, params: ErrorParams) -> CorruptedLabels | None:
    choice = choose_mask(plane, rng, params, params.size)
    others = [k for k in params.classes if choice is not None and k != choice[0]]
    if choice is None or not others:
        return None
    label, mask = choice
    new_label = others[rng.integers(len(others))]
    result = plane.copy()
    result[mask] = new_label
    return CorruptedLabels(result, (label, new_label))


SWAP = ErrorType(draw, 0.01, "least share of the valid pixels that changes", fills=())
