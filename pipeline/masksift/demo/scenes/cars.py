"""Cars: parked, ahead, oncoming, and seen from the side where a road crosses ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from masksift.demo.scenes.canvas import GROUND_SHADOW, Canvas, Cutout, Floats, Point, ellipse_points, lit
from masksift.demo.scenes.street import CAR, Street

PAINTS = (
    (0.85, 0.85, 0.84),
    (0.12, 0.12, 0.13),
    (0.55, 0.56, 0.58),
    (0.36, 0.37, 0.39),
    (0.50, 0.10, 0.09),
    (0.13, 0.22, 0.42),
    (0.62, 0.58, 0.50),
    (0.18, 0.28, 0.22),
    (0.70, 0.71, 0.73),
    (0.24, 0.20, 0.18),
    (0.75, 0.60, 0.15),
)
GLASS = (0.13, 0.15, 0.18)
TYRE = (0.06, 0.06, 0.06)
HEADLAMP = (0.93, 0.92, 0.82)
TAIL_LIGHT = (0.62, 0.07, 0.06)

Corner = tuple[float, float, float]
"""Three numbers that say a place; which ones, the function says."""


@dataclass(frozen=True)
class Body:
    """The side view of a car in shares of its length (0 = rear bumper) and height.

    `rear` and `front` are the lengths at which the rear window and the windscreen stand on the body and meet the roof.
    """

    height: float
    length: float
    rear: Point
    front: Point
    waist: float = 0.64
    roof: float = 0.76
    """Width of the roof in shares of the body's width: the sides lean in above the waist."""

    def profile(self) -> list[Point]:
        """The outline of the whole side, counted from the rear bumper over the roof."""
        waist, (ra, rb), (fa, fb) = self.waist, self.rear, self.front
        body = [
            (0.0, 0.2),
            (0.0, waist - 0.06),
            (min(0.03, ra), waist),
            (ra, waist),
            (rb, 1.0),
            (fb, 1.0),
            (fa, waist),
        ]
        return [*body, (0.98, waist - 0.12), (1.0, 0.4), (0.99, 0.2)]

    def pane(self) -> list[Point]:
        """The side windows as one."""
        waist, (ra, rb), (fa, fb) = self.waist, self.rear, self.front
        return [(ra + 0.03, waist + 0.03), (rb + 0.03, 0.93), (fb - 0.03, 0.93), (fa - 0.05, waist + 0.03)]

    def pillar(self) -> list[Point]:
        """The post between the doors."""
        middle = (self.rear[1] + self.front[1]) / 2
        return [
            (middle - 0.015, self.waist),
            (middle - 0.015, 1.0),
            (middle + 0.015, 1.0),
            (middle + 0.015, self.waist),
        ]

    def reach(self, up: float) -> float:
        """Half the width at the height `up`, in shares of half the body's width."""
        return 1 - (1 - self.roof) * max(up - self.waist, 0) / (1 - self.waist)

    def window(self, front: bool) -> Point:
        """Lengths, from the end in question, of the foot and the top of the windscreen (`front`) or the rear window."""
        return (1 - self.front[0], 1 - self.front[1]) if front else self.rear


BODIES = (
    Body(1.45, 4.5, (0.17, 0.31), (0.82, 0.66)),
    Body(1.52, 4.1, (0.03, 0.12), (0.80, 0.63)),
    Body(1.72, 4.6, (0.02, 0.09), (0.80, 0.66)),
    Body(2.30, 5.3, (0.0, 0.02), (0.92, 0.80), 0.55, 0.92),
)
"""Saloon, hatchback, off-roader, van."""


def _paintwork(generator: np.random.Generator) -> Floats:
    return np.asarray(PAINTS[generator.integers(len(PAINTS))], np.float32) * np.float32(generator.uniform(0.85, 1.1))


def paint_car(
    canvas: Canvas, street: Street, x: float, z: float, generator: np.random.Generator, oncoming: bool
) -> None:
    """A car along the street whose near end is `z` metres ahead and whose middle is at `x`."""
    body = BODIES[generator.choice(len(BODIES), p=[0.35, 0.32, 0.21, 0.12])]
    paint = _paintwork(generator) * np.float32(street.light_at(x, z))
    half, camera = float(generator.uniform(0.86, 0.95)), canvas.camera
    inward = -half if x > 0 else half

    def side(share: float, up: float) -> Point:
        along = 1 - share if oncoming else share
        return camera.pixel(x + inward * body.reach(up), up * body.height, z + along * body.length)

    far = z + body.length
    shadow = [
        (x - half - 0.1, 0.0, z - 0.25),
        (x + half + 0.1, 0.0, z - 0.25),
        (x + half + 0.1, 0.0, far),
        (x - half - 0.1, 0.0, far),
    ]
    canvas.polygon(camera.pixels(shadow), GROUND_SHADOW, None, 0.0, 0.72)
    if abs(x) > half:
        flank = lit(paint, street.light.wall(1 if x > 0 else -1) * 0.85)
        canvas.polygon([side(*p) for p in body.profile()], flank, CAR, z)
        canvas.polygon(
            [side(s, v) for s, v in ((0.0, 0.2), (0.0, 0.34), (1.0, 0.34), (1.0, 0.2))],
            lit(flank, 0.72),
            CAR,
            z,
        )
        canvas.polygon([side(*p) for p in body.pane()], lit(GLASS, 1.2), CAR, z)
        canvas.polygon([side(*p) for p in body.pillar()], flank, CAR, z)
        for share in (0.19, 0.80):
            rim = [(share + 0.075 * np.cos(t), 0.21 + 0.21 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 12)]
            canvas.polygon([side(*p) for p in rim], TYRE, CAR, z)
    _paint_end(canvas, street, (x, z, half), body, paint, oncoming, generator)


def _paint_end(
    canvas: Canvas, street: Street, at: Corner, body: Body, paint: Floats, front: bool, generator: np.random.Generator
) -> None:
    """The end of a car that faces us: the cabin set back behind boot or bonnet, then bumper, lights, number plate.

    `at` = (x of the middle, z of the bumper, half the width) in metres.
    """
    (x, z, half), camera, waist, roof = at, canvas.camera, body.waist, body.roof
    glow = float(generator.uniform(0.9, 1.2))
    foot, top = (z + share * body.length for share in body.window(front))
    far = z + (1 - body.window(not front)[1]) * body.length
    sky = [c + 0.25 * (glow - 0.9) + (0.08 if street.light.sunny else 0.14) for c in GLASS]

    def across(low: Corner, high: Corner, colour: Sequence[float]) -> None:
        """A band from (half width, height, z) below to that above, symmetric about the middle of the car."""
        corners = [(-low[0], *low[1:]), (-high[0], *high[1:]), high, low]
        pixels = [camera.pixel(x + a * half, b * body.height, depth) for a, b, depth in corners]
        canvas.polygon(pixels, colour, CAR, z)

    across((roof, 1.0, top), (roof, 1.0, far), lit(paint, 1.2))
    across((1.0, waist, foot), (roof, 1.0, top), lit(paint, 1.02))
    across((0.88, waist + 0.03, foot), (roof - 0.08, 0.94, top), sky)
    across((1.0, waist - 0.06, z), (1.0, waist, foot), lit(paint, 1.15))
    figure = Cutout(canvas, x, z, CAR)

    def box(left: float, bottom: float, right: float, top: float, colour: Sequence[float]) -> None:
        figure.box(left * half, bottom * body.height, right * half, top * body.height, colour)

    for s in (-1, 1):
        box(s * 0.95, 0.0, s * 0.68, 0.3, TYRE)
    across((0.95, 0.14, z), (1.0, 0.34, z), lit(paint, 0.85))
    across((1.0, 0.34, z), (1.0, waist - 0.06, z), lit(paint, 0.85))
    across((1.0, waist - 0.14, z), (1.0, waist - 0.06, z), lit(paint, 1.0))
    across((0.95, 0.14, z), (0.99, 0.27, z), lit(paint, 0.5))
    for s in (-1, 1):
        box(s * 0.96, 0.41, s * 0.68, 0.52, lit(HEADLAMP if front else TAIL_LIGHT, glow * 0.95))
    if front:
        across((0.5, 0.34, z), (0.55, 0.46, z), (0.08, 0.08, 0.09))
    box(-0.28, 0.29, 0.28, 0.37, (0.80, 0.80, 0.72))


def paint_crossing_car(canvas: Canvas, street: Street, x: float, z: float, generator: np.random.Generator) -> None:
    """A car seen from the side, with its middle at `x`, on the road that crosses ours."""
    body = BODIES[generator.choice(len(BODIES), p=[0.4, 0.3, 0.2, 0.1])]
    paint, camera = _paintwork(generator) * np.float32(street.light_at(x, z)), canvas.camera
    way, metre = int(generator.choice([-1, 1])), canvas.camera.focal / z

    def at(share: float, up: float) -> Point:
        return camera.pixel(x + way * (share - 0.5) * body.length, up * body.height, z)

    canvas.polygon(ellipse_points(at(0.5, 0), (0.52 * body.length * metre, 0.1 * metre)), GROUND_SHADOW, None, 0.0, 0.7)
    canvas.polygon([at(*p) for p in body.profile()], lit(paint, 0.95), CAR, z)
    canvas.polygon([at(s, v) for s, v in ((0.0, 0.2), (0.0, 0.36), (1.0, 0.36), (1.0, 0.2))], lit(paint, 0.68), CAR, z)
    canvas.polygon([at(*p) for p in body.pane()], lit(GLASS, 1.4), CAR, z)
    canvas.polygon([at(*p) for p in body.pillar()], lit(paint, 0.95), CAR, z)
    for share in (0.19, 0.80):
        for radius, tone in ((0.33, TYRE), (0.18, (0.45, 0.45, 0.46))):
            canvas.polygon(
                ellipse_points(at(share, 0.33 / body.height), (radius * metre, radius * metre)), tone, CAR, z
            )
