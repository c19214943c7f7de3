"""Trainer `pixels`: quality, determinism, bounded training data and memory."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from masksift.demo.scenes.scene import draw_scene
from masksift.demo.scenes.street import CLASS_NAMES
from masksift.prepare.predict.trainers import pixel_mlp
from masksift.prepare.predict.trainers.pixel_classifier import PixelSample
from masksift.prepare.predict.trainers.pixel_mlp import PixelTrainer
from prepare.predict.helpers import make_images, predict, read_record, write_images
from support.datasets import Array


def make_trainer(seed: int = 0, balance: float = 0.5) -> PixelTrainer:
    return PixelTrainer(classes=3, ignored=255, seed=seed, balance=balance)


@pytest.fixture(scope="module")
def data() -> tuple[Array, Array]:
    return make_images(images=4)


def test_mean_iou_on_small_demo_scenes_is_about_one_half(tmp_path: Path) -> None:
    scenes = [draw_scene(0, index, 96, 192) for index in range(12)]
    images, labels = (np.stack(arrays) for arrays in zip(*scenes, strict=True))
    attributes = {"class_names": list(CLASS_NAMES), "ignore": [255]}
    source = write_images(tmp_path / "scenes.zarr", images, labels, attributes=attributes)
    record = read_record(predict(source, tmp_path / "out", "--folds", 3))
    assert 0.45 < record["mean_iou"] < 0.56
    assert 0.79 < record["pixel_accuracy"] < 0.87


def test_training_is_deterministic_and_survives_pickling(data: tuple[Array, Array]) -> None:
    first, second = (make_trainer().fit(*data) for _ in range(2))
    expected = first.predict_proba(data[0])
    np.testing.assert_array_equal(second.predict_proba(data[0]), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(first)).predict_proba(data[0]), expected)
    assert (make_trainer(seed=1).fit(*data).predict_proba(data[0]) != expected).any()


def test_images_are_predicted_independently(data: tuple[Array, Array]) -> None:
    trainer = make_trainer().fit(*data)
    probabilities = trainer.predict_proba(data[0])
    assert (probabilities.shape, probabilities.dtype) == ((4, 3, 16, 20), np.float32)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(trainer.predict_proba(data[0][2:3])[0], probabilities[2])


def test_images_of_odd_size_are_predicted(data: tuple[Array, Array]) -> None:
    images, labels = data[0][:, :15, :19], data[1][:, :15, :19]
    assert make_trainer().fit(images, labels).predict_proba(images).shape == (4, 3, 15, 19)


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> list[PixelSample]:
    """Collect what models are trained on, with fewer training pixels than an image has."""
    collected: list[PixelSample] = []
    fit = pixel_mlp.fit_classifier
    monkeypatch.setattr(pixel_mlp, "MAX_PIXELS", 80)
    monkeypatch.setattr(
        pixel_mlp, "fit_classifier", lambda samples, seed: collected.extend(samples) or fit(samples, seed)
    )
    return collected


def test_smaller_balance_samples_more_pixels_of_rare_classes(
    data: tuple[Array, Array], samples: list[PixelSample]
) -> None:
    rare = np.bincount(data[1][data[1] < 3]).argmin()
    counts = []
    for balance in (1.0, 0.5, 0.0):
        samples.clear()
        make_trainer(balance=balance).fit(*data)
        counts.append(sum(int((sample.labels == rare).sum()) for sample in samples))
    assert counts == sorted(counts)
    assert counts[0] < counts[2]


class RecordingList(list[Array]):
    """List that records the indices that are read."""

    def __init__(self, images: Array) -> None:
        super().__init__(images)
        self.indices: list[int] = []

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        self.indices.append(index)
        return super().__getitem__(index)


def test_training_reads_a_bounded_number_of_images_and_pixels(
    data: tuple[Array, Array], samples: list[PixelSample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_mlp, "MAX_IMAGES", 4)
    images, labels = RecordingList(np.tile(data[0], (3, 1, 1, 1))), RecordingList(np.tile(data[1], (3, 1, 1)))
    make_trainer().fit(images, labels)
    assert images.indices == labels.indices == [0, 3, 6, 9]
    assert 80 <= sum(len(sample.labels) for sample in samples) <= 80 + 3 * 4, "rounded up per class and image"


def test_memory_grows_with_the_image_and_not_with_the_data_set() -> None:
    few, many, large = (make_trainer().memory(*args) for args in ((10, 256, 512), (10**6, 256, 512), (10, 4096, 8192)))
    assert few == many < 1 << 30
    assert large > few
