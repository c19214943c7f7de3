"""Scenes of the demo: determinism, geometry and labels."""

from __future__ import annotations

import numpy as np
import pytest

from masksift.demo.scenes.canvas import OVERSAMPLING, Canvas
from masksift.demo.scenes.scene import draw_scene
from masksift.demo.scenes.street import CLASS_NAMES, IGNORE, ROAD, SKY

SMALL = 64, 128


@pytest.fixture(scope="module")
def scenes() -> tuple[np.ndarray, np.ndarray]:
    drawn = [draw_scene(7, index, *SMALL) for index in range(8)]
    return np.stack([image for image, _ in drawn]), np.stack([labels for _, labels in drawn])


def test_scene_is_an_rgb_image_with_a_label_per_pixel(scenes):
    images, labels = scenes
    assert images.shape == (8, *SMALL, 3)
    assert labels.shape == (8, *SMALL)
    assert images.dtype == labels.dtype == np.uint8


def test_scene_with_the_same_arguments_has_the_same_bytes(scenes):
    image, labels = draw_scene(7, 3, *SMALL)
    assert np.array_equal(image, scenes[0][3])
    assert np.array_equal(labels, scenes[1][3])


@pytest.mark.parametrize(("seed", "index"), [(7, 4), (8, 3)])
def test_scene_with_another_seed_or_index_differs(scenes, seed, index):
    assert not np.array_equal(draw_scene(seed, index, *SMALL)[0], scenes[0][3])


def test_labels_of_all_scenes_hold_every_class_and_the_ignore_value(scenes):
    assert set(np.unique(scenes[1]).tolist()) == {*range(len(CLASS_NAMES)), IGNORE}


def test_ignored_pixels_are_few(scenes):
    assert 0.005 < np.mean(scenes[1] == IGNORE) < 0.25


def test_sky_is_above_the_road(scenes):
    rows = np.broadcast_to(np.arange(SMALL[0])[:, None], SMALL)
    for labels in scenes[1]:
        if (labels == SKY).any():
            assert rows[labels == SKY].mean() < rows[labels == ROAD].mean()


def test_road_narrows_toward_the_horizon(scenes):
    width = (scenes[1] == ROAD).sum(axis=(0, 2))
    assert width[int(0.55 * SMALL[0])] < width[int(0.8 * SMALL[0])]


def test_color_alone_does_not_separate_the_classes(scenes):
    """The nearest mean color is a poor classifier, because the colors of the classes overlap."""
    images, labels = (plane.reshape(-1, *plane.shape[3:]) for plane in scenes)
    valid = labels != IGNORE
    colors, given = images[valid].astype(float), labels[valid]
    means = np.stack([colors[given == label].mean(axis=0) for label in range(len(CLASS_NAMES))])
    nearest = ((colors[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert np.mean(nearest == given) < 0.75


@pytest.fixture
def canvas() -> Canvas:
    canvas = Canvas(40, 60, np.random.default_rng(0))
    canvas.visibility = 100.0
    return canvas


def test_later_shape_covers_an_earlier_one(canvas):
    canvas.box(-2, 0, 2, 3, 10, (1.0, 0.0, 0.0), 1, 0.0)
    before = np.count_nonzero(canvas.labels == 1)
    canvas.box(0, 0, 2, 3, 9, (0.0, 1.0, 0.0), 2, 0.0)
    assert 0 < np.count_nonzero(canvas.labels == 1) < before
    assert np.count_nonzero(canvas.labels == 2) > 0


def test_shadow_darkens_and_keeps_the_label(canvas):
    canvas.box(-2, 0, 2, 3, 0.001, (1.0, 1.0, 1.0), 1, 0.0)
    canvas.box(-2, 0, 2, 3, 0.001, (0.0, 0.0, 0.0), None, 0.0, 0.25)
    assert canvas.colors.mean() == pytest.approx(0.75, abs=1e-3)
    assert np.all(canvas.labels == 1)


def test_far_shape_fades_into_the_haze(canvas):
    canvas.box(-200, -200, 200, 200, 100.0, (0.0, 0.0, 0.0), 1, 0.0)
    assert canvas.colors[40, 60] == pytest.approx(canvas.haze * (1 - np.exp(-1)), rel=1e-4)


def test_shape_outside_the_canvas_is_not_drawn(canvas):
    canvas.box(100, 0, 120, 3, 10, (1.0, 0.0, 0.0), 1, 0.0)
    assert np.all(canvas.labels == IGNORE)


def test_projection_shrinks_with_distance(canvas):
    near, far = (canvas.project((1.0, 0.0, ahead))[0] - canvas.center for ahead in (5.0, 10.0))
    assert near == pytest.approx(2 * far)
    assert canvas.project((0.0, canvas.eye, 7.0)) == pytest.approx((canvas.center, canvas.horizon))


def test_finished_canvas_has_the_size_of_the_image(canvas):
    colors, labels = canvas.finish()
    assert (colors.shape, labels.shape) == ((40, 60, 3), (40, 60))
    assert canvas.labels.shape == (40 * OVERSAMPLING, 60 * OVERSAMPLING)
