"""From what a file of predictions holds to (K, H, W) of one precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.prepare.ingest.labels import InputPair
from masksift.prepare.ingest.npy import Header, header_of, read_array, read_image
from masksift.prepare.ingest.raster import read_raster, resize_bilinear, resize_nearest, size_of, stored_as

PredictionFormat = Literal["arrays", "numbers", "planes", "array"]
"""A .npy or .npz an image; an image of class numbers; a grey image a class; one .npy of all."""
DTYPES = ("uint8", "uint16", "float16", "float32", "float64")


def stored_header(form: PredictionFormat, pair: InputPair, options: Mapping[str, Any]) -> Header:
    """Shape and dtype of an image's predictions as they are stored: (H, W) of class numbers, else of three axes."""
    if form == "arrays":
        header = header_of(str(pair.predictions), options)
        shape = header.shape[1:] if len(header.shape) == 4 and header.shape[0] == 1 else header.shape  # a batch of one
        return Header(shape, header.dtype)
    if form == "planes":
        files = pair.predictions
        assert isinstance(files, tuple)
        size, dtype = stored_as(files[0], options)
        return Header((len(files), *size), dtype)
    return Header(size_of(str(pair.predictions), options), "uint8")


@dataclass(frozen=True)
class PredictionReader:
    """How the predictions of an ingest are read. ``order``: axes as stored, `class,y,x` or `y,x,class`; ``dtype``: to
    be kept, by the writer where it is uint8 or uint16; ``array``: the one array they all lie in, and its header."""

    form: PredictionFormat
    classes: int
    order: tuple[str, ...]
    dtype: str
    kind: str
    array: tuple[str, Header] | None = None

    def read(self, pair: InputPair, options: Mapping[str, Any], size: tuple[int, int] | None = None) -> NDArray[Any]:
        """(K, H, W), at another ``size`` where one is given. Raises DataError where the file holds no such thing, or
        what would be lost in the ``dtype`` to keep."""
        if self.form == "numbers":
            return self._one_hot(str(pair.predictions), options, size)
        values = np.moveaxis(self._values(pair, options), self.order.index("class"), 0)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if size is not None and values.shape[1:] != size:
            values = self._resized(values, size)
        whole = self.dtype.startswith("uint")
        if whole and values.dtype.kind == "f" and not (values.min() >= -1e-3 and values.max() <= 1 + 1e-3):
            raise DataError(
                f"predictions of {self.where(pair)} go from {values.min():.6g} to {values.max():.6g}",
                f"in {self.dtype} all beyond 0 and 1 would be lost",
                "Give --kind logits and no --dtype, or mend them",
            )
        return values if whole else values.astype(self.dtype, copy=False)

    def where(self, pair: InputPair) -> str:
        """The place of an image's predictions, in words."""
        if self.array is not None:
            return f"image {pair.predictions} of {self.array[0]}"
        return pair.predictions[0] if isinstance(pair.predictions, tuple) else str(pair.predictions)

    def _values(self, pair: InputPair, options: Mapping[str, Any]) -> NDArray[Any]:
        if self.array is not None:
            url, header = self.array
            return read_image(url, header, int(pair.predictions), options)  # type: ignore[arg-type]
        if isinstance(pair.predictions, tuple):
            planes = [read_raster(url, options) for url in pair.predictions]
            for url, plane in zip(pair.predictions, planes, strict=True):
                alike = (plane.shape, plane.dtype) == (planes[0].shape, planes[0].dtype)
                if not alike or plane.ndim != 2 or plane.dtype.kind != "u":
                    raise DataError(
                        f"{url} has the shape {plane.shape} and the dtype {plane.dtype}, {pair.predictions[0]} "
                        f"{planes[0].shape} and {planes[0].dtype}",
                        "probabilities of the classes of one image are grey images of one size and 8 or 16 bits",
                        "Write every class so",
                    )
            return np.stack(planes)
        values = read_array(str(pair.predictions), options)
        return values[0] if values.ndim == 4 else values

    def _one_hot(self, file: str, options: Mapping[str, Any], size: tuple[int, int] | None) -> NDArray[np.uint8]:
        numbers = read_raster(file, options)
        if numbers.ndim == 3:
            raise DataError(
                f"{file} is an image of colours",
                "predictions are class numbers in one channel",
                "Write them so, or give probabilities as .npy",
            )
        beyond = (numbers < 0) | (numbers >= self.classes)
        if beyond.any():
            y, x = np.unravel_index(int(beyond.argmax()), beyond.shape)
            raise DataError(
                f"{file} predicts class {numbers[y, x]} at row {y}, column {x}",
                f"there are {self.classes} classes",
                f"Give predictions of the classes 0 to {self.classes - 1}, or name all --classes",
            )
        numbers = numbers if size is None else resize_nearest(numbers, size)
        return np.where(numbers == np.arange(self.classes).reshape(-1, 1, 1), np.uint8(255), np.uint8(0))

    def _resized(self, values: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
        """Bilinear, class by class; probabilities add up to 1 again, integers as steps of their greatest value."""
        step = np.float32(np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1)
        floats = np.stack([resize_bilinear(plane.astype(np.float32) / step, size) for plane in values])
        if self.kind == "probabilities":
            floats /= np.maximum(floats.sum(axis=0), np.float32(1e-12))
        return floats
