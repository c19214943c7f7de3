"""Street scenes drawn by rule, with their true labels: perspective, occlusion, texture, daylight, a camera's faults."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from masksift.demo.scenes.buildings import paint_house, paint_skyline
from masksift.demo.scenes.canvas import OVERSAMPLING, Camera, Canvas, Floats, Labels, ellipse_points, tileable_noise
from masksift.demo.scenes.cars import paint_car, paint_crossing_car
from masksift.demo.scenes.ground import paint_ground, paint_sky
from masksift.demo.scenes.people_and_poles import paint_bin, paint_person, paint_pole
from masksift.demo.scenes.plants import paint_hedge, paint_tree
from masksift.demo.scenes.street import CLASS_NAMES, IGNORE, Street, draw_street

Job = tuple[float, Callable[[], None]]
"""(distance in metres, what to paint): the list is painted from far to near."""


def draw_scene(seed: int, index: int, height: int = 256, width: int = 512) -> tuple[NDArray[np.uint8], Labels]:
    """Scene `index` of the data set `seed`: (image (height, width, 3) uint8 RGB, labels (height, width) uint8).

    Labels are class numbers 0..7 (`street.CLASS_NAMES`) or 255 where nothing is annotated: the hood of our own car,
    bins, a thin border around some things, the far end of some streets. `seed` and `index` are at least 0. The same
    arguments give the same bytes, whatever was drawn before.
    """
    generator = np.random.default_rng([seed, index])
    street = draw_street(generator)
    camera = Camera(
        focal=OVERSAMPLING * width * float(generator.uniform(0.72, 0.95)),
        x0=OVERSAMPLING * width * float(generator.uniform(0.42, 0.58)),
        y0=OVERSAMPLING * height * float(generator.uniform(0.40, 0.50)),
        height=float(generator.uniform(1.35, 1.75)),
    )
    haze = np.asarray((street.light.sky_low + street.light.sky_low.mean()) / 2, np.float32)
    visibility = float(generator.uniform(180, 700))
    size = OVERSAMPLING * height, OVERSAMPLING * width
    canvas = Canvas(*size, camera, tileable_noise(generator), haze, visibility)
    paint_sky(canvas, street, generator)
    paint_skyline(canvas, street, generator)
    paint_ground(canvas, street, generator)
    # A house spans a stretch of z and stands behind all that is before its far end: it is painted at that distance.
    jobs: list[Job] = [(house.far, partial(paint_house, canvas, street, house, generator)) for house in street.houses]
    for layer in (_plants, _traffic, _people, _furniture):
        jobs += layer(canvas, street, generator)
    for _, paint in sorted(jobs, key=lambda job: -job[0]):
        paint()
    if generator.random() < 0.7:
        _hood(canvas, generator)
    colour, labels = canvas.finish()
    return _expose(colour, street, generator), _uncertain(labels, camera, generator)


def _plants(canvas: Canvas, street: Street, generator: np.random.Generator) -> list[Job]:
    """Rows of street trees, trees behind the sidewalk, hedges: the fewer the denser the city."""
    places: list[tuple[float, float]] = []
    jobs: list[Job] = []
    green = 1 - 0.75 * street.built_up
    for side in (-1, 1):
        verge = street.verge(side)
        if generator.random() < 0.15 + 0.5 * green:
            row = np.arange(generator.uniform(5, 12), 90, generator.uniform(7, 14))
            places += [(verge.road + side * 0.7, float(z + generator.uniform(-1, 1))) for z in row]
        for _ in range(int(generator.poisson(9 * green))):
            places.append((verge.outer + side * float(generator.uniform(1, 9)), float(generator.uniform(7, 110))))
        for _ in range(int(generator.poisson(3 * green))):
            near = float(generator.uniform(2, 60))
            far = near + float(generator.uniform(5, 14))
            if not street.crosses(near, far):
                jobs.append((far, partial(paint_hedge, canvas, street, side, (near, far), generator)))
    jobs += [
        (z, partial(paint_tree, canvas, street, x, z, generator)) for x, z in places if not street.crosses(z - 3, z + 3)
    ]
    return jobs


def _traffic(canvas: Canvas, street: Street, generator: np.random.Generator) -> list[Job]:
    """Parked rows at the curbs, cars in the lanes (those on the left come towards us), cars on the crossing."""
    places: list[tuple[float, float, bool]] = []
    for side in (-1, 1):
        z, parked = float(generator.uniform(4, 16)), float(generator.uniform(0.1, 0.8))
        while z < 80:
            if generator.random() < parked and not street.crosses(z - 6, z + 10):
                places.append((street.verge(side).road - side * 1.05, z, side < 0))
            z += float(generator.uniform(5.4, 7.5))
    for _ in range(int(generator.poisson(2.2))):
        z, oncoming = float(generator.uniform(9, 60)), generator.random() < 0.5
        x = street.left.road * 0.45 if oncoming else 0.0
        if not street.crosses(z - 1, z + 5):
            places.append((x + float(generator.uniform(-0.3, 0.3)), z, oncoming))
    jobs: list[Job] = [
        (z + 2, partial(paint_car, canvas, street, x, z, generator, oncoming)) for x, z, oncoming in places
    ]
    if street.crossing is not None:
        for _ in range(int(generator.poisson(1.5))):
            x, z = (
                float(generator.uniform(-16, 16)),
                sum(street.crossing) / 2 + float(generator.choice([-2.0, 2.0])),
            )
            jobs.append((z, partial(paint_crossing_car, canvas, street, x, z, generator)))
    return jobs


def _people(canvas: Canvas, street: Street, generator: np.random.Generator) -> list[Job]:
    """People alone and in small groups, mostly on the sidewalks, more of them in the city, most of them near."""
    jobs: list[Job] = []
    for _ in range(int(generator.poisson(5 + 4 * street.built_up))):
        verge = street.verge(int(generator.choice([-1, 1])))
        z = 5 + 45 * float(generator.beta(1.1, 2.2))
        span = (street.left.road, street.right.road) if generator.random() < 0.15 else sorted((verge.road, verge.outer))
        x = float(generator.uniform(*span))
        for _ in range(int(generator.choice([1, 2, 3], p=[0.6, 0.28, 0.12]))):
            beside, behind = generator.uniform(-0.9, 0.9, 2).tolist()
            jobs.append((z + behind, partial(paint_person, canvas, street, x + beside, z + behind, generator)))
    return jobs


def _furniture(canvas: Canvas, street: Street, generator: np.random.Generator) -> list[Job]:
    """Poles along the curbs, and bins by the wall."""
    jobs: list[Job] = []
    for side in (-1, 1):
        verge = street.verge(side)
        for place in np.arange(generator.uniform(5, 14), 80, generator.uniform(9, 20)):
            z = float(place + generator.uniform(-2, 2))
            if not street.crosses(z - 0.3, z + 0.3):
                jobs.append((z, partial(paint_pole, canvas, street, verge.road + side * 0.35, z, generator)))
        for _ in range(int(generator.poisson(1.2))):
            z = float(generator.uniform(6, 30))
            jobs.append((z, partial(paint_bin, canvas, street, verge.outer - side * 0.6, z, generator)))
    return jobs


def _hood(canvas: Canvas, generator: np.random.Generator) -> None:
    """The hood of the car that carries the camera, at the bottom edge: ignored."""
    height, width = canvas.labels.shape
    rise, tone = float(generator.uniform(0.03, 0.09)) * height, float(generator.uniform(0.06, 0.35))

    def paint(x: Floats, y: Floats) -> Floats:
        gloss = 0.12 * np.exp(-(((y - height + rise * 0.75) / (0.12 * rise)) ** 2)) + 0.03 * canvas.grain(
            x * 0.2, y * 0.2
        )
        return np.repeat(np.asarray(tone + gloss, np.float32)[:, None], 3, axis=1)

    outline = ellipse_points((width * 0.5, height + rise * 0.4), (width * 0.52, rise * 1.4), 60)
    canvas.polygon(outline, paint, IGNORE, 0.0)


def _expose(colour: Floats, street: Street, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Daylight tint, contrast, vignette, lens blur, shot and read noise; then 8 bits."""
    height, width = colour.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    vignette = 1 - np.float32(generator.uniform(0.05, 0.25)) * (x * x + y * y) / 2
    light = np.clip(colour * street.light.tint * vignette[..., None], 0, None) ** np.float32(
        generator.uniform(0.85, 1.15)
    )
    sigma = float(generator.uniform(0.35, 0.8)) * height / 256
    light = ndimage.gaussian_filter(light, (sigma, sigma, 0))
    noise = generator.standard_normal(light.shape, dtype=np.float32) * np.float32(generator.uniform(0.005, 0.017))
    light = light + noise * (np.float32(0.5) + np.sqrt(np.clip(light, 0, 1)))
    return np.asarray(np.clip(light * 255 + 0.5, 0, 255), np.uint8)


def _uncertain(labels: Labels, camera: Camera, generator: np.random.Generator) -> Labels:
    """Labels with the doubtful pixels ignored: a thin border around two classes, now and then the street's far end."""
    out, (height, width) = labels.copy(), labels.shape
    for label in generator.choice(len(CLASS_NAMES), 2, replace=False):
        mask = labels == label
        out[ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask, border_value=1)] = IGNORE
    if generator.random() < 0.3:
        y, x = np.mgrid[:height, :width]
        across, down = (
            (x - camera.x0 / OVERSAMPLING) / (0.03 * width),
            (y - camera.y0 / OVERSAMPLING) / (0.025 * height),
        )
        out[across**2 + down**2 < 1] = IGNORE
    return out
