"""A painter's canvas behind a pinhole camera: street coordinates in metres go in, colours and labels come out.

World axes: `x` to the right and `z` ahead of the camera, `y` up, the ground at `y = 0`, all in metres. Objects are
painted far to near, each covering what it hides, so occlusion needs no depth buffer. The canvas is drawn at twice the
resolution of the picture and averaged (:meth:`Canvas.finish`), which gives edges the mixed colours of a real sensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]
Point = tuple[float, float]
Texture = Callable[[Floats, Floats], Floats]
"""(x, y) pixel coordinates, both (n,) float32 -> colours (n, 3) float32 in [0, 1]."""

OVERSAMPLING = 2
GROUND_SHADOW = (0.05, 0.05, 0.06)
CELL = 256
"""Side of the tileable noise, in texels."""


@dataclass(frozen=True)
class Camera:
    """A pinhole at height `height` metres looking along +z; `focal` and the vanishing point (`x0`, `y0`) in pixels."""

    focal: float
    x0: float
    y0: float
    height: float

    def pixel(self, x: float, y: float, z: float) -> Point:
        """Pixel (column, row) of the world point (x, y, z); z > 0 metres."""
        return self.x0 + self.focal * x / z, self.y0 + self.focal * (self.height - y) / z

    def pixels(self, points: Sequence[tuple[float, float, float]]) -> list[Point]:
        """The same for many points."""
        return [self.pixel(*point) for point in points]

    def on_side(self, px: Floats, py: Floats, x: float) -> tuple[Floats, Floats]:
        """(z, y) in metres seen at pixels of a wall that runs along the street in the plane `x` (nonzero)."""
        across = px - self.x0
        z = np.asarray(self.focal * x / np.where(np.abs(across) < 1e-3, 1e-3, across), np.float32)
        return z, self.height - (py - self.y0) * z / self.focal

    def on_front(self, px: Floats, py: Floats, z: float) -> tuple[Floats, Floats]:
        """(x, y) in metres seen at pixels of a wall that faces the camera in the plane `z`."""
        return (px - self.x0) * z / self.focal, self.height - (py - self.y0) * z / self.focal

    def on_ground(self, px: Floats, py: Floats) -> tuple[Floats, Floats]:
        """(x, z) in metres of the ground seen at pixels below the horizon; z is at most 400 m, also at and above it."""
        z = self.focal * self.height / np.maximum(py - self.y0, self.focal * self.height / 400)
        return (px - self.x0) * z / self.focal, z


def tileable_noise(generator: np.random.Generator, octaves: Sequence[float] = (1, 2, 4, 9, 20)) -> Floats:
    """Noise (CELL, CELL) float32, mean 0, deviation 1, seamless when repeated: equal parts of each blur radius."""
    total = np.zeros((CELL, CELL), np.float32)
    for sigma in octaves:
        layer = ndimage.gaussian_filter(generator.standard_normal((CELL, CELL), dtype=np.float32), sigma, mode="wrap")
        total += layer / layer.std()
    return np.asarray((total - total.mean()) / total.std(), np.float32)


def polygon_mask(points: Sequence[Point], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Mask:
    """Which pixel centres lie inside the polygon, by the even-odd rule: (len(rows), len(columns)) bool."""
    inside = np.zeros((rows.size, columns.size), bool)
    y = rows.astype(np.float32) + 0.5
    x = columns.astype(np.float32)[None, :] + 0.5
    for (xa, ya), (xb, yb) in zip(points, [*points[1:], points[0]], strict=True):
        if ya == yb:
            continue
        crossed = (y > min(ya, yb)) & (y <= max(ya, yb))
        at = (xa + (y - ya) * (xb - xa) / (yb - ya)).astype(np.float32)
        inside ^= crossed[:, None] & (x < at[:, None])
    return inside


def ellipse_points(centre: Point, radii: Point, corners: int = 18) -> list[Point]:
    """A polygon of `corners` corners on an ellipse, in the units of its centre."""
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    xs, ys = centre[0] + radii[0] * np.cos(turn), centre[1] + radii[1] * np.sin(turn)
    return [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]


def lit(colour: Sequence[float] | NDArray[np.floating], factor: float) -> list[float]:
    """A colour (3,) under `factor` times the light, at most 1."""
    return [min(float(channel) * factor, 1.0) for channel in colour]


class Canvas:
    """Colours (h, w, 3) float32 and labels (h, w) uint8 under the brush, with haze that grows with distance."""

    def __init__(self, height: int, width: int, camera: Camera, noise: Floats, haze: Floats, visibility: float) -> None:
        """`height`, `width` in canvas pixels; `haze` the colour (3,) of far air; `visibility` in metres (63 % haze)."""
        self.colour = np.zeros((height, width, 3), np.float32)
        self.labels = np.full((height, width), 255, np.uint8)
        self.camera, self.noise = camera, noise
        self.haze, self.visibility = haze, visibility

    def grain(self, u: Floats, v: Floats) -> Floats:
        """The noise at texture coordinates, repeated endlessly; same shape as `u`."""
        column, row = (np.floor(c).astype(np.int32) & (CELL - 1) for c in (u, v))
        return self.noise.ravel().take(row * CELL + column)

    def smooth_grain(self, u: Floats, v: Floats) -> Floats:
        """The same, interpolated between texels: for noise that is magnified."""
        a, b = u - np.floor(u), v - np.floor(v)
        upper = self.grain(u, v) * (1 - a) + self.grain(u + 1, v) * a
        lower = self.grain(u, v + 1) * (1 - a) + self.grain(u + 1, v + 1) * a
        return np.asarray(upper * (1 - b) + lower * b, np.float32)

    def window(self, points: Sequence[Point]) -> tuple[slice, slice]:
        """(rows, columns) of the canvas that hold the bounding box of `points`; empty when it lies outside."""
        height, width = self.labels.shape
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        left, right = (int(np.clip(v, 0, width)) for v in (np.floor(min(xs)), np.ceil(max(xs))))
        top, bottom = (int(np.clip(v, 0, height)) for v in (np.floor(min(ys)), np.ceil(max(ys))))
        return slice(top, bottom), slice(left, right)

    def coordinates(self, box: tuple[slice, slice]) -> tuple[Floats, Floats]:
        """Pixel centres (x, y) of a window, each (h, w) float32."""
        y, x = np.mgrid[box].astype(np.float32) + np.float32(0.5)
        return x, y

    def polygon(
        self,
        points: Sequence[Point],
        paint: Texture | Sequence[float],
        label: int | None,
        distance: float,
        opacity: float = 1.0,
    ) -> None:
        """Fill a polygon of pixel corners. `label=None` leaves the labels as they are (a shadow, a reflection)."""
        box = self.window(points)
        rows, columns = np.arange(box[0].start, box[0].stop), np.arange(box[1].start, box[1].stop)
        if not rows.size or not columns.size:
            return
        self.fill(box, polygon_mask(points, rows, columns), paint, label, distance, opacity)

    def fill(
        self,
        box: tuple[slice, slice],
        mask: Mask,
        paint: Texture | Sequence[float],
        label: int | None,
        distance: float,
        opacity: float = 1.0,
    ) -> None:
        """Fill the masked pixels of a window, hazed as seen through `distance` metres of air."""
        row, column = np.nonzero(mask)
        if not row.size:
            return
        row, column = row + box[0].start, column + box[1].start
        at = row * self.labels.shape[1] + column
        if callable(paint):
            colour = paint(column.astype(np.float32) + np.float32(0.5), row.astype(np.float32) + np.float32(0.5))
        else:
            colour = np.asarray(paint, np.float32)
        air = float(np.exp(-distance / self.visibility))
        colour = colour * air + self.haze * (1 - air)
        pixels = self.colour.reshape(-1, 3)
        if opacity < 1:
            colour = pixels[at] * (1 - opacity) + colour * opacity
        pixels[at] = colour
        if label is not None:
            self.labels.reshape(-1)[at] = label

    def finish(self) -> tuple[Floats, Labels]:
        """Colours averaged over OVERSAMPLING x OVERSAMPLING canvas pixels, labels taken from one of them."""
        step = OVERSAMPLING
        height, width = self.labels.shape[0] // step, self.labels.shape[1] // step
        colour = self.colour.reshape(height, step, width, step, 3).mean(axis=(1, 3))
        return np.asarray(colour, np.float32), self.labels[step // 2 :: step, step // 2 :: step].copy()


@dataclass(frozen=True)
class Cutout:
    """A flat figure that faces us at (`x`, `z`), all of one label, drawn in units of `unit` metres from its foot."""

    canvas: Canvas
    x: float
    z: float
    label: int
    unit: float = 1.0
    lean: float = 0.0
    """To the right, in units a unit of height."""

    def at(self, right: float, up: float) -> Point:
        """The canvas pixel of a point of the figure."""
        return self.canvas.camera.pixel(self.x + (right + self.lean * up) * self.unit, up * self.unit, self.z)

    def polygon(self, corners: Sequence[Point], colour: Sequence[float]) -> None:
        """A part with the given corners (right, up)."""
        self.canvas.polygon([self.at(*corner) for corner in corners], colour, self.label, self.z)

    def box(self, left: float, bottom: float, right: float, top: float, colour: Sequence[float]) -> None:
        """A part with four right angles."""
        self.polygon([(left, bottom), (left, top), (right, top), (right, bottom)], colour)

    def disc(self, centre: Point, radii: Point, colour: Sequence[float]) -> None:
        """A round part."""
        self.polygon(ellipse_points(centre, radii), colour)

    def shadow(self, middle: float, radii: Point) -> None:
        """The dark patch under the figure, on the ground: it has no label of its own."""
        scale = self.canvas.camera.focal / self.z * self.unit
        patch = ellipse_points(self.at(middle, 0.0), (radii[0] * scale, radii[1] * scale))
        self.canvas.polygon(patch, GROUND_SHADOW, None, 0.0, 0.5)
