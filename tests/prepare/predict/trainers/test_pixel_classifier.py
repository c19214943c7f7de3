"""Pixel classifier: features, sampling of training pixels, probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from masksift.demo.scenes.scene import draw_scene
from masksift.prepare.predict.trainers.pixel_classifier import (
    FEATURES,
    PixelSample,
    compute_features,
    fit_classifier,
    sample_pixels,
)

SIZE = 48, 96
CLASSES = 8


@pytest.fixture(scope="module")
def scenes() -> tuple[np.ndarray, np.ndarray]:
    """Two images and their labels."""
    drawn = [draw_scene(3, index, *SIZE) for index in range(2)]
    return np.stack([image for image, _ in drawn]), np.stack([labels for _, labels in drawn])


def sample(scenes, labels=None, seed=0, **options) -> PixelSample:
    """Sample the first image."""
    plane = scenes[1][0] if labels is None else labels
    return sample_pixels(scenes[0][0], plane, CLASSES, np.random.default_rng(seed), **options)


def test_training_is_deterministic(scenes):
    first, second = (fit_classifier([sample(scenes)], (0, 1)).predict(scenes[0][0]) for _ in range(2))
    assert np.array_equal(first, second)


def test_oversampled_class_is_predicted_less(scenes):
    pixels = sample(scenes)
    rare = replace(pixels, counts=np.where(np.arange(CLASSES) == 0, pixels.counts // 100, pixels.counts))
    road, rare_road = (fit_classifier([each], (0, 1)).predict(scenes[0][0])[0].mean() for each in (pixels, rare))
    assert rare_road < 0.7 * road


def test_ignored_pixels_are_not_sampled(scenes):
    pixels = sample(scenes, np.where(scenes[1][0] == 0, 255, scenes[1][0]))
    assert set(np.unique(pixels.labels).tolist()) <= set(range(1, CLASSES))
    assert pixels.counts[0] == 0


def test_ignored_image_yields_no_training_pixels(scenes):
    pixels = sample(scenes, np.full(SIZE, 255, np.uint8))
    assert pixels.features.shape[0] == pixels.labels.size == pixels.counts.sum() == 0


def test_features_are_finite_and_independent_of_memory_layout(scenes):
    table = compute_features(scenes[0][0])
    assert table.shape == (SIZE[0] // 2, SIZE[1] // 2, FEATURES)
    assert table.dtype == np.float32
    assert np.isfinite(table).all()
    assert np.array_equal(table, compute_features(np.asfortranarray(scenes[0][0])))


def test_odd_size_and_single_class_are_refused(scenes):
    with pytest.raises(ValueError, match="47 x 96 pixels cannot be divided into cells"):
        compute_features(scenes[0][0][1:])
    pixels = sample(scenes, np.zeros(SIZE, np.uint8))
    with pytest.raises(ValueError, match=r"hold 1 class\(es\)"):
        fit_classifier([pixels], (0,))


def test_probabilities_sum_to_one_and_predict_rounds_them(scenes):
    model = fit_classifier([sample(scenes)], (0, 1))
    probabilities = model.probabilities(scenes[0][1])
    assert probabilities.shape == (CLASSES, *SIZE)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(model.predict(scenes[0][1]), np.rint(probabilities * 255))


@pytest.mark.parametrize("pixels", [50, 400])
def test_number_of_sampled_pixels_is_approximate(scenes, pixels):
    assert pixels * 0.7 <= len(sample(scenes, pixels=pixels).labels) <= pixels + CLASSES


def test_smaller_balance_makes_class_counts_more_equal(scenes):
    ratios = []
    for balance in (1.0, 0.5, 0.0):
        counts = np.bincount(sample(scenes, pixels=200, balance=balance).labels, minlength=CLASSES)
        ratios.append(counts[counts > 0].min() / counts.max())
    assert ratios == sorted(ratios)
    assert ratios[0] < ratios[2]
