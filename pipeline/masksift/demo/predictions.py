"""Out-of-sample predictions for the demo, from classifiers trained there and then on the annotations as given.

k-fold cross-validation over images: the model that predicts an image has seen neither its labels nor its pixels, for
the scores want out-of-sample predictions (Lad & Mueller 2023, arXiv 2307.05080). The labels it did train on carry
their errors, as a user's would.
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


def fold_of_images(images: int, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold (images,) int64 in 0..folds-1 of each image, sizes equal within one. ValueError when images < folds."""
    if not 2 <= folds <= images:
        raise ValueError(
            f"{images} images cannot make {folds} folds; no model could leave an image out; "
            "give at least 2 folds and as many images"
        )
    order = np.random.default_rng([seed, 0xF01D]).permutation(images)
    fold = np.empty(images, np.int64)
    fold[order] = np.arange(images) % folds
    return fold


@dataclass(frozen=True)
class CrossValidated:
    """A model for each fold, trained on the images of all other folds; `fold` (N,) int64 says which an image is in."""

    models: tuple[PixelClassifier, ...]
    fold: NDArray[np.int64]

    def predictions(self, images: Uint8Array, run: Run = serial) -> Iterator[Uint8Array]:
        """Out-of-sample probabilities (K, H, W) uint8 of each image (N, H, W, 3) uint8, in order, one at a time."""
        yield from run(call(self.models[of].predict, image) for of, image in zip(self.fold, images, strict=True))


def train(
    images: Uint8Array, labels: Uint8Array, classes: int, *, seed: int, folds: int = 4, run: Run = serial
) -> CrossValidated:
    """Train a model for each fold of the images (N, H, W, 3) uint8, on the labels (N, H, W) uint8 of the other folds.

    Labels of `classes` and above are ignored. An image's own labels have no influence at all on the model that predicts
    it: not on the choice of pixels, not on the scaling of the features, not on the class weights.
    """
    fold = fold_of_images(len(images), folds, seed)
    generators = [np.random.default_rng([seed, 0x5A3, index]) for index in range(len(images))]
    each = zip(images, labels, generators, strict=True)
    samples = list(run(call(sample_pixels, image, given, classes, own) for image, given, own in each))
    others = [[s for s, of in zip(samples, fold, strict=True) if of != number] for number in range(folds)]
    models = run(call(fit_classifier, others[number], (seed, 0xF17, number)) for number in range(folds))
    return CrossValidated(tuple(models), fold)
