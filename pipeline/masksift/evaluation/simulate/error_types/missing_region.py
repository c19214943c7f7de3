"""Error type `missing_region`: a rectangle is not labeled, like a tile that was not saved.

This error type is masksift's own. The rectangle gets the background or the ignored value; only pixels of `classes`
change. With the fill `ignore` no score can detect the error, because ignored pixels are not scored. `size` is the
rectangle's share of the image area; its aspect ratio is between 1:2 and 2:1.
"""

from __future__ import annotations

import numpy as np

from masksift.evaluation.simulate.error_types.base import (
    CorruptedLabels,
    ErrorParams,
    ErrorType,
    Plane,
    class_counts,
    ignored_value,
)


def draw(plane: Plane, rng: np.random.Generator, params: ErrorParams) -> CorruptedLabels | None:
    """Reset a random rectangle of the plane."""
    height, width = plane.shape
    area, aspect = params.size * height * width, 2.0 ** rng.uniform(-1, 1)
    rows = min(height, max(1, round((area * aspect) ** 0.5)))
    columns = min(width, max(1, round(area / rows)))
    y, x = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    result = plane.copy()
    inside = result[y : y + rows, x : x + columns]
    value = ignored_value(plane) if params.background is None else params.background
    lost = [k for k in class_counts(inside, params.classes) if k != value]
    inside[np.isin(inside, lost)] = value
    return CorruptedLabels(result, tuple(lost))


MISSING_REGION = ErrorType(draw, 0.05, "share of the image's area", ("background", "ignore"), single_object=False)
