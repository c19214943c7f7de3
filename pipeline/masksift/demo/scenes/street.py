"""What a street is made of, before anything is drawn: its classes, its cross-section, its light."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from masksift.demo.scenes.canvas import Floats

ROAD, SIDEWALK, BUILDING, VEGETATION, SKY, CAR, PERSON, POLE = range(8)
IGNORE = 255
CLASS_NAMES = ("road", "sidewalk", "building", "vegetation", "sky", "car", "person", "pole")

LEAVES = (
    (0.20, 0.30, 0.12),
    (0.25, 0.34, 0.16),
    (0.30, 0.33, 0.15),
    (0.16, 0.25, 0.15),
    (0.42, 0.36, 0.16),
    (0.40, 0.27, 0.14),
)
"""Base colours of leaves: green, olive, dark, and two of autumn."""

NEAREST = 1.2
"""Metres before the camera at which anything is cut off."""

FAR = 160.0
"""Metres at which the street ends in a skyline."""


SHADOW_LENGTH = 0.45
"""Metres of shadow across the street for a metre of height."""


@dataclass(frozen=True)
class Light:
    """Daylight of one scene. `sun_side` is -1 (left) or +1 (right): the side whose walls lie in their own shade."""

    sunny: bool
    sun_side: int
    shadow: float
    tint: Floats
    sky_top: Floats
    sky_low: Floats

    def wall(self, side: int) -> float:
        """Brightness of the walls of one side of the street: 1 in the sun, less in the shade."""
        if not self.sunny:
            return 0.92
        return self.shadow + 0.12 if side == self.sun_side else 1.08


@dataclass(frozen=True)
class Verge:
    """One side of the street: the sidewalk from the road's edge to `outer` (x in metres), then walls or grass."""

    side: int
    road: float
    outer: float
    grass: bool


@dataclass(frozen=True)
class House:
    """A building on one side (-1, +1), `near` to `far` metres ahead, `setback` behind the sidewalk, `height` high."""

    side: int
    near: float
    far: float
    height: float
    setback: float


@dataclass(frozen=True)
class Street:
    """A street along z: its cross-section in metres, its houses, the road that crosses it (near, far z), its light."""

    built_up: float
    left: Verge
    right: Verge
    lanes: int
    crossing: tuple[float, float] | None
    light: Light
    houses: tuple[House, ...]
    roofline: Floats
    """Height in metres of the shadow-casting side, every half metre of z from the camera to FAR."""

    def verge(self, side: int) -> Verge:
        """The side -1 (left) or +1 (right)."""
        return self.left if side < 0 else self.right

    def crosses(self, near: float, far: float) -> bool:
        """Whether the stretch of z from `near` to `far` touches the crossing."""
        return self.crossing is not None and near < self.crossing[1] and far > self.crossing[0]

    def in_sun(self, x: Floats, z: Floats) -> Floats:
        """Brightness (same shape) of the ground at (x, z): `light.shadow` in the shadow of the houses, else 1."""
        if not self.light.sunny:
            return np.ones_like(x)
        side = self.light.sun_side
        height = self.roofline[np.clip(z * 2, 0, self.roofline.size - 1).astype(np.int64)]
        reach = side * self.verge(side).outer - SHADOW_LENGTH * height
        return np.where(side * x > reach, np.float32(self.light.shadow), np.float32(1))

    def light_at(self, x: float, z: float) -> float:
        """Brightness of a thing that stands at (x, z): in the shadow less, but less so than the ground under it."""
        return float(0.55 + 0.45 * self.in_sun(np.asarray([x], np.float32), np.asarray([z], np.float32))[0])


def _colour(*rgb: float) -> Floats:
    return np.asarray(rgb, np.float32)


def draw_light(generator: np.random.Generator) -> Light:
    """Sun and blue sky, thin cloud, grey overcast, or a warm low sun: one of them, with its own colours."""
    mood = int(generator.choice(4, p=[0.4, 0.25, 0.2, 0.15]))
    vary = float(generator.uniform(-0.05, 0.05))
    tops = (
        _colour(0.30, 0.50, 0.80),
        _colour(0.55, 0.66, 0.80),
        _colour(0.66, 0.68, 0.71),
        _colour(0.48, 0.55, 0.70),
    )
    lows = (
        _colour(0.72, 0.82, 0.91),
        _colour(0.82, 0.86, 0.90),
        _colour(0.80, 0.81, 0.82),
        _colour(0.95, 0.80, 0.64),
    )
    tints = (
        _colour(1.03, 1.0, 0.95),
        _colour(1.0, 1.0, 1.0),
        _colour(0.90, 0.92, 0.95),
        _colour(1.08, 0.97, 0.84),
    )
    return Light(
        sunny=mood in (0, 3),
        sun_side=int(generator.choice([-1, 1])),
        shadow=float(generator.uniform(0.52, 0.68)),
        tint=tints[mood] * np.float32(generator.uniform(0.9, 1.15)),
        sky_top=tops[mood] + np.float32(vary),
        sky_low=lows[mood] + np.float32(vary),
    )


def draw_street(generator: np.random.Generator) -> Street:
    """A street between a dense city (`built_up` near 1) and a leafy suburb (near 0), seen from one of its lanes."""
    dense = generator.random() < 0.6
    built_up = float(generator.uniform(0.75, 1.0) if dense else generator.uniform(0.2, 0.6))
    lanes = int(generator.choice([2, 3, 4], p=[0.55, 0.25, 0.2]))
    width = lanes * float(generator.uniform(3.0, 3.5)) + float(generator.uniform(0.0, 2.0))
    place = float(generator.uniform(0.55, 0.72))
    road_left, road_right = -width * place, width * (1 - place)
    walk_left, walk_right = generator.uniform(2.2, 5.5, 2).tolist()
    crossing = None
    if generator.random() < 0.45:
        near = float(generator.uniform(13, 34))
        crossing = near, near + float(generator.uniform(7, 12))
    grass = (generator.random(2) < 0.85 - 0.6 * built_up).tolist()
    light = draw_light(generator)
    houses = tuple(_draw_houses(generator, built_up, crossing))
    return Street(
        built_up=built_up,
        left=Verge(-1, road_left, road_left - walk_left, grass[0]),
        right=Verge(1, road_right, road_right + walk_right, grass[1]),
        lanes=lanes,
        crossing=crossing,
        light=light,
        houses=houses,
        roofline=_roofline(houses, light.sun_side),
    )


def _draw_houses(
    generator: np.random.Generator, built_up: float, crossing: tuple[float, float] | None
) -> Iterator[House]:
    """Blocks of the city and houses of the suburb along both sides, with gaps, and none on the road that crosses."""
    for side in (-1, 1):
        z = float(generator.uniform(-6, 4))
        while z < 0.8 * FAR:
            city = generator.random() < built_up
            far = z + float(generator.uniform(9, 24) if city else generator.uniform(7, 12))
            height = float(generator.uniform(9, 24) if city else generator.uniform(4.5, 7.5))
            setback = 0.0 if city else float(generator.uniform(1.5, 6))
            crossed = crossing is not None and z - 2 < crossing[1] and far + 2 > crossing[0]
            if generator.random() < 0.55 + 0.42 * built_up and not crossed and far > NEAREST + 1:
                yield House(side, z, far, height, setback)
            z = far + (0.0 if city and generator.random() < 0.7 else float(generator.uniform(2, 9)))


def _roofline(houses: Iterable[House], side: int) -> Floats:
    heights = np.zeros(int(2 * FAR), np.float32)
    for house in houses:
        if house.side == side:
            heights[max(int(2 * house.near), 0) : int(2 * house.far)] = house.height - house.setback
    return heights
