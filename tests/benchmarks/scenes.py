"""Synthetic arrays and sources for the benchmarks: smooth class maps with noise, reproducible by seed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from scipy.ndimage import zoom
from zarr.codecs import ZstdCodec

__all__ = ["labels_of", "make_source", "probabilities"]


def probabilities(seed: int, images: int, classes: int, height: int, width: int) -> NDArray[np.float32]:
    """Softmax of smooth logits with a little noise, (N, K, H, W) float32."""
    rng = np.random.default_rng(seed)
    out = np.empty((images, classes, height, width), np.float32)
    for i in range(images):
        logits = _smooth(rng, classes, height, width, 32) * 4 + _smooth(rng, classes, height, width, 8) * 0.7
        # networks predict at a quarter of the resolution: neighboring pixels share their noise
        logits += _smooth(rng, classes, height, width, 4) * 0.15
        np.exp(logits - logits.max(axis=0), out=out[i])
        out[i] /= out[i].sum(axis=0)
    return out


def _smooth(rng: np.random.Generator, classes: int, height: int, width: int, step: int) -> NDArray[np.float32]:
    coarse = rng.normal(size=(classes, height // step + 2, width // step + 2)).astype(np.float32)
    return zoom(coarse, (1, step, step), order=1)[:, :height, :width]


def labels_of(predictions: NDArray[Any], seed: int, *, border: bool = True) -> NDArray[np.uint8]:
    """Predicted labels (N, H, W) uint8 with wrong rectangles in a fifth of the images; 255 in the ``border``."""
    rng = np.random.default_rng(seed)
    labels = predictions.argmax(axis=1).astype(np.uint8)
    n, classes, height, width = predictions.shape
    for i in range(0, n, 5):
        y, x = int(rng.integers(height // 2)), int(rng.integers(width // 2))
        labels[i, y : y + height // 4, x : x + width // 4] = rng.integers(classes)
    if border:
        labels[:, : height // 32] = 255
    return labels


def make_source(
    path: Path,
    images: int,
    classes: int,
    height: int,
    width: int,
    *,
    dtype: str = "uint8",
    chunk: int = 1,
    distinct: int = 8,
    border: bool = True,
) -> Path:
    """Write a source unless it exists; chunks repeat after ``distinct`` ones, but each is a separate file."""
    if (path / "done").exists():
        return path
    shutil.rmtree(path, ignore_errors=True)
    group = zarr.create_group(str(path), attributes={"ignore": [255]})
    chunks = -(-images // chunk)
    distinct = min(distinct, chunks)
    zstd = [ZstdCodec(level=3)]
    predictions = group.create_array(
        "predictions",
        shape=(images, classes, height, width),
        dtype=dtype,
        chunks=(chunk, classes, height, width),
        compressors=zstd,
    )
    labels = group.create_array(
        "labels",
        shape=(images, height, width),
        dtype="uint8",
        chunks=(chunk, height, width),
        fill_value=255,
        compressors=zstd,
    )
    for number in range(distinct):
        part = slice(number * chunk, min(images, (number + 1) * chunk))
        exact = probabilities(number, part.stop - part.start, classes, height, width)
        whole = np.rint(exact * np.iinfo(dtype).max) if dtype.startswith("u") else exact
        predictions[part] = whole.astype(dtype)
        labels[part] = labels_of(exact, number, border=border)
    for array, place in ((predictions, "0/0/0"), (labels, "0/0")):
        folder = path / array.path / "c"
        for number in range(distinct, chunks):
            (folder / str(number) / place).parent.mkdir(parents=True)
            shutil.copyfile(folder / str(number % distinct) / place, folder / str(number) / place)
    (path / "done").touch()
    os.sync()  # so that the next measurement does not compete with these writes
    return path
