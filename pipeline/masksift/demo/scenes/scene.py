"""Draw street scenes with perspective, occlusion, texture, daylight and a camera's noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from masksift.demo.scenes.canvas import Canvas, Floats, Labels, rgb
from masksift.demo.scenes.street import BUILDING, CAR, IGNORE, PERSON, POLE, ROAD, SIDEWALK, SKY, VEGETATION

FAR_METERS = 140.0
NEAR_METERS = 1.5
"""Distance at which shapes are cut off."""
CAR_LENGTH_METERS, CAR_HALF_WIDTH_METERS = 4.2, 0.9

Shape = tuple[float, Callable[[], None]]
"""Distance in meters, and the call that draws the shape."""


@dataclass(frozen=True)
class _Street:
    """Cross-section of a street in meters, its surroundings and its light."""

    curbs: tuple[float, float]
    walls: tuple[float, float]
    density: float
    """0: suburb, 1: city."""
    sun: tuple[float, float]
    """Brightness of the left and the right side."""

    @classmethod
    def random(cls, generator: np.random.Generator) -> _Street:
        """Draw a street between a dense city and a leafy suburb."""
        density = float(generator.uniform(0.7, 1.0) if generator.random() < 0.6 else generator.uniform(0.15, 0.6))
        width, position = float(generator.uniform(7, 13)), float(generator.uniform(0.55, 0.7))
        curbs = -width * position, width * (1 - position)
        walks = generator.uniform(2.0, 5.0, 2).tolist()
        sides = (1.0, 1.0) if generator.random() < 0.4 else (0.7, 1.1) if generator.random() < 0.5 else (1.1, 0.7)
        return cls(curbs, (curbs[0] - walks[0], curbs[1] + walks[1]), density, sides)

    def light(self, right: float) -> float:
        """Brightness of a shape at a distance to the right."""
        return self.sun[int(right > 0)]


def draw_scene(seed: int, index: int, height: int = 256, width: int = 512) -> tuple[NDArray[np.uint8], Labels]:
    """Draw a scene; the same arguments give the same bytes.

    Args:
        seed: Seed of the data set, at least 0.
        index: Number of the scene in the data set, at least 0.
        height: Rows.
        width: Columns.

    Returns:
        The RGB image (height, width, 3) uint8 and the labels (height, width) uint8: class numbers (`street`), or 255
        for the hood of the camera's car, bins and uncertain borders.
    """
    generator = np.random.default_rng([seed, index])
    canvas, street = Canvas(height, width, generator), _Street.random(generator)
    _draw_sky(canvas, street, generator)
    _draw_ground(canvas, street, generator)
    shapes = [*_houses(canvas, street, generator), *_plants(canvas, street, generator)]
    shapes += [*_traffic(canvas, street, generator), *_furniture(canvas, street, generator)]
    for _, draw in sorted(shapes, key=lambda shape: -shape[0]):
        draw()
    if generator.random() < 0.7:
        rise = float(generator.uniform(0.25, 0.32))
        canvas.disc(0.0, canvas.eye - 1.32, NEAR_METERS, (1.6, rise), (0.12, 0.12, 0.15), IGNORE, 0.05)
    colors, labels = canvas.finish()
    return _expose(colors, generator), _ignore_borders(labels, generator)


def _draw_sky(canvas: Canvas, street: _Street, generator: np.random.Generator) -> None:
    """Draw a sky with clouds, and a skyline of houses and trees at the end of the street."""
    columns, rows = canvas.pixels()
    everywhere, all_pixels = (slice(None), slice(None)), np.ones(canvas.labels.shape, bool)
    top = rgb([[0.35, 0.52, 0.80], [0.60, 0.64, 0.70], [0.45, 0.58, 0.78]])[generator.integers(3)]
    down = np.clip(rows / canvas.horizon, 0, 1)[..., None]
    clouds = np.clip(canvas.coarse * float(generator.uniform(0, 0.35)), 0, 0.6)[..., None]
    sky = top * (1 - down) + rgb([0.84, 0.87, 0.90]) * down
    canvas.fill(everywhere, all_pixels, sky * (1 - clouds) + clouds, SKY, 0.0, 0.01)
    steps = generator.uniform(0.02, 0.16, 40) * canvas.labels.shape[0]
    is_house = generator.random(40) < street.density
    block = np.clip(columns * 40 / canvas.labels.shape[1], 0, 39).astype(int)
    below = rows > canvas.horizon - steps[block] - 4 * canvas.coarse * ~is_house[block]
    canvas.fill(everywhere, below & is_house[block], (0.46, 0.44, 0.44), BUILDING, FAR_METERS, 0.06)
    canvas.fill(everywhere, below & ~is_house[block], (0.22, 0.29, 0.16), VEGETATION, FAR_METERS, 0.25)


def _draw_ground(canvas: Canvas, street: _Street, generator: np.random.Generator) -> None:
    """Draw road, markings, sidewalks and grass below the horizon."""
    columns, rows = canvas.pixels()
    ahead = canvas.focal * canvas.eye / np.maximum(rows - canvas.horizon, canvas.focal * canvas.eye / 400)
    right = (columns - canvas.center) * ahead / canvas.focal
    everywhere, ground = (slice(None), slice(None)), rows > canvas.horizon
    on_road = (right > street.curbs[0]) & (right < street.curbs[1])
    on_walk = ~on_road & (right > street.walls[0]) & (right < street.walls[1])
    light = np.where(right > 0, *street.sun[::-1])[..., None].astype(np.float32)
    asphalt, paving = generator.uniform(0.26, 0.40), generator.uniform(0.34, 0.52)
    tint = rgb([1.0, 0.99, 1.02])
    canvas.fill(everywhere, ground & on_road, light * np.float32(asphalt) * tint, ROAD, ahead, 0.05)
    joints = np.where((right % 0.9 < 0.05) | (ahead % 0.9 < 0.06), np.float32(0.85), np.float32(1))[..., None]
    slabs = light * joints * np.float32(paving) * rgb([1.04, 1.0, 0.95])
    canvas.fill(everywhere, ground & on_walk, slabs, SIDEWALK, ahead, 0.06)
    outside = ground & ~on_road & ~on_walk
    if generator.random() < 0.85 - 0.6 * street.density:
        canvas.fill(everywhere, outside, light * rgb([0.30, 0.38, 0.17]), VEGETATION, ahead, 0.2)
    else:
        canvas.fill(
            everywhere, outside, light * np.float32(paving * 0.9) * rgb([1.02, 1.0, 0.96]), SIDEWALK, ahead, 0.06
        )
    middle = (street.curbs[0] + street.curbs[1]) / 2
    dashes = (np.abs(right - middle) < 0.08) & (ahead % 6 < 3)
    edges = np.minimum(np.abs(right - street.curbs[0]), np.abs(right - street.curbs[1])) < 0.12
    canvas.fill(everywhere, ground & dashes & (ahead < 60), light * np.float32(0.8), None, ahead, 0.03)
    canvas.fill(everywhere, ground & edges & (ahead < 60), light * np.float32(0.5), None, ahead, 0.03)


def _houses(canvas: Canvas, street: _Street, generator: np.random.Generator) -> Iterator[Shape]:
    """Line both sides with houses, with gaps in the suburb."""
    for side, wall in zip((-1, 1), street.walls, strict=True):
        near = float(generator.uniform(-5, 3))
        while near < 0.8 * FAR_METERS:
            city = generator.random() < street.density
            far = near + float(generator.uniform(9, 22) if city else generator.uniform(7, 12))
            height = float(generator.uniform(9, 22) if city else generator.uniform(4.5, 7.5))
            setback = 0.0 if city else float(generator.uniform(1.5, 6))
            if generator.random() < 0.5 + 0.45 * street.density and far > NEAR_METERS + 1:
                color = generator.uniform(0.35, 0.75) * rgb(generator.uniform([0.9, 0.85, 0.75], [1.1, 1.0, 1.0]))
                right = wall + side * setback
                yield (
                    far,
                    partial(
                        _draw_house, canvas, right, max(near, NEAR_METERS), far, height, color * street.light(side)
                    ),
                )
            near = far + (0.0 if city and generator.random() < 0.7 else float(generator.uniform(2, 9)))


def _draw_house(canvas: Canvas, right: float, near: float, far: float, height: float, color: Floats) -> None:
    """Draw the wall along the street with rows of windows, and the wall that faces the camera."""
    outer = right + np.sign(right) * 12
    canvas.box(right, 0, outer, height, near, color * np.float32(0.85), BUILDING, 0.06)
    canvas.draw([(right, 0, near), (right, height, near), (right, height, far), (right, 0, far)], color, BUILDING, 0.06)
    glass = rgb([0.30, 0.34, 0.40])
    for up in np.arange(1.2, height - 1.6, 3.0).tolist():
        for ahead in np.arange(near + 0.8, far - 1.4, 2.6).tolist():
            corners = [
                (right, up, ahead),
                (right, up + 1.5, ahead),
                (right, up + 1.5, ahead + 1.2),
                (right, up, ahead + 1.2),
            ]
            canvas.draw(corners, glass, BUILDING, 0.1)


def _plants(canvas: Canvas, street: _Street, generator: np.random.Generator) -> Iterator[Shape]:
    """Plant street trees, trees behind the sidewalk and hedges: fewer in the city."""
    green = 1 - 0.75 * street.density
    leaves = rgb([[0.20, 0.30, 0.12], [0.26, 0.34, 0.16], [0.16, 0.25, 0.15], [0.42, 0.36, 0.16]])
    for side, curb, wall in zip((-1, 1), street.curbs, street.walls, strict=True):
        row = np.arange(generator.uniform(6, 12), 90, generator.uniform(8, 14)).tolist()
        places = [(curb + side * 0.8, ahead) for ahead in row] if generator.random() < 0.15 + 0.5 * green else []
        behind = generator.uniform([1, 7], [8, 110], (generator.poisson(9 * green), 2)).tolist()
        places += [(wall + side * right, ahead) for right, ahead in behind]
        for right, ahead in places:
            color = leaves[generator.integers(4)] * np.float32(generator.uniform(0.8, 1.2) * street.light(side))
            crowns = generator.uniform([-1.2, 2.6, 0.8], [1.2, 5.5, 1.7], (9, 3)).tolist()
            yield ahead, partial(_draw_tree, canvas, right, ahead, crowns, color)
        for _ in range(int(generator.poisson(2 * green))):
            ahead, color = (
                float(generator.uniform(5, 60)),
                leaves[generator.integers(3)] * np.float32(street.light(side)),
            )
            start, end = sorted((wall + side * 0.3, wall + side * float(generator.uniform(3, 8))))
            yield (
                ahead,
                partial(canvas.box, start, 0, end, float(generator.uniform(1.0, 2.0)), ahead, color, VEGETATION, 0.28),
            )


def _draw_tree(canvas: Canvas, right: float, ahead: float, crowns: list[list[float]], color: Floats) -> None:
    canvas.box(right - 0.16, 0, right + 0.16, 3.5, ahead, (0.24, 0.19, 0.15), VEGETATION, 0.15)
    for offset, up, radius in sorted(crowns, key=lambda crown: crown[1]):
        shade = np.float32(0.75 + 0.08 * up)
        canvas.disc(right + offset, up, ahead, (radius, radius * 0.85), color * shade, VEGETATION, 0.28)


def _traffic(canvas: Canvas, street: _Street, generator: np.random.Generator) -> Iterator[Shape]:
    """Park cars along the curbs and let some drive on the lanes."""
    places: list[tuple[float, float]] = []
    for side, curb in zip((-1, 1), street.curbs, strict=True):
        parked, ahead = float(generator.uniform(0.1, 0.8)), float(generator.uniform(4, 16))
        while ahead < 80:
            if generator.random() < parked:
                places.append((curb - side * 1.05, ahead))
            ahead += float(generator.uniform(5.4, 7.5))
    for _ in range(int(generator.poisson(2.2))):
        lane = street.curbs[0] * 0.45 if generator.random() < 0.5 else 0.0
        places.append((lane + float(generator.uniform(-0.3, 0.3)), float(generator.uniform(9, 60))))
    paints = rgb([[0.12, 0.12, 0.14], [0.75, 0.75, 0.76], [0.5, 0.51, 0.53], [0.5, 0.1, 0.1], [0.13, 0.2, 0.42]])
    for right, ahead in places:
        color = paints[generator.integers(5)] * np.float32(generator.uniform(0.85, 1.15) * street.light(right))
        yield ahead, partial(_draw_car, canvas, right, ahead, color)


def _draw_car(canvas: Canvas, right: float, near: float, color: Floats) -> None:
    """Draw a car from behind: its shadow, the side that faces the camera's path, and its rear."""
    half, far = CAR_HALF_WIDTH_METERS, near + CAR_LENGTH_METERS
    left, glass, dark = -half, rgb([0.16, 0.19, 0.23]), (0.05, 0.05, 0.06)
    shadow = [(right + x, 0.0, z) for x, z in ((left - 0.15, near), (half + 0.15, near), (half, far), (left, far))]
    canvas.draw(shadow, dark, None, 0.0, 0.6)
    side, roof = right - np.sign(right) * half, (near + 0.12, near + 3.0)
    body = [(side, 0.3, near), (side, 0.95, near), (side, 0.9, far), (side, 0.3, far)]
    cabin = [(side, 0.95, near), (side, 1.45, roof[0]), (side, 1.45, roof[1]), (side, 0.92, near + 3.6)]
    window = [
        (side, 0.97, near + 0.35),
        (side, 1.36, roof[0] + 0.15),
        (side, 1.36, roof[1] - 0.15),
        (side, 0.97, near + 3.3),
    ]
    for corners, paint in ((body, color * np.float32(0.8)), (cabin, color * np.float32(0.85)), (window, glass)):
        canvas.draw(corners, paint, CAR, 0.04)
    for axle in (near + 0.75, far - 0.85):
        wheel = [
            (side, 0.32 + 0.32 * np.sin(a), axle + 0.32 * np.cos(a)) for a in np.linspace(0, 2 * np.pi, 12).tolist()
        ]
        canvas.draw(wheel, dark, CAR, 0.0)
    canvas.draw(
        [(right + x, y, near) for x, y in ((left, 0.95), (left + 0.06, 1.45), (half - 0.06, 1.45), (half, 0.95))],
        color,
        CAR,
        0.04,
    )
    canvas.draw(
        [
            (right + x, y, near)
            for x, y in ((left + 0.15, 1.0), (left + 0.28, 1.38), (half - 0.28, 1.38), (half - 0.15, 1.0))
        ],
        glass,
        CAR,
        0.04,
    )
    canvas.box(right + left, 0.28, right + half, 0.95, near, color, CAR, 0.04)
    canvas.box(right + left, 0.15, right + half, 0.3, near, dark, CAR, 0.0)
    for lamp in (left + 0.05, half - 0.3):
        canvas.box(right + lamp, 0.65, right + lamp + 0.25, 0.82, near, (0.6, 0.1, 0.08), CAR, 0.0)


def _furniture(canvas: Canvas, street: _Street, generator: np.random.Generator) -> Iterator[Shape]:
    """Place people, poles with lamps or signs, and bins."""
    for _ in range(int(generator.poisson(8 + 5 * street.density))):
        side = int(generator.integers(2))
        ahead = 5 + 40 * float(generator.beta(1.1, 2.4))
        crossing = generator.random() < 0.15
        low, high = street.curbs if crossing else sorted((street.curbs[side], street.walls[side]))
        right, height = float(generator.uniform(low, high)), float(generator.uniform(1.55, 1.9))
        clothes = generator.uniform(0.1, 0.55, (2, 3)).astype(np.float32) * np.float32(street.light(right))
        yield ahead, partial(_draw_person, canvas, right, ahead, height, clothes, float(generator.uniform(0.05, 0.3)))
    for side, curb, wall in zip((-1, 1), street.curbs, street.walls, strict=True):
        for ahead in np.arange(generator.uniform(5, 14), 80, generator.uniform(9, 18)).tolist():
            top, sign, tone = (
                float(generator.uniform(4, 7)),
                generator.random() < 0.4,
                float(generator.uniform(0.22, 0.45)),
            )
            yield ahead, partial(_draw_pole, canvas, curb + side * 0.35, ahead, top, tone, sign)
        for _ in range(int(generator.poisson(1.2))):
            right, ahead = wall - side * 0.6, float(generator.uniform(6, 30))
            yield ahead, partial(canvas.box, right - 0.3, 0, right + 0.3, 1.1, ahead, (0.2, 0.25, 0.2), IGNORE, 0.05)


def _draw_person(canvas: Canvas, right: float, ahead: float, height: float, clothes: Floats, step: float) -> None:
    hip, shoulder = 0.5 * height, 0.84 * height
    canvas.disc(right, 0.0, ahead, (0.35, 0.06), (0.05, 0.05, 0.06), None, 0.0, 0.5)
    for foot in (-step, step):
        legs = [(right + x, y, ahead) for x, y in ((foot - 0.09, 0), (foot + 0.09, 0), (0.17, hip), (-0.17, hip))]
        canvas.draw(legs, clothes[0], PERSON, 0.06)
    torso = [
        (right + x, y, ahead) for x, y in ((-0.2, hip - 0.1), (0.2, hip - 0.1), (0.25, shoulder), (-0.25, shoulder))
    ]
    canvas.draw(torso, clothes[1], PERSON, 0.08)
    canvas.disc(right, 0.93 * height, ahead, (0.1, 0.13), (0.62, 0.47, 0.38), PERSON, 0.04)


def _draw_pole(canvas: Canvas, right: float, ahead: float, top: float, tone: float, sign: bool) -> None:
    color = (tone, tone, tone * 1.05)
    canvas.box(right - 0.08, 0, right + 0.08, top, ahead, color, POLE, 0.03)
    if sign:
        canvas.disc(right, 2.6, ahead, (0.38, 0.38), (0.7, 0.15, 0.15), POLE, 0.02)
        canvas.disc(right, 2.6, ahead, (0.26, 0.26), (0.85, 0.85, 0.85), POLE, 0.02)
    else:
        canvas.box(
            *sorted((right, right - np.sign(right) * 1.4))[:1],
            top - 0.1,
            max(right, right - np.sign(right) * 1.4),
            top,
            ahead,
            color,
            POLE,
            0.03,
        )


def _expose(colors: Floats, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Apply daylight tint, vignette, contrast, lens blur and sensor noise, and round to 8 bits."""
    height, width = colors.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    vignette = 1 - np.float32(generator.uniform(0.05, 0.25)) * (x * x + y * y) / 2
    tint = rgb(generator.uniform([0.9, 0.92, 0.88], [1.12, 1.08, 1.1]))
    light = np.clip(colors * tint * vignette[..., None], 0, None) ** np.float32(generator.uniform(0.85, 1.15))
    sigma = float(generator.uniform(0.35, 0.8)) * height / 256
    light = ndimage.gaussian_filter(light, (sigma, sigma, 0))
    noise = generator.standard_normal(light.shape, dtype=np.float32) * np.float32(generator.uniform(0.012, 0.03))
    light = light + noise * (np.float32(0.5) + np.sqrt(np.clip(light, 0, 1)))
    return np.asarray(np.clip(light * 255 + 0.5, 0, 255), np.uint8)


def _ignore_borders(labels: Labels, generator: np.random.Generator) -> Labels:
    """Ignore a thin border around two random classes."""
    out = labels.copy()
    for label in generator.choice(8, 2, replace=False):
        mask = labels == label
        out[ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask, border_value=1)] = IGNORE
    return out
