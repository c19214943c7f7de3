"""Out-of-sample predictions for the demo by k-fold cross-validation over images.

The model that predicts an image has seen neither its labels nor its pixels, as the scores require (Lad & Mueller 2023,
arXiv 2307.05080). Its training labels contain errors, as a user's do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.demo.parallel import Run, call, serial
from masksift.prepare.predict.trainers.pixel_classifier import (
    PixelClassifier,
    Uint8Array,
    fit_classifier,
    sample_pixels,
)


def assign_folds(images: int, folds: int, seed: int) -> NDArray[np.int64]:
    """Assign each image to a fold in 0..folds-1, sizes equal within one: (images,) int64."""
    if not 2 <= folds <= images:
        raise ValueError(f"{images} images cannot make {folds} folds. Use at least 2 folds and as many images.")
    order = np.random.default_rng([seed, 0xF01D]).permutation(images)
    fold = np.empty(images, np.int64)
    fold[order] = np.arange(images) % folds
    return fold


@dataclass(frozen=True)
class CrossValidated:
    """One model per fold, trained on the images of all other folds, and the fold (N,) int64 of each image."""

    models: tuple[PixelClassifier, ...]
    fold: NDArray[np.int64]

    def predictions(self, images: Uint8Array, run: Run = serial) -> Iterator[Uint8Array]:
        """Yield out-of-sample probabilities (K, H, W) uint8 of the images (N, H, W, 3) uint8."""
        yield from run(
            call(self.models[number].predict, image) for number, image in zip(self.fold, images, strict=True)
        )


def train(
    images: Uint8Array, labels: Uint8Array, classes: int, *, seed: int, folds: int = 4, run: Run = serial
) -> CrossValidated:
    """Train a model for each fold on the other folds.

    An image's own labels do not influence the model that predicts it: neither the choice of pixels, nor the scaling of
    features, nor the class weights.

    Args:
        images: RGB images (N, H, W, 3) uint8.
        labels: Labels (N, H, W) uint8; those of ``classes`` and above are ignored.
        classes: Number of classes.
        seed: Seed of folds, samples and models.
        folds: Number of folds.
        run: Runs the calls.

    Returns:
        The models.
    """
    fold = assign_folds(len(images), folds, seed)
    generators = [np.random.default_rng([seed, 0x5A3, index]) for index in range(len(images))]
    each = zip(images, labels, generators, strict=True)
    samples = list(run(call(sample_pixels, image, given, classes, own) for image, given, own in each))
    others = [[s for s, of in zip(samples, fold, strict=True) if of != number] for number in range(folds)]
    models = run(call(fit_classifier, others[number], (seed, 0xF17, number)) for number in range(folds))
    return CrossValidated(tuple(models), fold)
