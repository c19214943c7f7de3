"""Trainer `pixels`: the pixel classifier, trained on a bounded number of pixels of a data set of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.prepare.predict.trainers.pixel_classifier import (
    FEATURES,
    PIXELS_PER_IMAGE,
    STRIDE,
    PixelClassifier,
    fit_classifier,
    sample_pixels,
)

MAX_PIXELS = 400_000
"""Approximate number of training pixels of a model, whose features take half a gibibyte."""
MAX_IMAGES = 2000
"""Training images of a model, evenly spaced. More would be read for fewer pixels each."""


class PixelTrainer:
    """Trainer of a `PixelClassifier`. The pixels sampled from an image depend only on its index and the random seed."""

    def __init__(self, *, classes: int, ignored: int, seed: int, balance: float) -> None:
        self._classes, self._ignored, self._seed, self._balance = classes, ignored, seed, balance
        self._model: PixelClassifier | None = None

    def fit(
        self, images: Sequence[NDArray[np.uint8]], labels: Sequence[NDArray[np.unsignedinteger[Any]]]
    ) -> PixelTrainer:
        """Train as `Trainer.fit`; DataError if the labels hold fewer than two classes."""
        count = min(len(images), MAX_IMAGES)
        pixels = min(PIXELS_PER_IMAGE, MAX_PIXELS // count)
        samples = []
        for index in (np.arange(count) * len(images) // count).tolist():
            rng = np.random.default_rng([self._seed, index])
            image = _pad_to_stride(images[index], mode="edge")
            plane = _pad_to_stride(labels[index], constant_values=self._ignored)
            samples.append(sample_pixels(image, plane, self._classes, rng, pixels, self._balance))
        present = np.flatnonzero(np.sum([sample.counts for sample in samples], axis=0))
        if present.size < 2:
            raise DataError(
                f"{count:,} training images hold {present.size} class{'es' * (present.size != 1)}",
                "Use labels of at least two classes, or fewer folds",
            )
        self._model = fit_classifier(samples, (self._seed,))
        return self

    def predict_proba(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict as `Trainer.predict_proba`, with 0 for a class without training pixels."""
        assert self._model is not None, "fit comes first"
        height, width = images.shape[1:3]
        padded = (_pad_to_stride(image, mode="edge") for image in images)
        return np.stack([self._model.probabilities(image)[:, :height, :width] for image in padded])

    def memory(self, images: int, height: int, width: int) -> int:
        """Bound the memory of training and prediction, bytes."""
        # four copies of the features of an image (two while they are computed, two while they are standardized), and
        # the larger of three copies of the training pixels and the probabilities of an image, coarse and fine
        cells = -(-height // STRIDE) * -(-width // STRIDE)
        features = 4 * FEATURES * 4 * cells
        return features + max(3 * MAX_PIXELS * FEATURES * 4, (4 + 3 * STRIDE**2) * 4 * self._classes * cells)


def _pad_to_stride(plane: NDArray[Any], **options: Any) -> NDArray[Any]:
    """Pad (H, W, ...) at its end to multiples of the stride."""
    missing = [(0, -size % STRIDE) for size in plane.shape[:2]]
    if not any(after for _, after in missing):
        return plane
    return np.pad(plane, [*missing, *[(0, 0)] * (plane.ndim - 2)], **options)
