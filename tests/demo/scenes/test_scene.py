"""The demo's scenes: same arguments, same bytes; things far away lie behind; labels mean what is seen."""

from __future__ import annotations

import numpy as np
import pytest

from masksift.demo.scenes.canvas import Camera, Canvas, polygon_mask, tileable_noise
from masksift.demo.scenes.scene import draw_scene
from masksift.demo.scenes.street import CLASS_NAMES, IGNORE, ROAD, SKY

SMALL = 64, 128


@pytest.fixture(scope="module")
def scenes() -> tuple[np.ndarray, np.ndarray]:
    drawn = [draw_scene(7, index, *SMALL) for index in range(8)]
    return np.stack([image for image, _ in drawn]), np.stack([labels for _, labels in drawn])


def test_a_scene_is_an_rgb_image_and_a_label_for_each_of_its_pixels(scenes):
    images, labels = scenes
    assert images.shape == (8, *SMALL, 3)
    assert labels.shape == (8, *SMALL)
    assert images.dtype == labels.dtype == np.uint8


def test_the_same_arguments_draw_the_same_bytes_whatever_was_drawn_before(scenes):
    image, labels = draw_scene(7, 3, *SMALL)
    assert np.array_equal(image, scenes[0][3])
    assert np.array_equal(labels, scenes[1][3])


@pytest.mark.parametrize(("seed", "index"), [(7, 4), (8, 3)])
def test_another_seed_or_index_draws_another_scene(scenes, seed, index):
    assert not np.array_equal(draw_scene(seed, index, *SMALL)[0], scenes[0][3])


def test_labels_are_the_eight_classes_or_ignored_and_all_of_them_occur(scenes):
    assert set(np.unique(scenes[1]).tolist()) == {*range(len(CLASS_NAMES)), IGNORE}


def test_some_pixels_are_ignored_but_most_are_valid(scenes):
    ignored = np.mean(scenes[1] == IGNORE)
    assert 0.005 < ignored < 0.25


def test_the_sky_is_above_and_the_road_below(scenes):
    rows = np.broadcast_to(np.arange(SMALL[0])[:, None], SMALL)
    for labels in scenes[1]:
        if (labels == SKY).any():
            assert rows[labels == SKY].mean() < rows[labels == ROAD].mean()


def test_the_road_narrows_towards_the_horizon(scenes):
    width = (scenes[1] == ROAD).sum(axis=(0, 2))
    assert width[int(0.55 * SMALL[0])] < width[int(0.8 * SMALL[0])]


def test_colour_alone_does_not_tell_the_classes_apart(scenes):
    """The nearest mean colour is a poor classifier: the classes overlap in colour."""
    images, labels = (plane.reshape(-1, *plane.shape[3:]) for plane in scenes)
    valid = labels != IGNORE
    colours, given = images[valid].astype(float), labels[valid]
    means = np.stack([colours[given == label].mean(axis=0) for label in range(len(CLASS_NAMES))])
    nearest = ((colours[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert np.mean(nearest == given) < 0.75


def _canvas() -> Canvas:
    noise = tileable_noise(np.random.default_rng(0))
    return Canvas(40, 60, Camera(50.0, 30.0, 20.0, 1.5), noise, np.ones(3, np.float32), visibility=100.0)


def test_what_is_painted_later_hides_what_was_there():
    canvas = _canvas()
    canvas.polygon([(10, 10), (30, 10), (30, 30), (10, 30)], (1.0, 0.0, 0.0), 1, 0.0)
    canvas.polygon([(20, 10), (40, 10), (40, 30), (20, 30)], (0.0, 1.0, 0.0), 2, 0.0)
    assert np.count_nonzero(canvas.labels == 1) == 10 * 20
    assert np.count_nonzero(canvas.labels == 2) == 20 * 20
    assert canvas.colour[20, 25].tolist() == [0.0, 1.0, 0.0]


def test_a_shadow_darkens_and_keeps_the_label():
    canvas = _canvas()
    square = [(10.0, 10.0), (30.0, 10.0), (30.0, 30.0), (10.0, 30.0)]
    canvas.polygon(square, (1.0, 1.0, 1.0), 1, 0.0)
    canvas.polygon(square, (0.0, 0.0, 0.0), None, 0.0, opacity=0.25)
    assert canvas.colour[20, 20] == pytest.approx(0.75)
    assert canvas.labels[20, 20] == 1


def test_far_things_fade_into_the_haze():
    canvas = _canvas()
    square = [(10.0, 10.0), (30.0, 10.0), (30.0, 30.0), (10.0, 30.0)]
    canvas.polygon(square, (0.0, 0.0, 0.0), 1, distance=100.0)
    assert canvas.colour[20, 20] == pytest.approx(1 - np.exp(-1))


def test_what_lies_outside_the_canvas_is_not_painted():
    canvas = _canvas()
    canvas.polygon([(100, 100), (120, 100), (120, 120)], (1.0, 0.0, 0.0), 1, 0.0)
    assert np.all(canvas.labels == IGNORE)


def test_a_polygon_covers_the_pixels_whose_centres_lie_in_it():
    mask = polygon_mask([(1, 1), (4, 1), (4, 3), (1, 3)], np.arange(5), np.arange(6))
    expected = np.zeros((5, 6), bool)
    expected[1:3, 1:4] = True
    assert np.array_equal(mask, expected)


def test_camera_and_its_inverse_agree():
    camera = Camera(500.0, 256.0, 128.0, 1.5)
    column, row = camera.pixel(-3.0, 0.0, 12.0)
    x, z = camera.on_ground(np.float32([column]), np.float32([row]))
    assert (float(x[0]), float(z[0])) == pytest.approx((-3.0, 12.0), rel=1e-4)
    column, row = camera.pixel(-3.0, 2.0, 12.0)
    along, up = camera.on_side(np.float32([column]), np.float32([row]), -3.0)
    assert (float(along[0]), float(up[0])) == pytest.approx((12.0, 2.0), rel=1e-4)
