"""Read prediction files of any format as (K, H, W) arrays of one dtype."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.prepare.ingest.array_formats import EXTENSIONS, read_array, read_header
from masksift.prepare.ingest.array_formats.stored_array import StoredArray
from masksift.prepare.ingest.labels import InputPair
from masksift.prepare.ingest.pieces import Piece
from masksift.prepare.ingest.raster import raster_header, read_raster, resize_bilinear, resize_nearest
from masksift.scoring.kernels.decode import add_background

PredictionFormat = Literal["arrays", "numbers", "planes", "positive"]
"""An array per image; a plane of class numbers; a plane per class, in images or bands; a plane of the positive class of
two."""
RANGE_TOLERANCE = 1e-3
"""Largest distance of a stored probability from [0, 1]."""


def stored_shape(
    prediction_format: PredictionFormat, pair: InputPair, options: Mapping[str, Any], *, lossy: bool
) -> tuple[tuple[int, ...], str]:
    """Read shape and dtype of an image's predictions from headers: (H, W) of an image, else as `drop_axes`."""
    if isinstance(pair.predictions, Piece):
        return pair.predictions.shape, pair.predictions.dtype
    if prediction_format == "arrays":
        file = pair.predictions if isinstance(pair.predictions, StoredArray) else None
        file = file or read_header(str(pair.predictions), options)
        return drop_axes(file.shape), file.dtype.name
    if prediction_format == "planes":
        assert isinstance(pair.predictions, tuple)
        size, dtype = raster_header(pair.predictions[0], options, lossy=lossy)
        return (len(pair.predictions), *size), dtype.name
    size, dtype = raster_header(str(pair.predictions), options, lossy=lossy)
    return size, dtype.name


def drop_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop axes of length 1 from the shape of an image's predictions, the first ones first, until three are left."""
    while len(shape) > 3 and 1 in shape:
        i = shape.index(1)
        shape = shape[:i] + shape[i + 1 :]
    return shape


def plane_size(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return (H, W) of an image's predictions (H, W), (1, H, W) or (H, W, 1); None for several classes."""
    if len(shape) == 3 and 1 in (shape[0], shape[2]):
        shape = shape[1:] if shape[0] == 1 else shape[:2]
    return (shape[0], shape[1]) if len(shape) == 2 else None


@dataclass(frozen=True)
class PredictionReader:
    """Reader of the predictions of an ingest."""

    format: PredictionFormat
    classes: int
    order: tuple[str, ...]  # stored axes of one image
    dtype: str  # to write; the writer, not the reader, converts to uint8 and uint16
    kind: str
    lossy: bool = False  # accept a compression that changes values
    scale: float | None = None  # probability per step of integers; 1 / maximum of the dtype by default

    def read(self, pair: InputPair, options: Mapping[str, Any], size: tuple[int, int] | None = None) -> NDArray[Any]:
        """Read (K, H, W), resized to ``size`` if given; DataError if the file or its values do not fit."""
        if self.format == "numbers":
            return self._read_one_hot(pair, options, size)
        if self.format == "positive":
            values = self.read_plane(pair, options)[None]
        else:
            values = np.moveaxis(self._read_stored(pair, options), self.order.index("class"), 0)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if size is not None and values.shape[1:] != size:
            values = self._resize(values, size)
        if not self.dtype.startswith("uint"):
            return self._with_background(values.astype(self.dtype, copy=False))
        if values.dtype.kind == "f":
            low, high = values.min(), values.max()
            if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):  # also refuses NaN
                raise DataError(
                    f"Predictions of {self.location(pair)} range from {low:.6g} to {high:.6g}",
                    f"The dtype {self.dtype} can only hold values from 0 to 1",
                    "Pass --kind logits without --dtype, or correct the predictions",
                )
        return self._with_background(values)

    def _with_background(self, values: NDArray[Any]) -> NDArray[Any]:
        """Complete the positive class (1, H, W) by the background; return several classes unchanged."""
        if self.format != "positive":
            return values
        scale = self.scale or (1 / np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1.0)
        return add_background(values[0], self.kind, scale)

    def read_plane(self, pair: InputPair, options: Mapping[str, Any]) -> NDArray[Any]:
        """Read one plane (H, W): class numbers, or the positive class of two."""
        if isinstance(pair.predictions, str) and not pair.predictions.lower().endswith(EXTENSIONS):
            plane = read_raster(pair.predictions, options, lossy=self.lossy, gray=True)
        else:
            plane = self._read_stored(pair, options)
        size = plane_size(plane.shape)
        if size is None:
            raise DataError(
                f"{self.location(pair)} is a color image, but predictions are class numbers in one channel",
                "Write class numbers, or probabilities as .npy",
            )
        return plane.reshape(size)

    def location(self, pair: InputPair) -> str:
        """Describe where an image's predictions are stored."""
        if isinstance(pair.predictions, StoredArray):
            return pair.predictions.location
        return pair.predictions[0] if isinstance(pair.predictions, tuple) else str(pair.predictions)

    def _read_stored(self, pair: InputPair, options: Mapping[str, Any]) -> NDArray[Any]:
        if isinstance(pair.predictions, Piece):
            return pair.predictions.read_predictions(options)
        if isinstance(pair.predictions, tuple):
            planes = [read_raster(url, options, lossy=self.lossy, gray=True) for url in pair.predictions]
            for url, plane in zip(pair.predictions, planes, strict=True):
                same = (plane.shape, plane.dtype) == (planes[0].shape, planes[0].dtype)
                if not same or plane.ndim != 2 or plane.dtype.kind != "u":
                    raise DataError(
                        f"{url} has shape {plane.shape} and dtype {plane.dtype}, {pair.predictions[0]} has "
                        f"{planes[0].shape} and {planes[0].dtype}",
                        "Write the classes of an image as grayscale images of one size, with 8 or 16 bits",
                    )
            return np.stack(planes)
        array = pair.predictions
        values = array.read(options) if isinstance(array, StoredArray) else read_array(str(array), options)
        return values.reshape(drop_axes(values.shape))

    def _read_one_hot(
        self, pair: InputPair, options: Mapping[str, Any], size: tuple[int, int] | None
    ) -> NDArray[np.uint8]:
        numbers, file = self.read_plane(pair, options), self.location(pair)
        numbers = numbers.astype(np.uint8) if numbers.dtype == bool else numbers
        invalid = (numbers < 0) | (numbers >= self.classes)
        if invalid.any():
            y, x = np.unravel_index(int(invalid.argmax()), invalid.shape)
            raise DataError(
                f"{file} predicts class {numbers[y, x]} at row {y}, column {x}, but there are {self.classes} classes",
                f"Use predictions of the classes 0 to {self.classes - 1}, or name all classes with --classes",
            )
        numbers = numbers if size is None else resize_nearest(numbers, size)
        return np.where(numbers == np.arange(self.classes).reshape(-1, 1, 1), np.uint8(255), np.uint8(0))

    def _resize(self, values: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
        """Resize each class bilinearly; integers are scaled to 0..1, and probabilities normalized to a sum of 1."""
        step = np.float32(np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1)
        floats = np.stack([resize_bilinear(plane.astype(np.float32) / step, size) for plane in values])
        if self.kind == "probabilities" and len(floats) > 1:
            floats /= np.maximum(floats.sum(axis=0), np.float32(1e-12))
        return floats
