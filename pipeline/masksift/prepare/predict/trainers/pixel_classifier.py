"""Pixel classifier: an average of small neural networks on handcrafted features at several scales.

It needs no GPU and takes seconds per hundred images. It is small on purpose, so that it does not memorize wrong labels.
`masksift predict` and the demo train it.
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
"""Side in pixels of a cell. Predictions are made per cell and interpolated, as by networks with a stride."""
PIXELS_PER_IMAGE = 1500
"""Approximate number of training pixels per image."""
BALANCE = 0.5
"""Exponent of a class's area in its number of training pixels: 1 keeps the areas, 0 gives equal numbers."""
PRIOR = 0.6
"""Share of that rebalancing that predictions undo: 1 all (calibrated), 0 nothing (favors rare classes)."""
NETWORKS = 4
"""Number of averaged networks. More take longer; fewer repeat the errors of single annotators."""
EPOCHS = 4
"""Few epochs and a strong weight penalty: longer training memorizes wrong labels."""
WEIGHT_PENALTY = 1.0
HIDDEN_LAYERS = (64, 32)
REFERENCE_ROWS = 128
"""Radii and distances are stated for images of this many rows of cells, and scale with the image."""
BLUR_RADII = (0.7, 1.5, 3.0, 6.0, 12.0)
OFFSETS = ((1.5, 4), (3.0, 9), (6.0, 22), (12.0, 48))
"""(blur radius, distance) of the surroundings that are sampled above, below, left and right of a cell."""
FEATURES = 89
"""Number of features, F."""
DIRECTIONS = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""(down, right)."""


def compute_features(image: Uint8Array) -> Floats:
    """Compute the features of each cell of an image.

    Brightness and two color contrasts, at five blur radii and at sixteen places around the cell; local contrast;
    strength of horizontal and vertical edges here and around; thin vertical structure; position in the image.

    Args:
        image: RGB image (H, W, 3) uint8; H and W are multiples of `STRIDE`.

    Returns:
        Features (H / STRIDE, W / STRIDE, F) float32.

    Raises:
        ValueError: If H or W is not a multiple of `STRIDE`.
    """
    if image.shape[0] % STRIDE or image.shape[1] % STRIDE:
        raise ValueError(
            f"An image of {image.shape[0]} x {image.shape[1]} pixels cannot be divided into cells of {STRIDE} x "
            f"{STRIDE}. Crop it to multiples."
        )
    rows, columns = image.shape[0] // STRIDE, image.shape[1] // STRIDE
    red, green, blue = np.moveaxis(
        image.reshape(rows, STRIDE, columns, STRIDE, 3).mean(axis=(1, 3), dtype=np.float32) / 255, 2, 0
    )
    color = np.stack([(red + green + blue) / 3, (red - blue) * 1.5, (green - (red + blue) / 2) * 2], axis=2)
    grid = _CellGrid(rows, columns)
    blurred = {radius: grid.blur(color, radius) for radius in BLUR_RADII}
    light = color[..., 0]
    edges = np.stack(np.abs(np.gradient(light)), axis=2) * np.float32(8)
    edges_wide = grid.blur(edges, 5)
    planes = [color, *blurred.values(), grid.blur(edges, 1.5), edges_wide, grid.positions()]
    for radius in (1.5, 4, 9):
        variance = grid.blur(light * light, radius) - grid.blur(light, radius) ** 2
        planes.append(4 * np.sqrt(np.clip(variance, 0, None))[..., None])
    for radius, distance in OFFSETS:
        planes += [grid.shift(blurred[radius], distance * dy, distance * dx) for dy, dx in DIRECTIONS]
    planes += [grid.shift(edges_wide, 16 * dy, 16 * dx) for dy, dx in DIRECTIONS]
    planes.append(_thinness(blurred[BLUR_RADII[0]][..., 0], grid))
    return np.concatenate(planes, axis=2, dtype=np.float32)


@dataclass(frozen=True)
class _CellGrid:
    """Filters on the cells of one image; radii and distances are in cells of the reference size."""

    rows: int
    columns: int

    def blur(self, plane: Floats, radius: float) -> Floats:
        sigma = radius * self.rows / REFERENCE_ROWS
        sigmas = (sigma, sigma, 0)[: plane.ndim]
        return np.asarray(ndimage.gaussian_filter(plane, sigmas, truncate=2.5), np.float32)

    def shift(self, plane: Floats, down: float, right: float) -> Floats:
        """Look up the value ``down`` and ``right`` of each cell, clamped to the edge."""
        unit = self.rows / REFERENCE_ROWS
        row = np.clip(np.arange(self.rows) + round(down * unit), 0, self.rows - 1)
        column = np.clip(np.arange(self.columns) + round(right * unit), 0, self.columns - 1)
        return plane[row][:, column]

    def positions(self) -> Floats:
        y, x = np.mgrid[-1 : 1 : self.rows * 1j, -1 : 1 : self.columns * 1j].astype(np.float32)
        return np.stack([y, x, np.abs(x)], axis=2)


def _thinness(light: Floats, grid: _CellGrid) -> Floats:
    """Compare the brightness of a cell with both its left and its right: poles and people stand out."""
    planes = []
    for distance in (2, 4):
        left, right = (light - grid.shift(light, 0, sign * distance) for sign in (-1, 1))
        planes += [4 * np.minimum(left, right), 4 * np.maximum(left, right)]
    left, right = (np.abs(light - grid.shift(light, 0, sign * 3)) for sign in (-1, 1))
    planes.append(
        8 * ndimage.uniform_filter1d(np.minimum(left, right), max(3, round(15 * grid.rows / REFERENCE_ROWS)), axis=0)
    )
    return np.stack(planes, axis=2)


@dataclass(frozen=True)
class PixelSample:
    """Training pixels of one image: features (n, F) float32, labels (n,); its labeled cells by class (K,) int64."""

    features: Floats
    labels: Labels
    counts: NDArray[np.int64]


def sample_pixels(
    image: Uint8Array,
    labels: Labels,
    classes: int,
    rng: np.random.Generator,
    pixels: int = PIXELS_PER_IMAGE,
    balance: float = BALANCE,
) -> PixelSample:
    """Sample about ``pixels`` labeled pixels, rare classes more densely; labels >= ``classes`` are ignored."""
    flat = labels[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].ravel()
    counts = np.bincount(flat[flat < classes], minlength=classes)
    areas = counts**balance
    targets = np.ceil(pixels * areas / max(float(areas[counts > 0].sum()), 1.0)).astype(int)
    samples = [
        rng.choice(np.flatnonzero(flat == label), min(int(targets[label]), int(counts[label])), replace=False)
        for label in np.flatnonzero(counts)
    ]
    indices = np.concatenate([np.empty(0, np.int64), *samples])
    table = compute_features(image)
    return PixelSample(table.reshape(-1, table.shape[2])[indices], flat[indices], counts.astype(np.int64))


@dataclass(frozen=True)
class PixelClassifier:
    """Trained networks whose probabilities are averaged."""

    networks: tuple[MLPClassifier, ...]
    mean: Floats  # of each feature (F,)
    std: Floats
    weights: Floats  # of each class (K,), which undo the rebalancing of the samples

    def predict(self, image: Uint8Array) -> Uint8Array:
        """Predict (K, H, W) uint8 in steps of 1 / 255, each rounded separately: sums are within K / 510 of 1."""
        return np.asarray(np.rint(self.probabilities(image) * 255), np.uint8)

    def probabilities(self, image: Uint8Array) -> Floats:
        """Predict probabilities (K, H, W) float32 of an image (H, W, 3) uint8."""
        table = compute_features(image)
        rows, columns = table.shape[:2]
        flat = (table.reshape(rows * columns, -1) - self.mean) / self.std
        probabilities = np.zeros((rows * columns, self.weights.size), np.float32)
        with threadpool_limits(1):
            for network in self.networks:
                probabilities[:, network.classes_] += network.predict_proba(flat)
        probabilities *= self.weights
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        planes = probabilities.T.reshape(-1, rows, columns)
        return np.clip(_upsample(_upsample(planes, 1), 2), 0, 1)


def _upsample(planes: Floats, axis: int) -> Floats:
    """Double one axis by linear interpolation between cell centers, which preserves sums over K."""
    last = planes.shape[axis] - 1
    indices = np.arange(last + 1)
    before, after = (planes.take(np.clip(indices + step, 0, last), axis) for step in (-1, 1))
    halves = np.stack([(3 * planes + before) / 4, (3 * planes + after) / 4], axis + 1)
    return halves.reshape(*planes.shape[:axis], 2 * (last + 1), *planes.shape[axis + 1 :])


def fit_classifier(samples: Sequence[PixelSample], seed: Sequence[int]) -> PixelClassifier:
    """Train on the pixels of some images, deterministically, with one BLAS thread; ValueError for one class."""
    table = np.concatenate([sample.features for sample in samples])
    labels: Labels = np.concatenate([sample.labels for sample in samples])
    counts = np.sum([sample.counts for sample in samples], axis=0)
    if np.count_nonzero(counts) < 2:
        raise ValueError(
            f"The training images hold {np.count_nonzero(counts)} class(es). Use labels of at least two classes."
        )
    mean, std = table.mean(axis=0), table.std(axis=0) + np.float32(1e-6)
    sampled = np.bincount(labels, minlength=counts.size)
    weights = ((counts / counts.sum()) / np.maximum(sampled / labels.size, 1e-9)) ** PRIOR
    standardized = (table - mean) / std
    networks = []
    with threadpool_limits(1), warnings.catch_warnings():
        # training stops after EPOCHS on purpose; scikit-learn warns that it has not converged
        warnings.simplefilter("ignore", ConvergenceWarning)
        for state in np.random.SeedSequence(seed).generate_state(NETWORKS).tolist():
            network = MLPClassifier(
                HIDDEN_LAYERS,
                alpha=WEIGHT_PENALTY,
                batch_size=min(256, len(labels)),
                learning_rate_init=2e-3,
                max_iter=EPOCHS,
                random_state=state,
            )
            networks.append(network.fit(standardized, labels))
    return PixelClassifier(tuple(networks), mean, std, weights.astype(np.float32))
