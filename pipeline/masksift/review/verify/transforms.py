"""Find labels that are misplaced as a whole in plain NumPy, to check the transforms that a run has stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.review.verify.reference import IGNORED, Image

_SIDE = 16
"""Rows and columns of the grid on which labels and predictions are compared."""

Transform = tuple[str | None, float | None]
"""Name and gain; None if the labels seem to be in place."""


@dataclass(frozen=True)
class Placement:
    """Labels and predicted classes of an image at the centers of the cells of a grid.

    Attributes:
        labels: Labels, (16, 16) int64; `IGNORED` on ignored pixels, and everywhere in an image with fewer rows or
            columns.
        predicted: Predicted classes, likewise.
        size: Rows and columns of the image.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    size: tuple[int, int]

    @classmethod
    def from_image(cls, image: Image) -> Placement:
        """Sample an image."""
        height, width = image.labels.shape
        if min(height, width) < _SIDE:
            ignored = np.full((_SIDE, _SIDE), IGNORED)
            return cls(ignored, ignored, (height, width))
        rows, columns = (((2 * np.arange(_SIDE) + 1) * extent) // (2 * _SIDE) for extent in (height, width))
        cells = np.ix_(rows, columns)
        return cls(image.labels[cells], image.predicted[cells], (height, width))

    @property
    def valid(self) -> int:
        """Cells that are not ignored."""
        return int(np.count_nonzero(self.labels != IGNORED))

    @property
    def is_compared(self) -> bool:
        """At least half of the cells are valid."""
        return 2 * self.valid >= _SIDE * _SIDE

    @property
    def may_gain(self) -> bool:
        """Enough cells disagree for a transform to be named."""
        return self.is_compared and 10 * (self.valid - self.agreeing(self.predicted)) >= self.valid

    def agreeing(self, predicted: NDArray[np.int64]) -> int:
        """Return the number of valid cells whose label is the predicted class."""
        return int(np.count_nonzero((self.labels == predicted) & (self.labels != IGNORED)))

    def _moved(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Yield each displacement and mirroring, and the predicted classes moved by it."""
        for dy in range(_SIDE):
            for dx in range(_SIDE):
                pixels = [
                    (2 * (cells - _SIDE * (cells > _SIDE / 2)) * extent + _SIDE) // (2 * _SIDE)
                    for cells, extent in zip((dy, dx), self.size, strict=True)
                ]
                yield "roll(dy={}, dx={})".format(*pixels), np.roll(self.predicted, (dy, dx), axis=(0, 1))
        yield "flip(lr)", np.fliplr(self.predicted)
        yield "flip(ud)", np.flipud(self.predicted)
        yield "rotate(180)", np.rot90(self.predicted, 2)

    def transform(self, neighbor: tuple[str, Placement] | None = None) -> Transform:
        """Return the transform of the labels.

        Args:
            neighbor: Name and grid of the only neighboring image that is considered.

        Returns:
            The transform.
        """
        if not self.is_compared:
            return None, None
        valid, own = self.valid, self.agreeing(self.predicted)
        best, name = own, ""
        for moved, predicted in self._moved():
            if (count := self.agreeing(predicted)) > best:
                best, name = count, moved
        if neighbor is not None and neighbor[1].is_compared:
            other = neighbor[1]
            count = self.agreeing(other.predicted)
            if count > best and count * other.valid >= other.agreeing(other.predicted) * valid:
                best, name = count, neighbor[0]
        gain = best - own
        return (name, gain / valid) if gain and 10 * gain >= valid and 2 * gain >= valid - own else (None, None)
