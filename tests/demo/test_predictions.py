"""Demo predictions: probabilities, accuracy, reproducibility and out-of-sample training."""

from __future__ import annotations

import numpy as np
import pytest

from masksift.demo import predictions as classifier
from masksift.demo.parallel import thread_pool
from masksift.demo.predictions import CrossValidated, assign_folds, train
from masksift.demo.scenes.scene import draw_scene
from masksift.prepare.predict.trainers.pixel_classifier import PixelSample, fit_classifier, sample_pixels

SMALL = 48, 96
CLASSES = 8


@pytest.fixture(scope="module")
def scenes() -> tuple[np.ndarray, np.ndarray]:
    pairs = [draw_scene(3, index, *SMALL) for index in range(6)]
    return np.stack([image for image, _ in pairs]), np.stack([labels for _, labels in pairs])


@pytest.fixture(scope="module")
def trained(scenes) -> CrossValidated:
    return train(*scenes, CLASSES, seed=0, folds=3)


@pytest.fixture(scope="module")
def predicted(trained, scenes) -> np.ndarray:
    return np.stack(list(trained.predictions(scenes[0])))


def test_predictions_are_probabilities_per_class_and_pixel(predicted):
    assert predicted.shape == (6, CLASSES, *SMALL)
    assert predicted.dtype == np.uint8
    sums = predicted.sum(axis=1, dtype=int) / 255
    assert np.abs(sums - 1).max() <= CLASSES / 510


def test_accuracy_exceeds_the_most_frequent_class(predicted, scenes):
    labels = scenes[1]
    valid = labels < CLASSES
    most_frequent_share = np.bincount(labels[valid]).max() / valid.sum()
    assert np.mean(predicted.argmax(axis=1)[valid] == labels[valid]) > most_frequent_share + 0.15


def test_prediction_does_not_depend_on_the_labels_of_its_fold(scenes, trained, predicted):
    """Other labels for a whole fold change the predictions of all folds but this one."""
    images, labels = scenes
    in_fold = trained.fold == trained.fold[2]
    changed = labels.copy()
    changed[in_fold] = np.where(labels[in_fold] < CLASSES, (labels[in_fold] + 3) % CLASSES, labels[in_fold])
    again = np.stack(list(train(images, changed, CLASSES, seed=0, folds=3).predictions(images)))
    assert np.array_equal(again[in_fold], predicted[in_fold])
    assert all(not np.array_equal(a, b) for a, b in zip(again[~in_fold], predicted[~in_fold], strict=True))


def test_model_is_fitted_to_the_other_folds_only(scenes, monkeypatch):
    fitted_images = []

    def record_images(samples, seed):
        encoded = np.concatenate([sample.counts // 1_000_000 for sample in samples])
        fitted_images.append(set(encoded[encoded > 0].tolist()))
        return fit_classifier(samples, seed)

    def sample_with_image_number(image, labels, classes, generator):
        sample = sample_pixels(image, labels, classes, generator)
        return PixelSample(sample.features, sample.labels, sample.counts + 1_000_000 * number[image.tobytes()])

    number = {image.tobytes(): index + 1 for index, image in enumerate(scenes[0])}
    monkeypatch.setattr(classifier, "fit_classifier", record_images)
    monkeypatch.setattr(classifier, "sample_pixels", sample_with_image_number)
    model = train(*scenes, CLASSES, seed=0, folds=3)
    for fold, images in enumerate(fitted_images):
        assert images == {index + 1 for index in range(6) if model.fold[index] != fold}


def test_class_without_training_pixels_has_probability_zero(scenes):
    images, labels = scenes
    labels_without_class = np.where(labels == 4, 255, labels)
    predictions = train(images, labels_without_class, CLASSES, seed=0, folds=2).predictions(images)
    assert next(predictions)[4].max() == 0


def test_folds_have_equal_sizes_and_depend_on_the_seed():
    fold = assign_folds(11, 4, seed=5)
    assert sorted(np.bincount(fold).tolist()) == [2, 3, 3, 3]
    assert not np.array_equal(fold, assign_folds(11, 4, seed=6))


def test_too_few_images_or_classes_are_rejected(scenes):
    with pytest.raises(ValueError, match="3 images cannot make 4 folds"):
        assign_folds(3, 4, seed=0)
    with pytest.raises(ValueError, match=r"hold 1 class\(es\)"):
        train(scenes[0], np.zeros_like(scenes[1]), CLASSES, seed=0, folds=2)


def test_two_threads_predict_the_same_bytes(scenes, predicted):
    with thread_pool(2) as run:
        model = train(*scenes, CLASSES, seed=0, folds=3, run=run)
        assert np.array_equal(np.stack(list(model.predictions(scenes[0], run))), predicted)
