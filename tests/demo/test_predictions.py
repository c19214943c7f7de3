"""The demo's predictions: probabilities, repeatable, and out of sample in the strict sense."""

from __future__ import annotations

import numpy as np
import pytest

from masksift.demo import predictions as classifier
from masksift.demo.parallel import process_pool
from masksift.demo.predictions import CrossValidated, assign_folds, train
from masksift.demo.scenes.scene import draw_scene
from masksift.prepare.predict.trainers.pixel_classifier import PixelSample, fit_classifier, sample_pixels

SMALL = 48, 96
CLASSES = 8


@pytest.fixture(scope="module")
def scenes() -> tuple[np.ndarray, np.ndarray]:
    drawn = [draw_scene(3, index, *SMALL) for index in range(6)]
    return np.stack([image for image, _ in drawn]), np.stack([labels for _, labels in drawn])


@pytest.fixture(scope="module")
def trained(scenes) -> CrossValidated:
    return train(*scenes, CLASSES, seed=0, folds=3)


@pytest.fixture(scope="module")
def predicted(trained, scenes) -> np.ndarray:
    return np.stack(list(trained.predictions(scenes[0])))


def test_a_prediction_is_a_probability_of_each_class_for_each_pixel(predicted):
    assert predicted.shape == (6, CLASSES, *SMALL)
    assert predicted.dtype == np.uint8
    sums = predicted.sum(axis=1, dtype=int) / 255
    assert np.abs(sums - 1).max() <= CLASSES / 510


def test_accuracy_exceeds_the_most_frequent_class(predicted, scenes):
    labels = scenes[1]
    valid = labels < CLASSES
    commonest = np.bincount(labels[valid]).max() / valid.sum()
    assert np.mean(predicted.argmax(axis=1)[valid] == labels[valid]) > commonest + 0.15


def test_the_labels_of_an_image_have_no_influence_on_its_own_prediction(scenes, trained, predicted):
    """The proof of "out of sample": other labels for a whole fold, the same bytes for it, other bytes for the rest."""
    images, labels = scenes
    mine = trained.fold == trained.fold[2]
    other = labels.copy()
    other[mine] = np.where(labels[mine] < CLASSES, (labels[mine] + 3) % CLASSES, labels[mine])
    again = np.stack(list(train(images, other, CLASSES, seed=0, folds=3).predictions(images)))
    assert np.array_equal(again[mine], predicted[mine])
    assert all(not np.array_equal(a, b) for a, b in zip(again[~mine], predicted[~mine], strict=True))


def test_a_model_is_fitted_to_the_samples_of_the_other_folds_only(scenes, monkeypatch):
    seen = []

    def spy(samples, seed):
        seen.append({index for sample in samples for index in np.unique(sample.counts // 1_000_000).tolist() if index})
        return fit_classifier(samples, seed)

    def marked(image, labels, classes, generator):
        sample = sample_pixels(image, labels, classes, generator)
        return PixelSample(sample.features, sample.labels, sample.counts + 1_000_000 * number[image.tobytes()])

    number = {image.tobytes(): index + 1 for index, image in enumerate(scenes[0])}
    monkeypatch.setattr(classifier, "fit_classifier", spy)
    monkeypatch.setattr(classifier, "sample_pixels", marked)
    model = train(*scenes, CLASSES, seed=0, folds=3)
    for fold, images in enumerate(seen):
        assert images == {index + 1 for index in range(6) if model.fold[index] != fold}


def test_a_class_never_seen_in_training_has_probability_zero(scenes):
    images, labels = scenes
    without = np.where(labels == 4, 255, labels)
    predictions = train(images, without, CLASSES, seed=0, folds=2).predictions(images)
    assert next(predictions)[4].max() == 0


def test_folds_are_of_equal_size_and_every_image_is_in_one():
    fold = assign_folds(11, 4, seed=5)
    assert sorted(np.bincount(fold).tolist()) == [2, 3, 3, 3]
    assert not np.array_equal(fold, assign_folds(11, 4, seed=6))


def test_too_few_images_or_classes_are_refused(scenes):
    with pytest.raises(ValueError, match="3 images cannot make 4 folds"):
        assign_folds(3, 4, seed=0)
    with pytest.raises(ValueError, match=r"hold 1 class\(es\)"):
        train(scenes[0], np.zeros_like(scenes[1]), CLASSES, seed=0, folds=2)


def test_two_processes_predict_the_same_bytes(scenes, predicted):
    with process_pool(2) as run:
        model = train(*scenes, CLASSES, seed=0, folds=3, run=run)
        assert np.array_equal(np.stack(list(model.predictions(scenes[0], run))), predicted)
