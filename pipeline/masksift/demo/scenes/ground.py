"""Sky and ground: the two planes every street lies between."""

from __future__ import annotations

import numpy as np

from masksift.demo.scenes.canvas import Canvas, Floats, Mask
from masksift.demo.scenes.street import LEAVES, ROAD, SIDEWALK, SKY, VEGETATION, Street


def paint_sky(canvas: Canvas, street: Street, generator: np.random.Generator) -> None:
    """A vertical gradient with clouds, from the top edge to just below the horizon."""
    horizon = canvas.camera.y0
    light = street.light
    cover, drift = generator.uniform(0.0, 1.2), generator.uniform(0, 256, 2)

    def paint(x: Floats, y: Floats) -> Floats:
        share = np.clip(y / horizon, 0, 1) ** 1.3
        # Clouds lie in a plane overhead: the nearer to the horizon, the farther and the flatter they are.
        far = 22 / (horizon * 1.15 - np.minimum(y, horizon))
        cloud = canvas.smooth_grain((x - canvas.camera.x0) * far + drift[0], far * 240 + drift[1])
        soft = np.clip((cloud - 1.0 + cover) * 0.5, 0, 0.75)[:, None]
        colour = light.sky_top + (light.sky_low - light.sky_top) * share[:, None]
        return np.asarray(colour + (np.float32(0.93) - colour) * soft, np.float32)

    rows = min(int(horizon) + 2, canvas.labels.shape[0])
    box = slice(0, rows), slice(0, canvas.labels.shape[1])
    canvas.fill(box, np.ones((rows, canvas.labels.shape[1]), bool), paint, SKY, 0.0)


def paint_ground(canvas: Canvas, street: Street, generator: np.random.Generator) -> None:
    """Road, markings, curbs, sidewalks and what lies beyond them, all in street coordinates, below the horizon."""
    height, width = canvas.labels.shape
    top = min(height, max(0, int(canvas.camera.y0) + 1))
    row, column = (c.ravel() for c in np.mgrid[top:height, 0:width].astype(np.float32))
    x, z = canvas.camera.on_ground(column + np.float32(0.5), row + np.float32(0.5))
    road = (x > street.left.road) & (x < street.right.road)
    if street.crossing is not None:
        road |= (z > street.crossing[0]) & (z < street.crossing[1])
    inside = (x > street.left.outer) & (x < street.right.outer)
    grass = ~road & ~inside & np.where(x < 0, street.left.grass, street.right.grass)
    walk = ~road & ~grass
    colour = np.empty((x.size, 3), np.float32)
    for part, texture in ((road, _asphalt), (walk, _pavement), (grass, _lawn)):
        colour[part] = texture(canvas, street, generator, x[part], z[part])
    haze = np.exp(-z / canvas.visibility)[:, None]
    colour = colour * street.in_sun(x, z)[:, None] * haze + canvas.haze * (1 - haze)
    canvas.colour[top:] = colour.reshape(height - top, width, 3)
    canvas.labels[top:] = np.where(road, ROAD, np.where(grass, VEGETATION, SIDEWALK)).reshape(height - top, width)


def _fade(z: Floats) -> Floats:
    """How much of a fine texture is left at a distance: what is finer than a pixel must not flicker."""
    return np.asarray(np.clip(14 / z, 0.1, 1), np.float32)


def _lawn(canvas: Canvas, street: Street, generator: np.random.Generator, x: Floats, z: Floats) -> Floats:
    turf = 0.9 * np.asarray(LEAVES[generator.integers(3)], np.float32) + np.float32(0.1)
    speckle = 1 + 0.22 * _fade(z) * canvas.grain(x * 30, z * 12) + 0.1 * canvas.grain(x * 3, z * 2)
    return np.asarray(turf * speckle[:, None], np.float32)


def _pavement(canvas: Canvas, street: Street, generator: np.random.Generator, x: Floats, z: Floats) -> Floats:
    """Slabs with joints, and a lighter curb stone along the road."""
    tone = np.float32(generator.uniform(0.38, 0.62)) * (1 + generator.uniform(-0.07, 0.07, 3).astype(np.float32))
    slab, fade = float(generator.uniform(0.4, 1.0)), _fade(z)
    joint = (np.mod(x, slab) < 0.035) | (np.mod(z, slab) < 0.05)
    each = canvas.grain(np.floor(x / slab) * 7, np.floor(z / slab) * 5)
    shade = (
        1 - 0.3 * joint * fade + 0.06 * fade * (each + canvas.grain(x * 45, z * 20)) + 0.04 * canvas.grain(x * 5, z * 3)
    )
    curb = np.where(x < 0, x > street.left.road - 0.25, x < street.right.road + 0.25)
    shade = np.where(curb, 1.18 - 0.3 * (np.mod(z, 1.0) < 0.05) * fade, shade)
    return np.asarray(tone * shade[:, None], np.float32)


def _asphalt(canvas: Canvas, street: Street, generator: np.random.Generator, x: Floats, z: Floats) -> Floats:
    """Asphalt with worn tracks, mended patches and cracks, and the paint on it: lane lines, edge lines, zebra."""
    tone = np.float32(generator.uniform(0.26, 0.50)) * (1 + generator.uniform(-0.05, 0.05, 3).astype(np.float32))
    lane, fade = (street.right.road - street.left.road) / street.lanes, _fade(z)
    across = np.mod(x - street.left.road, lane) / lane
    track = np.exp(-(((np.abs(across - 0.5) - 0.26) / 0.09) ** 2))
    shade = (
        1
        + 0.09 * fade * canvas.grain(x * 50, z * 22)
        + 0.05 * canvas.grain(x * 4, z * 1.2)
        + generator.uniform(-0.1, 0.06) * track
    )
    shade *= 1 - 0.22 * fade * (np.abs(canvas.grain(x * 9 + 40, z * 4)) < 0.03)
    for _ in range(int(generator.integers(0, 4))):
        px, pz = generator.uniform(street.left.road, street.right.road), generator.uniform(5, 35)
        patch = (np.abs(x - px) < generator.uniform(0.3, 1.4)) & (np.abs(z - pz) < generator.uniform(0.8, 4))
        shade[patch] *= generator.uniform(0.72, 1.2)
    colour = tone * shade[:, None]
    paint = _markings(street, generator, x, z, lane) & (canvas.grain(x * 20, z * 9) > -1.7)
    colour[paint] = np.float32(0.64) + np.float32(0.16) * shade[paint, None]
    return np.asarray(colour, np.float32)


def _markings(street: Street, generator: np.random.Generator, x: Floats, z: Floats, lane: float) -> Mask:
    """Where the road is painted white."""
    paint = np.zeros(x.shape, bool)
    dash, phase = float(generator.uniform(2, 4)), float(generator.uniform(0, 8))
    for number in range(1, street.lanes):
        line = np.abs(x - (street.left.road + number * lane)) < 0.08
        solid = street.lanes > 2 and number == street.lanes // 2
        paint |= line if solid else line & (np.mod(z + phase, 3 * dash) < dash)
    if generator.random() < 0.4:
        paint |= (np.abs(x - street.left.road - 0.4) < 0.06) | (np.abs(x - street.right.road + 0.4) < 0.06)
    if street.crossing is not None:
        near, far = street.crossing
        paint &= (z < near - 4.5) | (z > far + 4.5)
        bars = (np.mod(x, 1.0) < 0.5) & (x > street.left.road + 0.2) & (x < street.right.road - 0.2)
        paint |= bars & (((z > near - 3.6) & (z < near - 0.8)) | ((z > far + 0.8) & (z < far + 3.6)))
        paint |= (np.abs(z - near + 4.3) < 0.2) & (x > 0) & (x < street.right.road)
    return paint
