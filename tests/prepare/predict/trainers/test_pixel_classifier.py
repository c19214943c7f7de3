"""The pixel classifier: features that repeat, samples that leave out what is ignored, probabilities of every pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from masksift.demo.scenes.scene import draw_scene
from masksift.prepare.predict.trainers.pixel_classifier import FEATURES, features, fit_classifier, sample_pixels

SMALL = 48, 96
CLASSES = 8


@pytest.fixture(scope="module")
def scenes() -> tuple[np.ndarray, np.ndarray]:
    drawn = [draw_scene(3, index, *SMALL) for index in range(2)]
    return np.stack([image for image, _ in drawn]), np.stack([labels for _, labels in drawn])


def test_training_twice_predicts_the_same_bytes(scenes):
    image, labels = scenes[0][0], scenes[1][0]
    once, twice = (
        fit_classifier([sample_pixels(image, labels, CLASSES, np.random.default_rng(1))], (0, 1)).predict(image)
        for _ in range(2)
    )
    assert np.array_equal(once, twice)


def test_a_class_sampled_more_often_than_it_occurs_is_predicted_less(scenes):
    sample = sample_pixels(scenes[0][0], scenes[1][0], CLASSES, np.random.default_rng(1))
    rare = replace(sample, counts=np.where(np.arange(CLASSES) == 0, sample.counts // 100, sample.counts))
    road, rare_road = (fit_classifier([each], (0, 1)).predict(scenes[0][0])[0].mean() for each in (sample, rare))
    assert rare_road < 0.7 * road


def test_ignored_pixels_are_not_trained_on(scenes):
    image, labels = scenes[0][0], scenes[1][0]
    sample = sample_pixels(image, np.where(labels == 0, 255, labels), CLASSES, np.random.default_rng(0))
    assert set(np.unique(sample.labels).tolist()) <= set(range(1, CLASSES))
    assert sample.counts[0] == 0


def test_an_image_without_labels_gives_no_training_pixels(scenes):
    sample = sample_pixels(scenes[0][0], np.full(SMALL, 255, np.uint8), CLASSES, np.random.default_rng(0))
    assert sample.features.shape[0] == sample.labels.size == sample.counts.sum() == 0


def test_features_do_not_depend_on_memory_layout_and_are_finite(scenes):
    table = features(scenes[0][0])
    assert table.shape[:2] == (SMALL[0] // 2, SMALL[1] // 2)
    assert table.dtype == np.float32
    assert table.shape[2] == FEATURES
    assert np.isfinite(table).all()
    assert np.array_equal(table, features(np.asfortranarray(scenes[0][0])))


def test_what_cannot_be_learnt_from_is_refused(scenes):
    with pytest.raises(ValueError, match="47 x 96 pixels has no whole blocks"):
        features(scenes[0][0][1:])
    with pytest.raises(ValueError, match=r"hold 1 class\(es\)"):
        fit_classifier(
            [sample_pixels(scenes[0][0], np.zeros(SMALL, np.uint8), CLASSES, np.random.default_rng(0))], (0,)
        )


def test_probabilities_add_up_to_one_and_their_bytes_are_rounded(scenes):
    model = fit_classifier([sample_pixels(*(part[0] for part in scenes), CLASSES, np.random.default_rng(1))], (0, 1))
    probabilities = model.probabilities(scenes[0][1])
    assert probabilities.shape == (CLASSES, *SMALL)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(model.predict(scenes[0][1]), np.rint(probabilities * 255))


@pytest.mark.parametrize("sampled", [50, 400])
def test_about_so_many_pixels_are_sampled(scenes, sampled):
    found = sample_pixels(scenes[0][0], scenes[1][0], CLASSES, np.random.default_rng(0), sampled)
    assert sampled * 0.7 <= len(found.labels) <= sampled + CLASSES


def test_the_smaller_the_balance_the_more_alike_are_the_classes(scenes):
    shares = []
    for balance in (1.0, 0.5, 0.0):
        labels = sample_pixels(scenes[0][0], scenes[1][0], CLASSES, np.random.default_rng(0), 200, balance).labels
        counts = np.bincount(labels, minlength=CLASSES)
        shares.append(counts[counts > 0].min() / counts.max())
    assert shares == sorted(shares)
    assert shares[0] < shares[2]
