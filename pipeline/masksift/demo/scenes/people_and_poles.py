"""What moves or stands in the street: people, poles with signs and lights, and bins nobody annotates."""

from __future__ import annotations

import numpy as np

from masksift.demo.scenes.canvas import Canvas, Cutout, Floats, lit
from masksift.demo.scenes.street import IGNORE, PERSON, POLE, Street

CLOTHES = (
    (0.14, 0.14, 0.17),
    (0.20, 0.25, 0.38),
    (0.45, 0.40, 0.34),
    (0.55, 0.14, 0.14),
    (0.72, 0.71, 0.68),
    (0.30, 0.32, 0.30),
    (0.62, 0.50, 0.20),
    (0.25, 0.35, 0.28),
    (0.36, 0.20, 0.32),
    (0.40, 0.50, 0.60),
)
SKINS = ((0.80, 0.62, 0.52), (0.62, 0.44, 0.34), (0.38, 0.26, 0.20), (0.88, 0.72, 0.62))
HAIRS = ((0.10, 0.08, 0.07), (0.30, 0.20, 0.12), (0.50, 0.45, 0.40))
LAMPS = ((0.95, 0.15, 0.10), (0.95, 0.70, 0.10), (0.15, 0.85, 0.40))
"""Of a traffic light, from above."""
SIGNS = (
    (18, 0.0, (0.68, 0.10, 0.10), (0.90, 0.89, 0.87), 0.68),
    (4, np.pi / 4, (0.14, 0.28, 0.60), (0.78, 0.82, 0.88), 0.40),
    (3, np.pi / 2, (0.70, 0.12, 0.10), (0.92, 0.90, 0.86), 0.68),
    (4, 0.0, (0.88, 0.86, 0.82), (0.85, 0.68, 0.12), 0.68),
)
"""(corners, direction of the first, outer and inner colour, inner size as a share of the outer)."""
BINS = ((0.18, 0.24, 0.20), (0.35, 0.35, 0.36), (0.40, 0.28, 0.18), (0.45, 0.42, 0.16))


def _clothes(generator: np.random.Generator, light: float) -> Floats:
    return np.asarray(CLOTHES[generator.integers(len(CLOTHES))], np.float32) * np.float32(light)


def paint_person(canvas: Canvas, street: Street, x: float, z: float, generator: np.random.Generator) -> None:
    """A walking person at (x, z): shadow, legs in stride, coat, arms, head and hair. The unit is their height."""
    tall = float(generator.uniform(1.55, 1.9) if generator.random() < 0.88 else generator.uniform(1.0, 1.4))
    light = street.light_at(x, z)
    coat, trousers = (_clothes(generator, light * float(generator.uniform(0.8, 1.2))) for _ in range(2))
    skin, hair = SKINS[generator.integers(len(SKINS))], HAIRS[generator.integers(len(HAIRS))]
    stride, lean = float(generator.uniform(0.03, 0.2)), float(generator.uniform(-0.02, 0.02))
    broad, hem = float(generator.uniform(0.115, 0.15)), float(generator.uniform(0.36, 0.5))
    figure = Cutout(canvas, x, z, PERSON, tall, lean)
    figure.shadow(-0.1 * street.light.sun_side, (0.28, 0.03))
    for s, tone in ((-1, 0.82), (1, 1.0)):
        foot, hip = s * stride, s * 0.04
        leg = [(foot - 0.03, 0.0), (hip - 0.055, 0.5), (hip + 0.055, 0.5), (foot + 0.045, 0.0)]
        figure.polygon(leg, lit(trousers, tone))
        shoe = [(foot - 0.04, 0.0), (foot - 0.035, 0.04), (foot + 0.055, 0.035), (foot + 0.07, 0.0)]
        figure.polygon(shoe, (0.1, 0.09, 0.09))
    for s, tone in ((-1, 0.75), (1, 0.9)):
        shoulder, hand = s * broad, s * (broad + 0.02) - s * stride * 0.5
        arm = [(shoulder, 0.81), (shoulder + s * 0.045, 0.78), (hand + 0.03, 0.46), (hand - 0.03, 0.46)]
        figure.polygon(arm, lit(coat, tone))
    lit_half = [(0.0, hem), (0.0, 0.84), (-0.05, 0.84), (-broad, 0.78), (-broad * 0.85, hem)]
    shaded_half = [(0.0, hem), (0.0, 0.84), (0.05, 0.84), (broad, 0.78), (broad * 0.85, hem)]
    figure.polygon(lit_half, lit(coat, 1.0))
    figure.polygon(shaded_half, lit(coat, 0.85))
    if generator.random() < 0.4:
        figure.box(-broad - 0.06, 0.45, -broad + 0.05, 0.69, lit(_clothes(generator, light), 0.9))
    figure.disc((0.0, 0.925), (0.052, 0.072), lit(hair, light))
    figure.disc((0.008, 0.91), (0.042, 0.055), lit(skin, light))


def paint_pole(canvas: Canvas, street: Street, x: float, z: float, generator: np.random.Generator) -> None:
    """A street lamp, a traffic sign or a traffic light on its pole; far away as wide as a pixel at least."""
    kind = int(generator.choice(3, p=[0.4, 0.4, 0.2]))
    grey = np.full(3, generator.uniform(0.25, 0.55)) * street.light_at(x, z)
    tall = float((generator.uniform(5, 8), generator.uniform(2.4, 3.2), generator.uniform(3.0, 3.8))[kind])
    thick = (0.09, 0.045, 0.07)[kind] * float(generator.uniform(1.0, 1.5))
    half = max(thick, 0.8 * z / canvas.camera.focal)
    figure = Cutout(canvas, x, z, POLE)
    figure.polygon([(-half, 0.0), (-half * 0.8, tall), (half * 0.8, tall), (half, 0.0)], lit(grey, 1.0))
    figure.polygon([(0.1 * half, 0.0), (0.1 * half, tall), (half * 0.8, tall), (half, 0.0)], lit(grey, 0.7))
    if kind == 0:
        end = (-1 if x > 0 else 1) * float(generator.uniform(1.0, 1.8))
        figure.polygon([(0, tall - 0.1), (0, tall + 0.02), (end, tall + 0.35), (end, tall + 0.23)], lit(grey, 0.9))
        figure.box(end - 0.3, tall + 0.2, end + 0.3, tall + 0.4, lit(grey, 0.8))
    elif kind == 1:
        _paint_sign(figure, tall, generator)
    else:
        figure.box(-0.17, tall - 0.9, 0.17, tall + 0.05, (0.08, 0.08, 0.08))
        burning = int(generator.integers(len(LAMPS)))
        for row, colour in enumerate(LAMPS):
            figure.disc((0.0, tall - 0.12 - 0.3 * row), (0.1, 0.1), lit(colour, 1.0 if row == burning else 0.22))


def _paint_sign(figure: Cutout, up: float, generator: np.random.Generator) -> None:
    """A traffic sign whose middle is `up` metres high: red ring, blue board, warning triangle, or yellow lozenge."""
    size = 0.36 * float(generator.uniform(0.9, 1.35))
    corners, start, outer, inner, share = SIGNS[generator.integers(len(SIGNS))]
    for radius, colour in ((size, outer), (share * size, inner)):
        turns = start + np.linspace(0, 2 * np.pi, corners, endpoint=False)
        outline = [(radius * float(np.cos(turn)), up + radius * float(np.sin(turn))) for turn in turns]
        figure.polygon(outline, colour)


def paint_bin(canvas: Canvas, street: Street, x: float, z: float, generator: np.random.Generator) -> None:
    """A bin, a box or a post nobody annotates: drawn, and labelled as ignored."""
    light, deep = street.light_at(x, z), 0.8
    half, high = float(generator.uniform(0.25, 0.6)), float(generator.uniform(0.7, 1.5))
    tone = BINS[generator.integers(len(BINS))]
    inner = x - half if x > 0 else x + half
    side = [(inner, 0.0, z), (inner, high, z), (inner, high, z + deep), (inner, 0.0, z + deep)]
    canvas.polygon(canvas.camera.pixels(side), lit(tone, 0.7 * light), IGNORE, z)
    figure = Cutout(canvas, x, z, IGNORE)
    figure.box(-half, 0.0, half, high, lit(tone, light))
    figure.box(-half * 1.05, high, half * 1.05, high + 0.1, lit(tone, 1.3 * light))
