"""Affine transforms of rasters, and the import of rasterio."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

from masksift.core.errors import UsageError

Transform = tuple[float, float, float, float, float, float]
"""Affine transform (a, b, c, d, e, f): x = a * column + b * row + c, y = d * column + e * row + f, of pixel corners."""


def rasterio() -> Any:
    """Import rasterio. Raises UsageError if it is not installed."""
    try:
        import rasterio as module
        from rasterio.errors import NotGeoreferencedWarning
    except ImportError as e:
        raise UsageError("rasterio is not installed", "Run `pip install 'masksift[geo]'`") from e
    for name in ("features", "warp", "windows"):
        import_module(f"rasterio.{name}")
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)  # rasters may have no georeference
    return module


def window_transform(transform: Transform, row: int, column: int) -> Transform:
    """Return the transform of a window of a raster, from its first row and column on."""
    a, b, c, d, e, f = transform
    return a, b, a * column + b * row + c, d, e, d * column + e * row + f


def pixel_area(transform: Transform) -> float:
    """Return the area of a pixel, in squared units of the map."""
    a, b, _, d, e, _ = transform
    return abs(a * e - b * d)
