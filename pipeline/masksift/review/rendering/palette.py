"""Class colors that people with and without color blindness can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from masksift.core.specs import Color

MAX_COLORS = 254
"""Number of distinct colors; further classes repeat them from the start."""
_LEVELS = 12
"""Values of red, green and blue among the candidates."""
_FIRST = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
"""Okabe & Ito 2008, "Color Universal Design", without black."""
_CONE_MATRICES = (
    np.eye(3),
    np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
)
"""Linear light with normal vision, protanopia and deuteranopia: Machado, Oliveira & Fernandes 2009, severity 1."""


@cache
def _palette() -> NDArray[np.uint8]:
    """Select the colors greedily.

    Each color is the candidate with the largest distance from all earlier ones, where the distance is the smallest of
    the CIELAB distances in the three kinds of vision. Candidates near black and white are left out, because text and
    paper have those colors.

    Returns:
        (MAX_COLORS, 3) uint8, sRGB.
    """
    steps = np.linspace(0, 255, _LEVELS).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness = _lab(_linear(grid))[:, 0]
    first = np.array([[int(text[at : at + 2], 16) for at in (1, 3, 5)] for text in _FIRST], np.uint8)
    candidates = np.concatenate([first, grid[(lightness > 25) & (lightness < 92)]])
    views = [_lab(_linear(candidates) @ matrix.T) for matrix in _CONE_MATRICES]
    selected = list(range(len(first)))
    nearest = np.full(len(candidates), np.inf)
    for number in range(MAX_COLORS):
        if number == len(selected):
            selected.append(int(nearest.argmax()))
        distances = [np.linalg.norm(view - view[selected[number]], axis=1) for view in views]
        nearest = np.minimum(nearest, np.min(distances, axis=0))
    return candidates[selected]


def _linear(srgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Convert sRGB to linear light in [0, 1] (IEC 61966-2-1)."""
    value = srgb / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _lab(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert linear light to CIELAB, white point D65 (CIE 15)."""
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = np.clip(linear, 0, 1) @ to_xyz.T / (to_xyz @ np.ones(3))
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def class_colors(classes: int, chosen: Sequence[Color] = ()) -> NDArray[np.uint8]:
    """Return the (classes, 3) uint8 sRGB colors of classes.

    Args:
        classes: Number of classes.
        chosen: Colors of the source; without any, a class has the same generated color whatever the number of classes.
    """
    if chosen:
        return np.array(chosen, np.uint8)
    return _palette()[np.arange(classes) % MAX_COLORS]


def hex_colors(classes: int, chosen: Sequence[Color] = ()) -> list[str]:
    """Return the colors of `class_colors` as `#rrggbb`."""
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in class_colors(classes, chosen).tolist()]
