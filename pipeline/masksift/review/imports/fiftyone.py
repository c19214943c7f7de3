"""FiftyOneDataset: the detections of the field ``regions``, with masks, of each sample."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from masksift.annotations.shapes import ClassNumbers, Shape, ShapeLabels, mask_shape
from masksift.core.errors import DataError
from masksift.engine.completed_run import CompletedRun
from masksift.review.file_names import make_unique
from masksift.review.imports.reviewed import ReviewedImage
from masksift.storage.files import read_json


def read(url: str, run: CompletedRun, options: Mapping[str, Any]) -> list[ReviewedImage]:
    """Read samples.json; see `FileReader`."""
    file = url if url.lower().endswith(".json") else f"{url.rstrip('/')}/samples.json"
    tree = read_json(file, options)
    numbers = ClassNumbers((), make_unique(run.class_names), None, file)
    try:
        return [_image(sample, numbers) for sample in tree["samples"]]
    except (KeyError, TypeError, ValueError, zlib.error) as e:
        raise DataError(
            f"{file} is not a FiftyOneDataset that masksift exported ({type(e).__name__}: {e})",
            "Export it with dataset.export(export_dir=DIR, dataset_type=fiftyone.types.FiftyOneDataset)",
        ) from e


def _image(sample: Mapping[str, Any], numbers: ClassNumbers) -> ReviewedImage:
    size = int(sample["metadata"]["height"]), int(sample["metadata"]["width"])
    detections = (sample.get("regions") or {}).get("detections", ())
    shapes = tuple(_shape(detection, size, numbers) for detection in detections)
    key = (str(sample["source"]), int(sample["index"])) if "source" in sample and "index" in sample else None
    return ReviewedImage(str(sample["filepath"]), ShapeLabels(*size, shapes), key)


def _shape(detection: Mapping[str, Any], size: tuple[int, int], numbers: ClassNumbers) -> Shape:
    """Read a detection: a box in shares of the image, and a mask of it or, without a mask, the whole box."""
    height, width = size
    x, y, w, h = (float(share) for share in detection["bounding_box"])
    left, top, columns, rows = round(x * width), round(y * height), round(w * width), round(h * height)
    rank = detection.get("rank")
    stored = detection.get("mask")
    mask = np.ones((rows, columns), bool) if stored is None else _unpack(stored["$binary"]["base64"], size)
    return mask_shape(mask, (top, left), numbers[str(detection["label"])], None if rank is None else int(rank))


def _unpack(text: str, size: tuple[int, int]) -> Any:
    """Unpack a mask (h, w) of bool: .npy, compressed, in base64. Raises ValueError if it is larger than the image."""
    unpacker = zlib.decompressobj()
    data = io.BytesIO(unpacker.decompress(base64.b64decode(text), 8 * size[0] * size[1] + 4096))
    if np.lib.format.read_magic(data) != (1, 0):
        raise ValueError("a mask is not an array")
    shape, _, dtype = np.lib.format.read_array_header_1_0(data)
    if unpacker.unconsumed_tail or len(shape) != 2 or not 0 < prod(shape) * dtype.itemsize <= data.getbuffer().nbytes:
        raise ValueError("a mask is damaged or larger than its image")
    data.seek(0)
    return np.load(data, allow_pickle=False).astype(bool)
