"""Rasters with known pixels, written by rasterio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio import Affine

from masksift.storage.georeference import rasterio as import_rasterio
from support.datasets import Array

UTM = "EPSG:32632"
TRANSFORM = Affine(0.5, 0, 500_000, 0, -0.5, 5_400_000)
"""Pixels of 0.5 m in the north of the Alps."""
HEIGHT, WIDTH = 20, 30


def write_raster(path: Path, bands: Array, **options: Any) -> Path:
    """Write bands (B, H, W), or (H, W), as GeoTIFF."""
    import_rasterio()  # rasters without georeference cause a warning
    bands = bands if bands.ndim == 3 else bands[None]
    count, height, width = bands.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"crs": UTM, "transform": TRANSFORM, "driver": "GTiff", **options}
    with rasterio.open(
        path, "w", count=count, height=height, width=width, dtype=bands.dtype.name, **settings
    ) as raster:
        raster.write(bands)
    return path


def class_map(seed: int = 0, classes: int = 3) -> Array:
    """Return class numbers (H, W)."""
    return np.random.default_rng(seed).integers(0, classes, (HEIGHT, WIDTH)).astype(np.uint8)


def probabilities(labels: Array, classes: int = 3) -> Array:
    """Return predictions (K, H, W) that are sure of the labels."""
    one_hot = np.minimum(labels, classes - 1) == np.arange(classes).reshape(-1, 1, 1)
    return (0.7 * one_hot + 0.3 / classes).astype(np.float32)
