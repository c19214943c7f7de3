"""Arrays for the benchmarks: smooth class maps with noise, as a network predicts them, drawn from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom


def probabilities(seed: int, images: int, classes: int, height: int, width: int) -> NDArray[np.float32]:
    """(N, K, H, W) float32: a softmax of smooth logits with a little noise."""
    rng = np.random.default_rng(seed)
    out = np.empty((images, classes, height, width), np.float32)
    for i in range(images):
        logits = _smooth(rng, classes, height, width, 32) * 4 + _smooth(rng, classes, height, width, 8) * 0.7
        # networks predict at a quarter of the resolution: neighbouring pixels share their noise
        logits += _smooth(rng, classes, height, width, 4) * 0.15
        np.exp(logits - logits.max(axis=0), out=out[i])
        out[i] /= out[i].sum(axis=0)
    return out


def _smooth(rng: np.random.Generator, classes: int, height: int, width: int, step: int) -> NDArray[np.float32]:
    coarse = rng.normal(size=(classes, height // step + 2, width // step + 2)).astype(np.float32)
    return zoom(coarse, (1, step, step), order=1)[:, :height, :width]


def labels_of(predictions: NDArray[Any], seed: int, ignore: int = 255) -> NDArray[np.uint8]:
    """(N, H, W) uint8: what is predicted, with wrong rectangles in a fifth of the images and an ignored border."""
    rng = np.random.default_rng(seed)
    labels = predictions.argmax(axis=1).astype(np.uint8)
    n, classes, height, width = predictions.shape
    for i in range(0, n, 5):
        y, x = int(rng.integers(height // 2)), int(rng.integers(width // 2))
        labels[i, y : y + height // 4, x : x + width // 4] = rng.integers(classes)
    labels[:, : height // 32] = ignore
    return labels
