"""Decide how the stored numbers of a prediction array become predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from masksift.core.errors import DataError
from masksift.core.specs import ArraySpec, Decoding, Packing
from masksift.scoring.kernels.decode import binary_dtype
from masksift.storage.sources.overrides import Overrides
from masksift.storage.sources.packing import describe_packing
from masksift.storage.sources.validate import validate_scale


def prediction_array(stored: ArraySpec, packing: Packing | None, labels: ArraySpec, *, resize: bool) -> ArraySpec:
    """Describe the predictions (image, class, y, x) that a stored array holds.

    Args:
        stored: The stored array: (image, class, y, x), or (image, y, x) of the positive class.
        packing: Packing of its numbers.
        labels: Label array.
        resize: The predictions are resized to the size of the labels.

    Returns:
        The predictions, in the stored dtype until `resolve_values`.
    """
    images, *classes, height, width = stored.shape
    size = labels.shape[1:] if resize else (height, width)
    shape = (images, classes[0] if classes else 2, *size)
    if shape == stored.shape and packing is None:
        return stored
    chunks, shards = _with_classes(stored.chunks, shape), stored.shards and _with_classes(stored.shards, shape)
    if size != (height, width):  # rows are read in bands of whole chunks, whatever their number
        chunks = (*chunks[:2], 1, shape[3])
        shards = shards and (*shards[:2], *size)
    dtype = np.dtype(stored.dtype if packing is None else packing.dtype)
    return ArraySpec(
        stored.url,
        shape,
        chunks,
        dtype.name,
        dtype.itemsize,
        (0, 1, 2, 3),
        shards,
        stored.zarr_format,
        Decoding(stored, packing),
    )


def _with_classes(sizes: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    return sizes if len(sizes) == len(shape) else (sizes[0], shape[1], *sizes[1:])


def resolve_values(
    url: str, array: ArraySpec, overrides: Overrides, attributes: Mapping[str, Any], kind: str
) -> tuple[ArraySpec, float, float]:
    """Decide the dtype of the predictions: the stored one where it can hold them, else float32.

    Args:
        url: URL of the source.
        array: Description by `prediction_array`, or a stored array.
        overrides: Settings of the configuration.
        attributes: Attributes that apply to the predictions.
        kind: "probabilities" or "logits".

    Returns:
        The predictions, the probability of one step if they are integers, and the value of one stored step: 0 for
        floats. Contradicting settings raise DataError.
    """
    decoding = array.decoding
    if decoding is None:
        scale = validate_scale(url, overrides, attributes, array.dtype, kind)
        return array, scale, 0.0 if _is_float(array.dtype) else scale
    packing = decoding.packing or Packing(array.dtype)
    if packing.is_linear:
        _check_scale(url, packing, overrides, attributes)
        scales = array.dtype in ("uint8", "uint16") and kind != "logits" and not packing.add_offset
        if scales and 0 < (packing.scale_factor or 0) <= 1:  # the kernels scale integers themselves
            overrides, packing = replace(overrides, scale=packing.scale_factor), replace(packing, scale_factor=None)
        else:
            overrides = replace(overrides, scale=None)
    dtype = "float32" if packing.is_linear else array.dtype
    scale = validate_scale(url, overrides, attributes, dtype, kind)
    if not _is_float(dtype):
        step, converted = scale, replace(packing, scale_factor=scale)
    else:
        step, converted = 0.0 if _is_float(array.dtype) else packing.scale_factor or 1.0, packing
    resized = decoding.stored.shape[-2:] != array.shape[-2:]
    incomplete = decoding.is_binary and binary_dtype(dtype, scale) != dtype
    if packing.is_linear or packing.missing or resized or incomplete:
        return replace(array, dtype="float32", itemsize=4, decoding=replace(decoding, packing=converted)), 1.0, step
    renamed = None if dtype == decoding.stored.dtype else packing
    if array.shape == decoding.stored.shape and renamed is None:
        return decoding.stored, scale, step
    return replace(array, decoding=replace(decoding, packing=renamed)), scale, step


def _is_float(dtype: str) -> bool:
    return np.dtype(dtype).kind == "f"


def _check_scale(url: str, packing: Packing, overrides: Overrides, attributes: Mapping[str, Any]) -> None:
    """Refuse a scale that contradicts the packing."""
    for name, scale in (("--scale", overrides.scale), ("the attribute scale", attributes.get("scale"))):
        if scale is not None and (packing.add_offset or not _is_close(scale, packing.scale_factor)):
            raise DataError(
                f"Predictions of {url} are packed with {describe_packing(replace(packing, missing=()))}, but {name} is "
                f"{json.dumps(scale)}",
                "They contradict each other",
                f"Omit {name}" if name == "--scale" else "Remove the one that is wrong",
            )


def _is_close(scale: Any, factor: float | None) -> bool:
    """Return whether two scales differ by no more than a float32 rounds."""
    number = isinstance(scale, (int, float)) and not isinstance(scale, bool)
    return number and factor is not None and abs(scale - factor) <= 1e-6 * abs(factor)
