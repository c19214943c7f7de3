"""missing_region: a rectangle of the image was not labelled."""

from __future__ import annotations

import numpy as np

from masksift.evaluation.simulate.error_types.base import (
    CorruptedLabels,
    ErrorParams,
    ErrorType,
    Plane,
    counts_of,
    ignored_in,
)


def draw(plane: Plane, generator: np.random.Generator, setting: ErrorParams) -> CorruptedLabels | None:
    """A rectangle somewhere in the image is left at what a label image begins with: the background, or no label. Of the
    pixels in it, those of the setting's ``classes`` are lost.

    A kind of this project's own: tiles that were not saved, annotators who stopped. With `ignore` no score can see it:
    ignored pixels do not count. ``size``: the rectangle's share of the image's area; it is up to twice as long as wide.
    """
    height, width = plane.shape
    area, aspect = setting.size * height * width, 2.0 ** generator.uniform(-1, 1)
    rows = min(height, max(1, round((area * aspect) ** 0.5)))
    columns = min(width, max(1, round(area / rows)))
    y, x = generator.integers(height - rows + 1), generator.integers(width - columns + 1)
    after = plane.copy()
    inside = after[y : y + rows, x : x + columns]
    value = ignored_in(plane) if setting.background is None else setting.background
    lost = [k for k in counts_of(inside, setting.classes) if k != value]
    inside[np.isin(inside, lost)] = value
    return CorruptedLabels(after, tuple(lost))


MISSING_REGION = ErrorType(draw, 0.05, "share of the image's area", ("background", "ignore"), objects=False)
