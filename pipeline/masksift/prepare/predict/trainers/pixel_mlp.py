"""The built-in trainer: the pixel classifier, fitted to a bounded number of pixels, however many images there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.prepare.predict.trainers.pixel_classifier import (
    FEATURES,
    SAMPLED,
    STRIDE,
    PixelClassifier,
    fit_classifier,
    sample_pixels,
)

PIXELS = 400_000
"""Training pixels of a model, about: half a gibibyte of features on the way."""
IMAGES = 2000
"""Training images of a model, evenly spread over those there are: more of them would be read for ever fewer pixels."""


class PixelTrainer:
    """Trainer over `PixelClassifier`. Deterministic: the pixels sampled from an image depend only on its index."""

    def __init__(self, *, classes: int, ignored: int, seed: int, balance: float) -> None:
        self._classes, self._ignored, self._seed, self._balance = classes, ignored, seed, balance
        self._model: PixelClassifier | None = None

    def fit(
        self, images: Sequence[NDArray[np.uint8]], labels: Sequence[NDArray[np.unsignedinteger[Any]]]
    ) -> PixelTrainer:
        """As `Trainer.fit`. Raises DataError where the labels hold fewer than two classes."""
        count = min(len(images), IMAGES)
        wanted = min(SAMPLED, PIXELS // count)
        samples = []
        for place in (np.arange(count) * len(images) // count).tolist():
            own = np.random.default_rng([self._seed, place])
            image = _whole(images[place], mode="edge")
            given = _whole(labels[place], constant_values=self._ignored)
            samples.append(sample_pixels(image, given, self._classes, own, wanted, self._balance))
        present = np.flatnonzero(np.sum([sample.counts for sample in samples], axis=0))
        if present.size < 2:
            raise DataError(
                f"{count:,} training images hold {present.size} class{'es' * (present.size != 1)}",
                "there is nothing to tell apart",
                "Give labels of two or more, or fewer folds",
            )
        self._model = fit_classifier(samples, (self._seed,))
        return self

    def predict_proba(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `Trainer.predict_proba`. A class that no training pixel had gets 0."""
        assert self._model is not None, "fit comes first"
        height, width = images.shape[1:3]
        each = [self._model.probabilities(_whole(image, mode="edge"))[:, :height, :width] for image in images]
        return np.stack(each)

    def memory(self, images: int, height: int, width: int) -> int:
        """Bytes at most: the features of an image, twice while they are made and twice while they are standardised; and
        training pixels as they come, joined and standardised, or the probabilities of an image, coarse and fine."""
        blocks = -(-height // STRIDE) * -(-width // STRIDE)
        features = 4 * FEATURES * 4 * blocks
        return features + max(3 * PIXELS * FEATURES * 4, (4 + 3 * STRIDE**2) * 4 * self._classes * blocks)


def _whole(plane: NDArray[Any], **how: Any) -> NDArray[Any]:
    """A plane (H, W, ...) padded to whole blocks."""
    missing = [(0, -size % STRIDE) for size in plane.shape[:2]]
    if not any(after for _, after in missing):
        return plane
    return np.pad(plane, [*missing, *[(0, 0)] * (plane.ndim - 2)], **how)
