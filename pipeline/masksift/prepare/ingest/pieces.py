"""Pieces of large files that are one image each, such as windows of rasters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Piece(ABC):
    """Piece of a file that is read as the labels, the predictions or the picture of one image.

    Its text names it in messages.
    """

    @property
    @abstractmethod
    def url(self) -> str:
        """URL of the file."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape as predictions: (K, H, W), or (H, W) of one plane."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """Name of the stored dtype."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.shape[-2], self.shape[-1]

    @property
    def unit_bytes(self) -> int:
        """Bytes of the smallest unit of the file that a reader decodes."""
        return 0

    @abstractmethod
    def read_labels(self, options: Mapping[str, Any], *, gray: bool, use_palette: bool) -> NDArray[Any]:
        """Read integers (H, W) or colors (H, W, 3), as `raster.read_raster` does."""

    @abstractmethod
    def read_predictions(self, options: Mapping[str, Any]) -> NDArray[Any]:
        """Read stored predictions of `shape`."""

    @abstractmethod
    def read_rgb(self, options: Mapping[str, Any]) -> NDArray[np.uint8]:
        """Read a picture (H, W, 3)."""
