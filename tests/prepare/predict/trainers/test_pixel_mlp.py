"""The built-in trainer: how good it is, on how much, and that it is the same twice."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from masksift.demo.scenes.scene import draw_scene
from masksift.demo.scenes.street import CLASS_NAMES
from masksift.prepare.predict.trainers import pixel_mlp as pixels
from masksift.prepare.predict.trainers.pixel_classifier import PixelSample
from masksift.prepare.predict.trainers.pixel_mlp import PixelTrainer
from prepare.predict.helpers import drawn_pictures, predict, record, write_pictures
from support.datasets import Array


def trainer(seed: int = 0, balance: float = 0.5) -> PixelTrainer:
    return PixelTrainer(classes=3, ignored=255, seed=seed, balance=balance)


@pytest.fixture(scope="module")
def drawn() -> tuple[Array, Array]:
    return drawn_pictures(images=4)


def test_on_small_scenes_of_the_demo_its_mean_iou_is_one_half(tmp_path: Path) -> None:
    scenes = [draw_scene(0, index, 96, 192) for index in range(12)]
    pictures, labels = (np.stack(part) for part in zip(*scenes, strict=True))
    told = {"class_names": list(CLASS_NAMES), "ignore": [255]}
    source = write_pictures(tmp_path / "scenes.zarr", pictures, labels, attributes=told)
    said = record(predict(source, tmp_path / "out", "--folds", 3))
    assert 0.45 < said["mean_iou"] < 0.56
    assert 0.79 < said["pixel_accuracy"] < 0.87


def test_twice_it_is_the_same_also_from_its_pickle(drawn: tuple[Array, Array]) -> None:
    once, twice = (trainer().fit(*drawn) for _ in range(2))
    answers = once.predict_proba(drawn[0])
    np.testing.assert_array_equal(twice.predict_proba(drawn[0]), answers)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(once)).predict_proba(drawn[0]), answers)
    assert (trainer(seed=1).fit(*drawn).predict_proba(drawn[0]) != answers).any()


def test_an_image_is_predicted_alone_as_among_others_and_adds_up_to_one(drawn: tuple[Array, Array]) -> None:
    fitted = trainer().fit(*drawn)
    answers = fitted.predict_proba(drawn[0])
    assert answers.shape == (4, 3, 16, 20)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(fitted.predict_proba(drawn[0][2:3])[0], answers[2])


def test_images_of_odd_sizes_are_predicted_whole(drawn: tuple[Array, Array]) -> None:
    pictures, labels = drawn[0][:, :15, :19], drawn[1][:, :15, :19]
    assert trainer().fit(pictures, labels).predict_proba(pictures).shape == (4, 3, 15, 19)


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[PixelSample]:
    """What models are fitted to, with a budget of pixels that does not reach for all of an image."""
    seen: list[PixelSample] = []
    fit = pixels.fit_classifier
    monkeypatch.setattr(pixels, "PIXELS", 80)
    monkeypatch.setattr(pixels, "fit_classifier", lambda samples, seed: seen.extend(samples) or fit(samples, seed))
    return seen


def test_balance_says_how_many_pixels_of_rare_classes_are_trained_on(
    drawn: tuple[Array, Array], sampled: list[PixelSample]
) -> None:
    rare = np.bincount(drawn[1][drawn[1] < 3]).argmin()
    counts = []
    for balance in (1.0, 0.5, 0.0):
        sampled.clear()
        trainer(balance=balance).fit(*drawn)
        counts.append(sum(int((sample.labels == rare).sum()) for sample in sampled))
    assert counts == sorted(counts)
    assert counts[0] < counts[2]


def test_no_more_than_a_budget_of_pixels_and_images_is_looked_at(
    drawn: tuple[Array, Array], sampled: list[PixelSample], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watched(list[Array]):
        def __init__(self, images: Array) -> None:
            super().__init__(images)
            self.asked: list[int] = []

        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            self.asked.append(index)
            return super().__getitem__(index)

    monkeypatch.setattr(pixels, "IMAGES", 4)
    images, labels = Watched(np.tile(drawn[0], (3, 1, 1, 1))), Watched(np.tile(drawn[1], (3, 1, 1)))
    trainer().fit(images, labels)
    assert images.asked == labels.asked == [0, 3, 6, 9]
    assert 80 <= sum(len(sample.labels) for sample in sampled) <= 80 + 3 * 4, "a pixel a class and image, rounded up"


def test_memory_is_said_to_grow_with_the_image_and_not_with_the_data_set() -> None:
    small, many, large = (trainer().memory(*facts) for facts in ((10, 256, 512), (10**6, 256, 512), (10, 4096, 8192)))
    assert small == many < 1 << 30
    assert large > small
