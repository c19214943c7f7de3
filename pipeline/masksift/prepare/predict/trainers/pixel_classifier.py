"""A classifier of pixels: a few little neural networks on hand-made features at several scales, averaged. No GPU, and
seconds a hundred images; small on purpose, so that it does not learn wrong labels by heart.

The demo and `masksift predict` train it. scikit-learn and scipy are needed (`pip install "masksift[predict]"`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float32]
Uint8Array = NDArray[np.uint8]
Labels = NDArray[np.unsignedinteger[Any]]

STRIDE = 2
"""Predictions are made for blocks of 2 x 2 pixels and interpolated, as networks with a stride do."""
SAMPLED = 1500
"""Training pixels an image (about)."""
BALANCE = 0.5
"""Exponent of a class's area in its number of training pixels: 1 as they come, 0 equally many of each class."""
PRIOR = 0.6
"""How much of that rebalancing the predictions take back: 1 all (calibrated), 0 nothing (rare classes favoured)."""
MEMBERS = 4
"""Networks that are averaged. More cost time; fewer repeat the errors of single annotators."""
EPOCHS = 4
"""Few, and a strong penalty on the weights: longer training learns the wrong labels by heart."""
PENALTY = 1.0
LAYERS = (64, 32)
REFERENCE_ROWS = 128
"""Feature radii and offsets are stated for pictures of this many blocks in height, and scale with it."""
SCALES = (0.7, 1.5, 3.0, 6.0, 12.0)
OFFSETS = ((1.5, 4), (3.0, 9), (6.0, 22), (12.0, 48))
"""(blur radius, distance in blocks) of what is seen above, below, left and right of a pixel."""
FEATURES = 89
"""F, their number."""
DIRECTIONS = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""(down, right)"""


def features(image: Uint8Array) -> Floats:
    """Pixel features (H / STRIDE, W / STRIDE, F) float32 of an image (H, W, 3) uint8.

    Brightness and two colour contrasts, at five blur radii and at sixteen places around the pixel; local contrast;
    strength of horizontal and vertical edges here and around; thin vertical structure; place in the picture.
    H and W must be multiples of STRIDE (ValueError).
    """
    if image.shape[0] % STRIDE or image.shape[1] % STRIDE:
        raise ValueError(
            f"an image of {image.shape[0]} x {image.shape[1]} pixels has no whole blocks of {STRIDE} x {STRIDE}; "
            "no features can be computed; crop it to a multiple"
        )
    rows, columns = image.shape[0] // STRIDE, image.shape[1] // STRIDE
    red, green, blue = np.moveaxis(
        image.reshape(rows, STRIDE, columns, STRIDE, 3).mean(axis=(1, 3), dtype=np.float32) / 255, 2, 0
    )
    colour = np.stack([(red + green + blue) / 3, (red - blue) * 1.5, (green - (red + blue) / 2) * 2], axis=2)
    around = _Around(rows, columns)
    blurred = {radius: around.blur(colour, radius) for radius in SCALES}
    light = colour[..., 0]
    edges = np.stack(np.abs(np.gradient(light)), axis=2) * np.float32(8)
    edges_wide = around.blur(edges, 5)
    planes = [colour, *blurred.values(), around.blur(edges, 1.5), edges_wide, _place(rows, columns)]
    for radius in (1.5, 4, 9):
        spread = around.blur(light * light, radius) - around.blur(light, radius) ** 2
        planes.append(4 * np.sqrt(np.clip(spread, 0, None))[..., None])
    for radius, distance in OFFSETS:
        planes += [around.shifted(blurred[radius], distance * dy, distance * dx) for dy, dx in DIRECTIONS]
    planes += [around.shifted(edges_wide, 16 * dy, 16 * dx) for dy, dx in DIRECTIONS]
    planes.append(_thinness(blurred[SCALES[0]][..., 0], around))
    return np.concatenate(planes, axis=2, dtype=np.float32)


@dataclass(frozen=True)
class _Around:
    """Blurring and looking aside in a picture of so many blocks; radii and distances in reference blocks."""

    rows: int
    columns: int

    def blur(self, plane: Floats, radius: float) -> Floats:
        sigma = radius * self.rows / REFERENCE_ROWS
        sigmas = (sigma, sigma, 0)[: plane.ndim]
        return np.asarray(ndimage.gaussian_filter(plane, sigmas, truncate=2.5), np.float32)

    def shifted(self, plane: Floats, down: float, right: float) -> Floats:
        """What lies `down` and `right` of each pixel; at the edge, the edge."""
        unit = self.rows / REFERENCE_ROWS
        row = np.clip(np.arange(self.rows) + round(down * unit), 0, self.rows - 1)
        column = np.clip(np.arange(self.columns) + round(right * unit), 0, self.columns - 1)
        return plane[row][:, column]


def _place(rows: int, columns: int) -> Floats:
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j].astype(np.float32)
    return np.stack([y, x, np.abs(x)], axis=2)


def _thinness(light: Floats, around: _Around) -> Floats:
    """How much darker or brighter a pixel is than both its left and right neighbours: poles and people stand out so."""
    planes = []
    for distance in (2, 4):
        left, right = (light - around.shifted(light, 0, way * distance) for way in (-1, 1))
        planes += [4 * np.minimum(left, right), 4 * np.maximum(left, right)]
    left, right = (np.abs(light - around.shifted(light, 0, way * 3)) for way in (-1, 1))
    planes.append(
        8 * ndimage.uniform_filter1d(np.minimum(left, right), max(3, round(15 * around.rows / REFERENCE_ROWS)), axis=0)
    )
    return np.stack(planes, axis=2)


@dataclass(frozen=True)
class PixelSample:
    """Training pixels of one image: features (n, F) float32, labels (n,); all its pixels by class (K,) int64."""

    features: Floats
    labels: Labels
    counts: NDArray[np.int64]


def sample_pixels(
    image: Uint8Array,
    labels: Labels,
    classes: int,
    generator: np.random.Generator,
    sampled: int = SAMPLED,
    balance: float = BALANCE,
) -> PixelSample:
    """About `sampled` labelled pixels of one image, rare classes favoured; labels of `classes` and above are left
    out."""
    flat = labels[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].ravel()
    counts = np.bincount(flat[flat < classes], minlength=classes)
    areas = counts**balance
    wanted = np.ceil(sampled * areas / max(float(areas[counts > 0].sum()), 1.0)).astype(int)
    chosen = [
        generator.choice(np.flatnonzero(flat == label), min(int(wanted[label]), int(counts[label])), replace=False)
        for label in np.flatnonzero(counts)
    ]
    at = np.concatenate([np.empty(0, np.int64), *chosen])
    table = features(image)
    return PixelSample(table.reshape(-1, table.shape[2])[at], flat[at], counts.astype(np.int64))


@dataclass(frozen=True)
class PixelClassifier:
    """A few networks whose probabilities are averaged.

    `centre` and `spread` (F,) standardise the features; `weights` (K,) undo the rebalancing of the classes.
    """

    networks: tuple[MLPClassifier, ...]
    centre: Floats
    spread: Floats
    weights: Floats

    def predict(self, image: Uint8Array) -> Uint8Array:
        """Probabilities (K, H, W) uint8 of an image (H, W, 3) uint8.

        p = value / 255, each rounded by itself: sums over K lie within K / 510 of 1.
        """
        return np.asarray(np.rint(self.probabilities(image) * 255), np.uint8)

    def probabilities(self, image: Uint8Array) -> Floats:
        """Probabilities (K, H, W) float32 of an image (H, W, 3) uint8."""
        table = features(image)
        rows, columns = table.shape[:2]
        flat = (table.reshape(rows * columns, -1) - self.centre) / self.spread
        probabilities = np.zeros((rows * columns, self.weights.size), np.float32)
        with threadpool_limits(1):
            for network in self.networks:
                probabilities[:, network.classes_] += network.predict_proba(flat)
        probabilities *= self.weights
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        planes = probabilities.T.reshape(-1, rows, columns)
        fine = _doubled(_doubled(planes, 1), 2)
        return np.clip(fine, 0, 1)


def _doubled(planes: Floats, axis: int) -> Floats:
    """Twice as many values along one axis, interpolated linearly between the centres of blocks; sums over K stay."""
    last = planes.shape[axis] - 1
    places = np.arange(last + 1)
    before, after = (planes.take(np.clip(places + way, 0, last), axis) for way in (-1, 1))
    halves = np.stack([(3 * planes + before) / 4, (3 * planes + after) / 4], axis + 1)
    return halves.reshape(*planes.shape[:axis], 2 * (last + 1), *planes.shape[axis + 1 :])


def fit_classifier(samples: Sequence[PixelSample], seed: Sequence[int]) -> PixelClassifier:
    """A model of the training pixels of some images. Deterministic: one BLAS thread, `seed` for weights and order.

    Raises ValueError when the samples hold fewer than two classes.
    """
    table = np.concatenate([sample.features for sample in samples])
    labels: Labels = np.concatenate([sample.labels for sample in samples])
    counts = np.sum([sample.counts for sample in samples], axis=0)
    if np.count_nonzero(counts) < 2:
        raise ValueError(
            f"the training images hold {np.count_nonzero(counts)} class(es); nothing can be told apart; "
            "give labels of two or more"
        )
    centre, spread = table.mean(axis=0), table.std(axis=0) + np.float32(1e-6)
    drawn = np.bincount(labels, minlength=counts.size)
    weights = ((counts / counts.sum()) / np.maximum(drawn / labels.size, 1e-9)) ** PRIOR
    states = np.random.SeedSequence(seed).generate_state(MEMBERS)
    standard = (table - centre) / spread
    networks = []
    with threadpool_limits(1), warnings.catch_warnings():
        # Stopping after EPOCHS is the intention; scikit-learn warns that it has not converged.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for state in states.tolist():
            network = MLPClassifier(
                LAYERS,
                alpha=PENALTY,
                batch_size=min(256, len(labels)),
                learning_rate_init=2e-3,
                max_iter=EPOCHS,
                random_state=state,
            )
            networks.append(network.fit(standard, labels))
    return PixelClassifier(tuple(networks), centre, spread, weights.astype(np.float32))
