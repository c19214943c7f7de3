"""Work on arrays where they are, in the memory of an accelerator, by the operations of the array API standard.

Of predictions, softmax, gather, maximum and the lattice histograms run on the device. Three planes and two small
histograms are copied.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.limits import RANGE_TOLERANCE
from masksift.scoring.arrays import dtype_name, to_numpy
from masksift.scoring.kernels.condense import CondenseConfig, CondensedWindow, class_dtype

_SUM_ROUNDING = 1e-4
"""Sums so near the limit of their tolerance are decided by the kernel, in float64."""


def condense_on_device(
    predictions: Any, labels: NDArray[np.unsignedinteger], config: CondenseConfig
) -> CondensedWindow | None:
    """Condense a valid image.

    Probabilities give the evidence of the kernel. With logits it differs by the rounding of the device's softmax: at
    most one step of float16, or 1e-6 for float32.

    Args:
        predictions: Predictions (K, h, w) of ``config.dtype``, on a device.
        labels: Class plane (h, w).
        config: Settings of the source.

    Returns:
        The evidence, or None for predictions that the kernel must check: it describes the first invalid pixel.
    """
    xp, place = _namespace_and_device(predictions)
    classes = config.classes
    values = xp.reshape(predictions, (classes, -1))
    narrow = dtype_name(predictions)
    if narrow == "uint16":  # few operations of torch take it
        values = xp.astype(values, xp.int32)
    elif narrow == "float32" or config.prediction_kind == "logits":  # bfloat16 has that name too
        values = xp.astype(values, xp.float32)
    if config.prediction_kind == "logits":
        if not bool(xp.all(xp.isfinite(values))):
            return None
        powers = xp.exp(values - xp.max(values, axis=0, keepdims=True))
        values = powers / xp.sum(powers, axis=0, keepdims=True)
    else:
        checked = xp.astype(values, xp.float32) * config.scale if narrow.startswith("uint") else values
        wide = checked if narrow == "float64" else xp.astype(checked, xp.float32)
        off = xp.abs(xp.sum(wide, axis=0) - 1)
        inside = xp.all((wide >= -RANGE_TOLERANCE) & (wide <= 1 + RANGE_TOLERANCE))
        if not bool(inside & xp.all(off <= config.sum_tolerance - _SUM_ROUNDING)):  # NaN fails, too
            return None
    values = xp.clip(values, 0, int(config.greatest) if narrow.startswith("uint") else 1) + 0  # -0.0 becomes 0.0
    plane = xp.reshape(xp.asarray(labels.astype(np.int64), device=place), (-1,))
    valid, numbers = plane < classes, xp.arange(plane.shape[0], device=place)
    own = xp.take(xp.reshape(values, (-1,)), xp.where(valid, plane, 0) * plane.shape[0] + numbers)
    own = xp.where(valid, own, xp.zeros_like(own))
    predicted = xp.astype(xp.argmax(values, axis=0), xp.uint8 if classes <= 254 else xp.int32)
    histograms = (np.zeros((classes, 256), np.int64),) * 2
    if config.lattice:
        rows, columns = (xp.arange(0, extent, config.lattice, device=place) for extent in labels.shape)
        lattice = xp.reshape(rows[:, None] * labels.shape[1] + columns[None, :], (-1,))
        histograms = _count_lattice(xp, xp.take(values, lattice, axis=1), xp.take(plane, lattice), config)
    planes = [
        to_numpy(xp.astype(values, dtype) if (dtype := getattr(xp, config.evidence.dtype, None)) else values)
        for values in (own, xp.max(values, axis=0))
    ]
    own_codes, codes = (
        plane.astype(config.evidence.dtype, copy=False).view(config.evidence.codes_dtype).reshape(labels.shape)
        for plane in planes
    )
    numbers_of_classes = to_numpy(predicted).astype(class_dtype(classes), copy=False).reshape(labels.shape)
    return CondensedWindow(own_codes, numbers_of_classes, codes, *histograms)


def narrow_on_device(values: Any, dtype: str) -> Any:
    """Cast integers to a dtype if it holds them all, so that fewer bytes are copied; else return them as they are."""
    xp, _ = _namespace_and_device(values)
    narrowed = xp.astype(values, getattr(xp, dtype))
    return narrowed if bool(xp.all(xp.astype(narrowed, values.dtype) == values)) else values


def round_on_device(probabilities: Any, scale: float, dtype: str) -> Any:
    """Round probabilities to steps of ``scale`` in an unsigned dtype."""
    xp, _ = _namespace_and_device(probabilities)
    steps = xp.round(xp.astype(probabilities, xp.float32) / float(np.float32(scale)))
    return xp.astype(xp.clip(steps, 0, int(np.iinfo(dtype).max)), getattr(xp, dtype))


def _namespace_and_device(array: Any) -> tuple[Any, Any]:
    import array_api_compat  # few runs need it

    return array_api_compat.array_namespace(array), array_api_compat.device(array)


def _count_lattice(
    xp: Any, values: Any, labels: Any, config: CondenseConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the bins of probabilities (K, L) of valid pixels by class, (K, 256): at the label, and all."""
    place, classes, none = _namespace_and_device(values)[1], config.classes, config.classes * 256
    if config.values_dtype.kind == "u":
        table = xp.asarray(config.bins[1].astype(np.int32), device=place)
        bins = xp.reshape(xp.take(table, xp.astype(xp.reshape(values, (-1,)), xp.int64)), values.shape)
    else:
        bins = xp.astype(xp.clip(xp.floor(values * 256), 0, 255), xp.int32)
    numbers = xp.arange(classes, device=place)[:, None]
    keys = xp.where(labels[None, :] < classes, bins + numbers * 256, none)
    labeled = xp.where(labels[None, :] == numbers, keys, none)
    edges = xp.arange(none + 1, device=place, dtype=keys.dtype)

    def count(found: Any) -> NDArray[np.int64]:
        below = xp.searchsorted(xp.sort(xp.reshape(found, (-1,))), edges)
        return np.diff(to_numpy(below)).astype(np.int64).reshape(classes, 256)

    return count(labeled), count(keys)
