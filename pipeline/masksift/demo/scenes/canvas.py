"""Canvas behind a pinhole camera: shapes in meters become colors and labels of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

OVERSAMPLING = 2
"""Canvas pixels per image pixel and axis; averaging them gives edges the mixed colors of a sensor."""

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]
Point3D = tuple[float, float, float]
"""Meters to the right of the camera, above the ground and ahead of the camera."""


def rgb(values: object) -> Floats:
    """Return colors as float32, (..., 3)."""
    return np.asarray(values, np.float32)


class Canvas:
    """Colors and labels of a scene. Shapes are drawn from far to near, so that near ones cover far ones."""

    def __init__(self, height: int, width: int, generator: np.random.Generator) -> None:
        """Draw the camera, the weather and the noise of a scene of height x width image pixels at random."""
        rows, columns = OVERSAMPLING * height, OVERSAMPLING * width
        self.colors = np.zeros((rows, columns, 3), np.float32)
        self.labels = np.full((rows, columns), 255, np.uint8)
        self.focal = columns * float(generator.uniform(0.72, 0.95))
        self.horizon = rows * float(generator.uniform(0.40, 0.50))
        self.center = columns * float(generator.uniform(0.42, 0.58))
        self.eye = float(generator.uniform(1.35, 1.75))
        self.haze = rgb([0.72, 0.76, 0.82]) * np.float32(generator.uniform(0.85, 1.1))
        self.visibility = float(generator.uniform(150, 600))
        self.fine = _noise(generator, (rows, columns), (0.8, 2))
        self.coarse = _noise(generator, (rows, columns), (4, 12, 30))

    def project(self, point: Point3D) -> tuple[float, float]:
        """Return the column and row of a point."""
        right, up, ahead = point
        return self.center + self.focal * right / ahead, self.horizon + self.focal * (self.eye - up) / ahead

    def pixels(self) -> tuple[Floats, Floats]:
        """Return the columns and rows of all pixel centers."""
        rows, columns = np.mgrid[: self.labels.shape[0], : self.labels.shape[1]].astype(np.float32) + np.float32(0.5)
        return columns, rows

    def draw(
        self,
        points: Sequence[Point3D],
        color: Sequence[float] | Floats,
        label: int | None,
        grain: float = 0.08,
        opacity: float = 1.0,
    ) -> None:
        """Fill a polygon.

        Args:
            points: Corners.
            color: RGB in [0, 1].
            label: Class of the pixels; None leaves their labels unchanged, for shadows and reflections.
            grain: Strength of the texture.
            opacity: Share of the new color.
        """
        corners = [self.project(point) for point in points]
        columns, rows = zip(*corners, strict=True)
        top, bottom = np.clip([np.floor(min(rows)), np.ceil(max(rows))], 0, self.labels.shape[0]).astype(int)
        left, right = np.clip([np.floor(min(columns)), np.ceil(max(columns))], 0, self.labels.shape[1]).astype(int)
        if top >= bottom or left >= right:
            return
        image = Image.new("1", (int(right - left), int(bottom - top)))
        ImageDraw.Draw(image).polygon([(x - left, y - top) for x, y in corners], fill=1)
        self.fill(
            (slice(top, bottom), slice(left, right)), np.asarray(image), color, label, points[0][2], grain, opacity
        )

    def fill(
        self,
        window: tuple[slice, slice],
        mask: NDArray[np.bool_],
        color: Sequence[float] | Floats,
        label: int | None,
        distance: float | Floats,
        grain: float,
        opacity: float = 1.0,
    ) -> None:
        """Fill the masked pixels of a window, seen through ``distance`` meters of haze."""
        texture = grain * (self.fine[window][mask] + self.coarse[window][mask])
        tone, meters = np.asarray(color, np.float32), np.asarray(distance, np.float32)
        values = (tone if tone.ndim == 1 else tone[mask]) * (1 + texture[:, None])
        air = np.exp(-(meters[mask] if meters.ndim else meters) / self.visibility)[..., None]
        values = values * air + self.haze * (1 - air)
        colors = self.colors[window]
        colors[mask] = opacity * values + (1 - opacity) * colors[mask]
        if label is not None:
            self.labels[window][mask] = label

    def box(self, left: float, bottom: float, right: float, top: float, ahead: float, *paint: Any) -> None:
        """Fill a rectangle that faces the camera; ``paint`` are further arguments of `draw`."""
        corners = [(left, bottom, ahead), (left, top, ahead), (right, top, ahead), (right, bottom, ahead)]
        self.draw(corners, *paint)

    def disc(self, right: float, up: float, ahead: float, radii: tuple[float, float], *paint: Any) -> None:
        """Fill an ellipse that faces the camera; ``paint`` are further arguments of `draw`."""
        angles = np.linspace(0, 2 * np.pi, 20, endpoint=False).tolist()
        corners = [(right + radii[0] * np.cos(a), up + radii[1] * np.sin(a), ahead) for a in angles]
        self.draw(corners, *paint)

    def finish(self) -> tuple[Floats, Labels]:
        """Return the mean colors (h, w, 3) of the image pixels, and their labels (h, w)."""
        step = OVERSAMPLING
        rows, columns = self.labels.shape[0] // step, self.labels.shape[1] // step
        colors = self.colors.reshape(rows, step, columns, step, 3).mean(axis=(1, 3))
        return np.asarray(colors, np.float32), self.labels[step // 2 :: step, step // 2 :: step].copy()


def _noise(generator: np.random.Generator, shape: tuple[int, int], radii: Sequence[float]) -> Floats:
    """Sum blurred white noise of several radii, each with deviation 1, to deviation 1."""
    total = np.zeros(shape, np.float32)
    for radius in radii:
        layer = ndimage.gaussian_filter(generator.standard_normal(shape, dtype=np.float32), radius * shape[0] / 512)
        total += layer / max(float(layer.std()), 1e-6)
    return total / np.float32(len(radii) ** 0.5)
