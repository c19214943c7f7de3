"""boundary: a mask is drawn too large or too small all around."""

from __future__ import annotations

import numpy as np

from masksift.evaluation.simulate.error_types.base import (
    CorruptedLabels,
    ErrorParams,
    ErrorType,
    Plane,
    choose,
    distances,
    ignored_in,
    reshaped,
)


def draw(plane: Plane, generator: np.random.Generator, setting: ErrorParams) -> CorruptedLabels | None:
    """The outline was drawn outside of the object, or inside, by chance: a dilation or an erosion with a disk.

    A kind of this project's own: hurried outlines are the commonest flaw of real labels. Edges of the image, and
    ignored pixels, are no boundary. An erosion leaves at least one pixel, or is none. ``size``: the radius of the disk,
    a share of the image's diagonal, at least one pixel.
    """
    chosen = choose(plane, generator, setting)
    if chosen is None:
        return None
    label, mask = chosen
    radius = max(1.0, setting.size * float(np.hypot(*plane.shape)))
    outside = ~mask & (plane != ignored_in(plane))
    if not outside.any():
        return None
    new = distances(mask) <= radius if generator.random() < 0.5 else mask & (distances(outside) > radius)
    return CorruptedLabels(reshaped(plane, label, mask, new, setting) if new.any() else plane, (label,))


BOUNDARY = ErrorType(
    draw,
    0.01,
    "radius of the dilation or erosion, as a share of the image's diagonal",
    ("nearest", "background", "ignore"),
)
