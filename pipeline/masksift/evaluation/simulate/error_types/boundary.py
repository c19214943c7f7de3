"""Error type `boundary`: a mask is too large or too small all around.

This error type is masksift's own: hurried outlines are the most common flaw of real labels. The image border and
ignored pixels are no boundary. An erosion that would leave no pixel changes nothing. `size` is the radius of the disk
as a share of the image diagonal, at least one pixel.
"""

from __future__ import annotations

import numpy as np

from masksift.evaluation.simulate.error_types.base import (
    ErrorParams,
    Mask,
    Plane,
    distance_to,
    ignored_value,
    mask_error,
)


def dilate_or_erode(plane: Plane, mask: Mask, rng: np.random.Generator, params: ErrorParams) -> Mask:
    """Dilate or erode a mask with a disk, with equal probability."""
    radius = max(1.0, params.size * float(np.hypot(*plane.shape)))
    outside = ~mask & (plane != ignored_value(plane))
    if not outside.any():
        return mask
    new: Mask = distance_to(mask) <= radius if rng.random() < 0.5 else mask & (distance_to(outside) > radius)
    return new if new.any() else mask


BOUNDARY = mask_error(dilate_or_erode, 0.01, "radius of the dilation or erosion, as a share of the image's diagonal")
