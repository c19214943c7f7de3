"""Error type `shift`: a mask is displaced, as if it had been drawn on another frame or at another resolution.

*Shift* of Lad & Mueller 2023 (arXiv 2307.05080); the distance and the fill of uncovered pixels are masksift's choice.
Pixels that leave the image are lost. `size` is the distance as a share of the image diagonal, at least one pixel.
"""

from __future__ import annotations

import numpy as np

from masksift.evaluation.simulate.error_types.base import ErrorParams, Mask, Plane, mask_error


def displace(plane: Plane, mask: Mask, rng: np.random.Generator, params: ErrorParams) -> Mask:
    """Translate a mask in a random direction."""
    distance = max(1.0, params.size * float(np.hypot(*plane.shape)))
    angle = rng.uniform(0, 2 * np.pi)
    return translate(mask, round(distance * np.sin(angle)), round(distance * np.cos(angle)))


def translate(mask: Mask, rows: int, columns: int) -> Mask:
    """Move a mask down by ``rows`` and right by ``columns``; either may be negative."""
    moved = np.zeros_like(mask)
    (to_y, from_y), (to_x, from_x) = (_overlap(n, by) for n, by in zip(mask.shape, (rows, columns), strict=True))
    moved[to_y, to_x] = mask[from_y, from_x]
    return moved


def _overlap(size: int, offset: int) -> tuple[slice, slice]:
    """Target and origin of the pixels that stay inside along one axis."""
    offset = max(-size, min(size, offset))
    return slice(max(0, offset), size + min(0, offset)), slice(max(0, -offset), size - max(0, offset))


SHIFT = mask_error(displace, 0.05, "distance, as a share of the image's diagonal")
