"""shift: the mask of a class, or of one object, lies beside its place."""

from __future__ import annotations

import numpy as np

from masksift.evaluation.simulate.error_types.base import (
    CorruptedLabels,
    ErrorParams,
    ErrorType,
    Mask,
    Plane,
    choose,
    reshaped,
)


def draw(plane: Plane, generator: np.random.Generator, setting: ErrorParams) -> CorruptedLabels | None:
    """The mask is displaced, in any direction: labels drawn on another frame, or on another resolution.

    *Shift* of Lad & Mueller 2023 (arXiv 2307.05080); how far, and what fills the uncovered pixels, is this project's
    choice. What leaves the image is lost. ``size``: the distance, a share of the image's diagonal, at least one pixel.
    """
    chosen = choose(plane, generator, setting)
    if chosen is None:
        return None
    label, mask = chosen
    distance = max(1.0, setting.size * float(np.hypot(*plane.shape)))
    turn = generator.uniform(0, 2 * np.pi)
    new = displaced(mask, round(distance * np.sin(turn)), round(distance * np.cos(turn)))
    return CorruptedLabels(reshaped(plane, label, mask, new, setting), (label,))


def displaced(mask: Mask, rows: int, columns: int) -> Mask:
    """The mask, so many rows further down and columns further right."""
    moved = np.zeros_like(mask)
    (to_y, from_y), (to_x, from_x) = (_spans(n, by) for n, by in zip(mask.shape, (rows, columns), strict=True))
    moved[to_y, to_x] = mask[from_y, from_x]
    return moved


def _spans(size: int, by: int) -> tuple[slice, slice]:
    """Where what stays inside comes to lie, and where it lay."""
    by = max(-size, min(size, by))
    return slice(max(0, by), size + min(0, by)), slice(max(0, -by), size - max(0, by))


SHIFT = ErrorType(draw, 0.05, "distance, as a share of the image's diagonal", ("nearest", "background", "ignore"))
