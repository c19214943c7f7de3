"""Inputs, labels, ids and RGB images of a batch; logits of a model's output; and their way to the writer.

Knows no framework: tensors are recognized by their methods, and torch is imported only if a tensor is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, UsageError
from masksift.prepare.writers.evidence import EvidenceWriter
from masksift.scoring.arrays import to_numpy
from masksift.scoring.kernels.decode import resize_rows

Key = str | int | Callable[[Any], Any]
"""Place of a value in a batch: the key of a dict, the position in a tuple, or a function of the batch."""

_NAMES = {
    "inputs": ("pixel_values", "image", "images", "inputs", "input", "img"),
    "labels": ("labels", "label", "masks", "mask", "targets", "target"),
    "image_ids": ("image_ids", "image_id", "ids", "id"),
}
_POSITIONS = {"inputs": 0, "labels": 1, "image_ids": 2}
_OUTPUTS = ("logits", "out")
"""Keys of the output of transformers and of torchvision."""


@dataclass(frozen=True)
class BatchKeys:
    """Places of the values in a batch. None: by the usual names or positions.

    Attributes:
        inputs: Inputs of the model.
        labels: Given labels (n, H, W) or (n, 1, H, W), integers.
        image_ids: Image ids (n,), strings or integers.
        pictures: RGB images (n, H, W, 3) or (n, 3, H, W) uint8.
    """

    inputs: Key | None = None
    labels: Key | None = None
    image_ids: Key | None = None
    pictures: Key | None = None

    def read_inputs(self, batch: Any) -> Any:
        """Return the inputs of the model."""
        return _read(batch, "inputs", self.inputs)

    def read_labels(self, batch: Any) -> Any:
        """Return the labels."""
        return _read(batch, "labels", self.labels)

    def read_image_ids(self, batch: Any) -> list[str] | None:
        """Return the ids as strings, or None if the batch has none."""
        if self.image_ids is None:
            if isinstance(batch, Mapping):
                names = [name for name in _NAMES["image_ids"] if name in batch]
                found = batch[names[0]] if names else None
            else:
                found = batch[2] if len(batch) > 2 else None
                found = found if isinstance(found, Sequence) and all(isinstance(one, str) for one in found) else None
        else:
            found = _read(batch, "image_ids", self.image_ids)
        if found is None:
            return None
        return [str(one) for one in (found if isinstance(found, (list, tuple)) else to_numpy(found).tolist())]

    def read_pictures(self, batch: Any) -> Any:
        """Return the RGB images, or None without a key."""
        return None if self.pictures is None else _read(batch, "pictures", self.pictures)


def _read(batch: Any, name: str, key: Key | None) -> Any:
    if callable(key):
        return key(batch)
    if key is None and isinstance(batch, Mapping):
        key = next((usual for usual in _NAMES[name] if usual in batch), None)
    elif key is None:
        key = _POSITIONS[name]
    try:
        return batch[key]
    except (KeyError, IndexError, TypeError) as e:
        content = (
            f"the keys {', '.join(map(str, batch))}"
            if isinstance(batch, Mapping)
            else f"{len(batch)} elements"
            if isinstance(batch, (list, tuple))
            else f"the type {type(batch).__name__}"
        )
        raise DataError(
            f"A batch has {content}, in which {name} {'are not recognized' if key is None else f'{key!r} is missing'}",
            f"Pass {name}=KEY, a position, or a function of the batch",
        ) from e


def find_logits(output: Any) -> Any:
    """Return the predictions (n, K, h, w) in the output of a model.

    Args:
        output: An array; a dict, or another object with attributes, with "logits" or "out"; or a tuple that begins
            with the predictions.

    Returns:
        The array.

    Raises:
        DataError: There is no array of four axes, or three for binary predictions.
    """
    found = output
    if isinstance(output, Mapping):
        if "class_queries_logits" in output:
            raise DataError(
                "The model returns masks of queries, not logits per pixel",
                "Their sums over the queries are no probabilities of classes",
                "Normalize it over the classes in a function that calls the model, with kind='probabilities'",
            )
        found = next((output[key] for key in _OUTPUTS if key in output), None)
    elif names := [name for name in _OUTPUTS if hasattr(output, name)]:  # named tuples, too: the loss may come first
        found = getattr(output, names[0])
    elif isinstance(output, (list, tuple)) and output:
        found = output[0]
    if len(getattr(found, "shape", ())) not in (3, 4):
        keys = f" with the keys {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
        shape = f" of shape {tuple(found.shape)}" if hasattr(found, "shape") else ""
        raise DataError(
            f"The model returns {type(output).__name__}{keys}{shape}",
            "Return predictions (n, K, h, w): an array, or a dict or object with 'logits' or 'out'",
        )
    return found


def write_batch(
    writer: EvidenceWriter,
    logits: Any,
    labels: Any,
    image_ids: Sequence[str] | None = None,
    pictures: Any = None,
    *,
    skip: int = 0,
) -> None:
    """Resize the predictions of a batch to its labels, and write it.

    Predictions are resized and condensed one image at a time where they are: only the evidence is copied from the
    device, and the device holds one image of full-size predictions.

    Args:
        writer: Open writer. With ``padded=True`` images may be smaller than it.
        logits: Predictions (n, K, h, w), or (n, h, w) of the positive class.
        labels: Given labels (n, H, W) or (n, 1, H, W), or n arrays (H, W).
        image_ids: Image ids (n,).
        pictures: RGB images (n, H, W, 3) or (n, 3, H, W) uint8.
        skip: Number of images at the start of the batch that are written already.

    Raises:
        DataError: Shapes do not fit, or values are invalid.
    """
    count = len(labels)
    for name, values in (("predictions", logits), ("image ids", image_ids), ("pictures", pictures)):
        if values is not None and len(values) != count:
            raise DataError(f"A batch has {count} labels, but {len(values)} {name}", "Pass one per image")
    for i in range(skip, count):
        plane = labels[i] if len(labels[i].shape) == 2 else labels[i][0]
        size = tuple(map(int, plane.shape))
        extent = (writer.spec.height, writer.spec.width) if writer.padded else size
        if any(own > most for own, most in zip(size, extent, strict=True)):
            raise DataError(
                f"Image {writer.next_image} has {size[0]} x {size[1]} pixels, the writer {extent[0]} x {extent[1]}",
                "Pass the height and width of the largest image to the writer",
            )
        values = logits[i] if len(logits[i].shape) == 3 else logits[i][None]
        picture = None if pictures is None else _pad(_channels_last(pictures[i], size), (*extent, 3))
        writer.write(
            _pad(_convert(writer, resize(values, size)), (len(values), *extent))[None],
            _pad(plane, extent)[None],
            None if image_ids is None else image_ids[i : i + 1],
            None if picture is None else picture[None],
            np.array([size]) if writer.padded else None,
        )


def resize(planes: Any, size: tuple[int, ...]) -> Any:
    """Interpolate planes (K, h, w) of a tensor or an array bilinearly, as torch with ``align_corners=False``."""
    if tuple(planes.shape[1:]) == tuple(size):
        return planes
    if hasattr(planes, "to"):
        from torch.nn.functional import interpolate

        return interpolate(planes[None].float(), size=tuple(size), mode="bilinear", align_corners=False)[0]
    stored = np.ascontiguousarray(planes, np.float32)
    out = np.empty((len(stored), *size), np.float32)
    resize_rows(stored, 0, stored.shape[1:], size, 0, out)
    return out


def _convert(writer: EvidenceWriter, planes: Any) -> Any:
    """Cast logits to the dtype of the writer: models in mixed precision return half floats."""
    spec = writer.spec
    if spec.prediction_kind != "logits":
        return planes
    if hasattr(planes, "to"):
        import torch

        return planes.to(getattr(torch, spec.predictions.dtype))
    return planes.astype(spec.predictions.dtype, copy=False)


def _channels_last(picture: Any, size: tuple[int, ...]) -> NDArray[np.uint8]:
    array = to_numpy(picture)
    if array.shape == (3, *size):
        array = np.moveaxis(array, 0, -1)
    if array.shape != (*size, 3) or array.dtype != np.uint8:
        raise DataError(
            f"A picture has shape {array.shape} and dtype {array.dtype}, but its labels are {size[0]} x {size[1]}",
            "Pass uint8 images (n, H, W, 3) or (n, 3, H, W) before normalization, of the size of the labels",
        )
    return array


def _pad(array: Any, shape: tuple[int, ...]) -> Any:
    """Append zeros to the last axes of an array, up to a shape."""
    missing = [after - own for own, after in zip(array.shape, shape, strict=True)]
    if not any(missing):
        return array
    if hasattr(array, "to"):
        from torch.nn.functional import pad

        return pad(array, [number for one in reversed(missing) for number in (0, one)])
    return np.pad(array, [(0, one) for one in missing])


def check_order(world_size: int, shuffles: bool, framework: str) -> None:
    """Raise UsageError if a framework gives images in another order than the data set's."""
    if world_size > 1 or shuffles:
        raise UsageError(
            f"{framework} {'shuffles the images' if shuffles else f'deals the images to {world_size} processes'}",
            "Evidence is written in the order of the data set",
            "Use masksift.integrations.torch.write_evidence with part=(rank, processes)"
            if world_size > 1
            else "Pass a loader that does not shuffle",
        )
