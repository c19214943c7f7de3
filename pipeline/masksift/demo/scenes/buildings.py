"""Buildings: facades with storeys, windows and shops, gabled roofs, and the skyline at the far end of the street."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from masksift.demo.scenes.canvas import Canvas, Floats, Texture, ellipse_points
from masksift.demo.scenes.plants import leaf_paint
from masksift.demo.scenes.street import BUILDING, FAR, NEAREST, VEGETATION, House, Street

WALLS = (
    (0.62, 0.57, 0.50),
    (0.70, 0.66, 0.60),
    (0.52, 0.35, 0.28),
    (0.45, 0.30, 0.26),
    (0.56, 0.56, 0.57),
    (0.40, 0.41, 0.43),
    (0.74, 0.68, 0.52),
    (0.66, 0.52, 0.42),
    (0.78, 0.77, 0.74),
    (0.50, 0.53, 0.48),
    (0.48, 0.55, 0.62),
)
GLASS = (0.24, 0.28, 0.33)
ROOFS = ((0.45, 0.24, 0.18), (0.33, 0.30, 0.30), (0.38, 0.28, 0.24), (0.26, 0.27, 0.30))

Facade = Callable[[Floats, Floats, float], Floats]
"""(metres along the wall, metres up, distance in metres) -> colours (n, 3) float32."""


def paint_skyline(canvas: Canvas, street: Street, generator: np.random.Generator) -> None:
    """Where the street ends: far houses and tree tops in the haze, from side to side."""
    camera = canvas.camera
    base = camera.pixel(0, -4, FAR)[1]
    x = -260.0
    while x < 260:
        wide = float(generator.uniform(8, 26))
        left, right = camera.pixel(x, 0, FAR)[0], camera.pixel(x + wide, 0, FAR)[0]
        if generator.random() < street.built_up:
            top = camera.pixel(0, float(generator.uniform(9, 26)), FAR)[1]
            facade = _facade(canvas, generator, 40)

            def wall(px: Floats, py: Floats, look: Facade = facade) -> Floats:
                return look(*camera.on_front(px, py, FAR), 60)

            canvas.polygon([(left, base), (left, top), (right, top), (right, base)], wall, BUILDING, FAR)
        else:
            rise = base - camera.pixel(0, float(generator.uniform(6, 12)), FAR)[1]
            crown = ellipse_points(((left + right) / 2, base), ((right - left) * 0.75, rise))
            canvas.polygon(crown, leaf_paint(canvas, generator, 1.0), VEGETATION, FAR)
        x += wide * 0.85


def paint_house(canvas: Canvas, street: Street, house: House, generator: np.random.Generator) -> None:
    """A building: the end that faces us, the wall along the street, and the roof where it has a gable."""
    near, far, height, camera = max(house.near, NEAREST), house.far, house.height, canvas.camera
    wall = street.verge(house.side).outer + house.side * house.setback
    depth = house.side * float(generator.uniform(7, 14))
    facade = _facade(canvas, generator, height)
    bright, front = np.float32(street.light.wall(house.side)), np.float32(0.86)
    gable = height < 9 and generator.random() < 0.7
    ridge, top = wall + depth / 2, height + abs(depth) * 0.32

    def end(x: Floats, y: Floats) -> Floats:
        u, v = camera.on_front(x, y, near)
        return facade(u - wall, v, near) * front

    def along(x: Floats, y: Floats) -> Floats:
        z, v = camera.on_side(x, y, wall)
        return facade(z, v, (near + far) / 2) * bright

    if house.near > NEAREST:
        corners = [
            (wall, 0.0, near),
            (wall, height, near),
            (wall + depth, height, near),
            (wall + depth, 0.0, near),
        ]
        if gable:
            corners.insert(2, (ridge, top, near))
        canvas.polygon(camera.pixels(corners), end, BUILDING, near)
    corners = [(wall, 0.0, near), (wall, height, near), (wall, height, far), (wall, 0.0, far)]
    canvas.polygon(camera.pixels(corners), along, BUILDING, near)
    if gable:
        eaves, low = wall - house.side * 0.4, height - 0.1
        corners = [(eaves, low, near), (ridge, top, near), (ridge, top, far), (eaves, low, far)]
        canvas.polygon(camera.pixels(corners), _tiles(canvas, generator, bright), BUILDING, near)


def _tiles(canvas: Canvas, generator: np.random.Generator, bright: np.float32) -> Texture:
    tone = (
        np.asarray(ROOFS[generator.integers(len(ROOFS))], np.float32)
        * bright
        * np.float32(generator.uniform(0.8, 1.15))
    )

    def paint(x: Floats, y: Floats) -> Floats:
        rows = 1 + 0.12 * np.sin(y * 1.6) + 0.1 * canvas.grain(x * 2, y * 2)
        return np.asarray(tone * rows[:, None], np.float32)

    return paint


def _facade(canvas: Canvas, generator: np.random.Generator, height: float) -> Facade:
    """The look of one facade of `height` metres: storeys and bays of windows, perhaps bricks, perhaps shops below."""
    tone = np.asarray(WALLS[generator.integers(len(WALLS))], np.float32) * np.float32(generator.uniform(0.8, 1.12))
    base = np.asarray(WALLS[generator.integers(len(WALLS))], np.float32) * np.float32(generator.uniform(0.5, 0.9))
    glass = np.asarray(GLASS, np.float32) * np.float32(generator.uniform(0.7, 1.7))
    sign = np.clip(base * generator.uniform(0.8, 1.7, 3), 0, 0.9)
    palette = np.stack([tone, np.minimum(tone * 1.3, 0.92), glass, base, sign]).astype(np.float32)
    storey, bay = float(generator.uniform(2.8, 3.5)), float(generator.uniform(1.7, 3.4))
    wide, tall = float(generator.uniform(0.17, 0.31)), float(generator.uniform(0.21, 0.31))
    shop, brick = height > 8 and generator.random() < 0.6, generator.random() < 0.4
    salt_u, salt_v = (float(s) for s in generator.uniform(0, 256, 2))

    def colours(u: Floats, v: Floats, distance: float) -> Floats:
        fade = float(np.clip(30 / distance, 0.25, 1))
        a, b = np.mod(u, bay) / bay, np.mod(v, storey) / storey
        off_u, off_v = np.abs(a - 0.5), np.abs(b - 0.52)
        windowed = v < height - 0.6
        frame = (off_u < wide + 0.05) & (off_v < tall + 0.05) & windowed
        pane = (off_u < wide) & (off_v < tall) & windowed
        shade = 1 + 0.05 * fade * canvas.grain(u * 24, v * 24) + 0.05 * canvas.grain(u * 3 + salt_u, v * 3)
        shade += 0.14 * (v > height - 0.5) - 0.12 * (np.mod(v, storey) < 0.16)
        if brick:
            shade -= 0.1 * fade * ((np.mod(v, 0.3) < 0.05) | (np.mod(u + 0.4 * (np.mod(v, 0.6) < 0.3), 0.8) < 0.06))
        each = canvas.grain(np.floor(u / bay) * 11 + salt_u, np.floor(v / storey) * 17 + salt_v)
        shade = np.where(pane, np.clip(1 + 0.45 * each + 0.35 * (b - 0.5), 0.4, 2.6), shade)
        part = np.where(pane, 2, np.where(frame, 1, 0))
        if shop:
            street_level, below = v < storey, v < storey * 0.78
            show = below & (v > 0.5) & (np.mod(u, 2 * bay) > 0.5)
            part = np.where(street_level, np.where(show, 2, np.where(below, 3, 4)), part)
            shade = np.where(show, 1 + 0.5 * canvas.smooth_grain(u * 6 + salt_v, v * 6), shade)
        return palette[part] * np.asarray(shade, np.float32)[:, None]

    return colours
