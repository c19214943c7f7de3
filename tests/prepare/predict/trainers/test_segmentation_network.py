"""The trainer `torch`, where torch is installed: it learns, it is the same twice, and a killed one goes on."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masksift.core.errors import UsageError
from prepare.predict.helpers import arrays_of, drawn_pictures, predict, record, write_pictures
from support.cli import error_message, exit_code
from support.datasets import Array
from support.errors import raises

pytest.importorskip("torch", reason="torch is an extra: pip install 'masksift[torch]'")
pytest.importorskip("segmentation_models_pytorch", reason="an extra: pip install 'masksift[torch]'")

networks = pytest.importorskip("masksift.prepare.predict.trainers.segmentation_network")
NetworkTrainer = networks.NetworkTrainer

TOLD: dict[str, Any] = {
    "model": "unet",
    "encoder": "resnet18",
    "weights": None,
    "epochs": 2,
    "batch": 2,
    "rate": 1e-3,
    "crop": None,
}


class Kept:
    """Keeps what is half learnt, and may stop the training after so many epochs."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.data: bytes | None = None
        self.saved, self.stop_after = 0, stop_after

    def load(self) -> bytes | None:
        return self.data

    def save(self, data: bytes) -> None:
        self.data, self.saved = data, self.saved + 1
        if self.saved == self.stop_after:
            raise KeyboardInterrupt("enough")


def trainer(seed: int = 0, **changes: Any) -> Any:
    return NetworkTrainer(classes=3, ignored=255, seed=seed, balance=0.5, **{**TOLD, **changes})


@pytest.fixture(scope="module")
def drawn() -> tuple[Array, Array]:
    return drawn_pictures(images=3, height=40, width=36)


@pytest.mark.parametrize("model", networks.ARCHITECTURES)
def test_each_network_predicts_probabilities_of_the_images_own_size(model: str, drawn: tuple[Array, Array]) -> None:
    answers = trainer(model=model, epochs=1).fit(*drawn).predict_proba(drawn[0])
    assert answers.shape == (3, 3, 40, 36)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)


@pytest.mark.slow
def test_it_learns(drawn: tuple[Array, Array]) -> None:
    answers = trainer(epochs=12).fit(*drawn).predict_proba(drawn[0])
    valid = drawn[1] < 3
    assert (answers.argmax(axis=1) == drawn[1])[valid].mean() > 0.9


def test_twice_it_is_the_same_also_from_its_pickle(drawn: tuple[Array, Array]) -> None:
    once, twice = (trainer().fit(*drawn) for _ in range(2))
    answers = once.predict_proba(drawn[0])
    np.testing.assert_array_equal(twice.predict_proba(drawn[0]), answers)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(once)).predict_proba(drawn[0]), answers)
    assert (trainer(seed=1).fit(*drawn).predict_proba(drawn[0]) != answers).any()


def test_a_killed_one_goes_on_after_its_last_epoch_to_the_same_network(drawn: tuple[Array, Array]) -> None:
    whole, kept = trainer(epochs=3).fit(*drawn), Kept(stop_after=2)
    killed = trainer(epochs=3)
    killed.keep_in(kept)
    with pytest.raises(KeyboardInterrupt, match="enough"):
        killed.fit(*drawn)
    again = trainer(epochs=3)
    again.keep_in(kept)
    again.fit(*drawn)
    assert kept.saved == 3, "one epoch was left"
    np.testing.assert_array_equal(again.predict_proba(drawn[0]), whole.predict_proba(drawn[0]))


def test_ignored_pixels_are_out_of_the_loss(drawn: tuple[Array, Array]) -> None:
    """What lies under them may be anything but a picture's labels: two trainings that differ there alone are one."""
    pictures, labels = drawn
    hidden = np.where(labels == 1, 255, labels)
    answers = trainer().fit(pictures, hidden).predict_proba(pictures)
    nothing = trainer().fit(pictures, np.full_like(labels, 255)).predict_proba(pictures)
    assert np.isfinite(answers).all()
    assert np.isfinite(nothing).all()
    assert answers[:, 1].mean() < trainer().fit(pictures, labels).predict_proba(pictures)[:, 1].mean()


def test_crops_and_a_single_image_can_be_trained_on(drawn: tuple[Array, Array]) -> None:
    pictures, labels = drawn
    assert np.isfinite(trainer(crop=32).fit(pictures, labels).predict_proba(pictures)).all()
    assert np.isfinite(trainer(model="deeplabv3plus").fit(pictures[:1], labels[:1]).predict_proba(pictures)).all()


def test_weights_of_classes_have_a_mean_of_one_over_the_pixels() -> None:
    labels = np.array([[[0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 255]]], np.uint8)
    weights = networks.class_weights(labels, 3, 0.5)
    assert weights[1] == 0
    assert weights[2] / weights[0] == pytest.approx(3)
    assert 0.9 * weights[0] + 0.1 * weights[2] == pytest.approx(1)
    np.testing.assert_allclose(networks.class_weights(labels, 3, 1.0), [1, 0, 1], rtol=1e-6)


def test_an_encoder_that_is_none_is_refused() -> None:
    with raises(UsageError, r"torch\.encoder is 'resnet17', of which there is no unet; .*such as resnet34"):
        trainer(encoder="resnet17")


@pytest.mark.slow
def test_as_a_whole_it_goes_on_to_the_same_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_pictures(tmp_path / "a.zarr", *drawn_pictures(images=4, height=32, width=32))
    words = ("--trainer", "torch", "--folds", 2, "--torch.epochs", 2)
    whole = predict(source, tmp_path / "whole", *words)
    step, steps = NetworkTrainer._keep, []

    def stops(self: Any, epoch: int, optimizer: Any) -> None:
        step(self, epoch, optimizer)
        steps.append(epoch)
        if len(steps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(NetworkTrainer, "_keep", stops)
    out = tmp_path / "out"
    more = ("--executor.kind", "serial", "--log-format", "quiet")
    capsys.readouterr()
    assert exit_code("predict", "--source", source, "--out", out, *words, *more) == 5
    assert re.search("The same command goes on", error_message(capsys))
    assert len(list((out / "predict/half").iterdir())) == 1
    predict(source, out, *words)
    assert steps == [0, 1, 0, 1]
    assert arrays_of(out) == arrays_of(whole)
    assert record(out)["folds"] == record(whole)["folds"]
    assert list((out / "predict/half").iterdir()) == []
