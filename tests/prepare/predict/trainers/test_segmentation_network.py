"""Trainer `torch`: learning, determinism, resumption from checkpoints."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masksift.core.errors import UsageError
from prepare.predict.helpers import make_images, predict, read_record, read_source_files, write_images
from support.cli import error_message, exit_code
from support.datasets import Array
from support.errors import raises

pytest.importorskip("torch", reason="torch is an extra: pip install 'masksift[torch]'")
pytest.importorskip("segmentation_models_pytorch", reason="an extra: pip install 'masksift[torch]'")

segmentation_network = pytest.importorskip("masksift.prepare.predict.trainers.segmentation_network")
NetworkTrainer = segmentation_network.NetworkTrainer

SETTINGS: dict[str, Any] = {
    "model": "unet",
    "encoder": "resnet18",
    "weights": None,
    "epochs": 2,
    "batch": 2,
    "rate": 1e-3,
    "crop": None,
}


class MemoryCheckpoint:
    """Checkpoint in memory that can interrupt the training after a number of epochs."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.data: bytes | None = None
        self.saves, self.interrupt_after = 0, interrupt_after

    def load(self) -> bytes | None:
        return self.data

    def save(self, data: bytes) -> None:
        self.data, self.saves = data, self.saves + 1
        if self.saves == self.interrupt_after:
            raise KeyboardInterrupt("enough")


def make_trainer(seed: int = 0, **changes: Any) -> Any:
    return NetworkTrainer(classes=3, ignored=255, seed=seed, balance=0.5, **{**SETTINGS, **changes})


@pytest.fixture(scope="module")
def data() -> tuple[Array, Array]:
    return make_images(images=3, height=40, width=36)


@pytest.mark.parametrize("model", segmentation_network.ARCHITECTURES)
def test_each_architecture_predicts_probabilities_of_the_image_size(model: str, data: tuple[Array, Array]) -> None:
    probabilities = make_trainer(model=model, epochs=1).fit(*data).predict_proba(data[0])
    assert (probabilities.shape, probabilities.dtype) == ((3, 3, 40, 36), np.float32)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_training_learns_the_labels(data: tuple[Array, Array]) -> None:
    probabilities = make_trainer(epochs=12).fit(*data).predict_proba(data[0])
    valid = data[1] < 3
    assert (probabilities.argmax(axis=1) == data[1])[valid].mean() > 0.9


def test_training_is_deterministic_and_survives_pickling(data: tuple[Array, Array]) -> None:
    first, second = (make_trainer().fit(*data) for _ in range(2))
    expected = first.predict_proba(data[0])
    np.testing.assert_array_equal(second.predict_proba(data[0]), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(first)).predict_proba(data[0]), expected)
    assert (make_trainer(seed=1).fit(*data).predict_proba(data[0]) != expected).any()


def test_interrupted_training_resumes_after_the_last_epoch(data: tuple[Array, Array]) -> None:
    complete, checkpoint = make_trainer(epochs=3).fit(*data), MemoryCheckpoint(interrupt_after=2)
    interrupted = make_trainer(epochs=3)
    interrupted.set_checkpoint(checkpoint)
    with pytest.raises(KeyboardInterrupt, match="enough"):
        interrupted.fit(*data)
    resumed = make_trainer(epochs=3)
    resumed.set_checkpoint(checkpoint)
    resumed.fit(*data)
    assert checkpoint.saves == 3, "one epoch was left"
    np.testing.assert_array_equal(resumed.predict_proba(data[0]), complete.predict_proba(data[0]))


def test_ignored_pixels_do_not_contribute_to_the_loss(data: tuple[Array, Array]) -> None:
    images, labels = data
    without_class_1 = make_trainer().fit(images, np.where(labels == 1, 255, labels)).predict_proba(images)
    without_labels = make_trainer().fit(images, np.full_like(labels, 255)).predict_proba(images)
    assert np.isfinite(without_class_1).all()
    assert np.isfinite(without_labels).all()
    assert without_class_1[:, 1].mean() < make_trainer().fit(images, labels).predict_proba(images)[:, 1].mean()


def test_crops_and_single_images_can_be_trained_on(data: tuple[Array, Array]) -> None:
    images, labels = data
    assert np.isfinite(make_trainer(crop=32).fit(images, labels).predict_proba(images)).all()
    single = make_trainer(model="deeplabv3plus").fit(images[:1], labels[:1])
    assert np.isfinite(single.predict_proba(images)).all()


def test_class_weights_have_a_mean_of_one_over_labeled_pixels() -> None:
    labels = np.array([[[0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 255]]], np.uint8)
    weights = segmentation_network.class_weights(labels, 3, 0.5)
    assert weights[1] == 0
    assert weights[2] / weights[0] == pytest.approx(3)
    assert 0.9 * weights[0] + 0.1 * weights[2] == pytest.approx(1)
    np.testing.assert_allclose(segmentation_network.class_weights(labels, 3, 1.0), [1, 0, 1], rtol=1e-6)


def test_unknown_encoder_is_refused() -> None:
    with raises(UsageError, r"torch\.encoder is 'resnet17', which unet does not support.* such as resnet34"):
        make_trainer(encoder="resnet17")


def test_interrupted_prediction_resumes_from_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_images(tmp_path / "a.zarr", *make_images(images=4, height=32, width=32))
    args = ("--trainer", "torch", "--folds", 2, "--torch.epochs", 2)
    complete = predict(source, tmp_path / "complete", *args)
    save, epochs = NetworkTrainer._save_checkpoint, []

    def interrupt_at_third(self: Any, epoch: int, optimizer: Any) -> None:
        save(self, epoch, optimizer)
        epochs.append(epoch)
        if len(epochs) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(NetworkTrainer, "_save_checkpoint", interrupt_at_third)
    out = tmp_path / "out"
    more = ("--executor.kind", "serial", "--log-format", "quiet")
    capsys.readouterr()
    assert exit_code("predict", "--source", source, "--out", out, *args, *more) == 5
    assert re.search("same command", error_message(capsys))
    assert len(list((out / "predict/checkpoints").iterdir())) == 1
    predict(source, out, *args)
    assert epochs == [0, 1, 0, 1]
    assert read_source_files(out) == read_source_files(complete)
    assert read_record(out)["folds"] == read_record(complete)["folds"]
    assert list((out / "predict/checkpoints").iterdir()) == []
