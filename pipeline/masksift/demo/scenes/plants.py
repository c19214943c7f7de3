"""Trees and hedges: foliage whose colours reach into those of roofs, lawns and shaded walls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from masksift.demo.scenes.canvas import Canvas, Floats, Point, Texture, ellipse_points
from masksift.demo.scenes.street import LEAVES, NEAREST, VEGETATION, Street

BARKS = ((0.30, 0.25, 0.20), (0.36, 0.33, 0.29), (0.22, 0.19, 0.17))


def leaf_paint(canvas: Canvas, generator: np.random.Generator, scale: float) -> Texture:
    """Foliage: clumps and leaves of light and dark; `scale` = canvas pixels a metre where it grows."""
    tone = np.asarray(LEAVES[generator.choice(len(LEAVES), p=[0.3, 0.25, 0.15, 0.15, 0.09, 0.06])], np.float32)
    tone = tone * np.float32(generator.uniform(0.75, 1.35))
    salt_x, salt_y = (float(salt) for salt in generator.uniform(0, 256, 2))
    clump = 26 / max(scale, 6)

    def paint(x: Floats, y: Floats) -> Floats:
        clumps = canvas.grain(x * clump + salt_x, y * clump + salt_y)
        light = 1 + 0.45 * clumps + 0.16 * canvas.grain(x * 1.3 + salt_y, y * 1.3)
        return np.asarray(tone * np.clip(light, 0.25, 2.4)[:, None], np.float32)

    return paint


def paint_tree(canvas: Canvas, street: Street, x: float, z: float, generator: np.random.Generator) -> None:
    """A tree: its shadow, its trunk (vegetation, as in Cityscapes), and a crown of blobs with a ragged edge."""
    camera, scale = canvas.camera, canvas.camera.focal / z
    tall = float(generator.uniform(4.5, 10))
    trunk, radius = tall * float(generator.uniform(0.28, 0.42)), tall * float(generator.uniform(0.22, 0.34))
    if street.light.sunny:
        middle = camera.pixel(x - street.light.sun_side * radius, 0, z)
        canvas.polygon(
            ellipse_points(middle, (radius * 1.3 * scale, radius * 0.3 * scale)),
            (0.12, 0.13, 0.15),
            None,
            0.0,
            0.35,
        )
    foot, neck, stem = camera.pixel(x, 0, z), camera.pixel(x, trunk * 1.5, z), max(0.13 * scale, 0.9)
    outline = [
        (foot[0] - stem, foot[1]),
        (neck[0] - stem * 0.7, neck[1]),
        (neck[0] + stem * 0.7, neck[1]),
        (foot[0] + stem, foot[1]),
    ]
    canvas.polygon(outline, BARKS[generator.integers(len(BARKS))], VEGETATION, z)
    leaves = leaf_paint(canvas, generator, scale)
    middle, high = camera.pixel(x, trunk + (tall - trunk) * 0.55, z), (tall - trunk) * 0.62
    blobs = [(1.0, 0.0, 0.0)]
    for _ in range(9 if radius * scale > 30 else 4):
        turn, out = generator.uniform(0, 2 * np.pi), generator.uniform(0.35, 0.8)
        blobs.append((float(generator.uniform(0.35, 0.6)), float(out * np.cos(turn)), float(out * np.sin(turn))))
    for size, right, down in blobs:
        centre = middle[0] + right * radius * scale, middle[1] + down * high * scale
        shaded = street.light.sunny and right * street.light.sun_side > 0.2
        _ragged(
            canvas,
            centre,
            (size * radius * scale, size * high * 0.85 * scale),
            leaves,
            1 - 0.28 * down - 0.2 * shaded,
            z,
        )


def _ragged(canvas: Canvas, centre: Point, radii: Point, leaves: Texture, lift: float, distance: float) -> None:
    """A blob of foliage: noise eats away its edge in colour; the label keeps the round outline of an annotator."""
    (cx, cy), rx, ry = centre, max(radii[0], 0.5), max(radii[1], 0.5)
    box = canvas.window(ellipse_points(centre, (rx, ry)))
    x, y = canvas.coordinates(box)
    inner = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2
    solid = inner + 0.16 * canvas.grain(x * 1.1, y * 1.1) < 1
    canvas.labels[box][inner < 1] = VEGETATION

    def paint(px: Floats, py: Floats) -> Floats:
        return leaves(px, py) * (np.float32(lift) * (1.1 - 0.25 * (py - cy) / ry))[:, None]

    canvas.fill(box, solid, paint, None, distance)


def paint_hedge(canvas: Canvas, street: Street, side: int, span: Point, generator: np.random.Generator) -> None:
    """A clipped hedge along the outer edge of the sidewalk, from `span[0]` to `span[1]` metres ahead."""
    near, far, camera = max(span[0], NEAREST), span[1], canvas.camera
    x, high = street.verge(side).outer + side * 0.1, float(generator.uniform(0.9, 2.2))
    back = x + side * 1.2
    leaves = leaf_paint(canvas, generator, camera.focal / (near + 4))
    faces: Sequence[tuple[float, list[tuple[float, float, float]]]] = (
        (1.25, [(x, high, near), (back, high, near), (back, high, far), (x, high, far)]),
        (1.0, [(x, 0.0, near), (x, high, near), (back, high, near), (back, 0.0, near)]),
        (street.light.wall(side) * 0.9, [(x, 0.0, near), (x, high, near), (x, high, far), (x, 0.0, far)]),
    )
    for bright, corners in faces:

        def paint(px: Floats, py: Floats, bright: float = bright) -> Floats:
            return leaves(px, py) * np.float32(bright)

        canvas.polygon(camera.pixels(corners), paint, VEGETATION, near)
