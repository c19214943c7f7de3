"""Average the probabilities of an ensemble's members."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import kernel
from masksift.scoring.kernels.condense import BadPixel, CondenseConfig, condense_window
from masksift.scoring.kernels.condense_loops import softmax

STRIP_PIXELS = 1 << 15
"""Pixels of a member that become float32 at a time: few enough to stay in the cache until they are added."""


def member_config(
    classes: int,
    dtype: str,
    scale: float,
    prediction_kind: str,
    sum_tolerance: float,
    missing: tuple[float, ...] = (),
) -> CondenseConfig:
    """Return the settings that check one member; its evidence is discarded."""
    config = CondenseConfig.for_predictions(classes, dtype, prediction_kind, scale, sum_tolerance, lattice=0)
    return replace(config, missing=missing)


def accumulate_member(
    predictions: NDArray[np.generic],
    labels: NDArray[np.unsignedinteger],
    config: CondenseConfig,
    total: NDArray[np.float32],
    *,
    first: bool,
) -> BadPixel | None:
    """Check one member's window and add its probabilities, clipped to [0, 1], to a sum.

    The sum is formed element by element, in float32 and in the order of the members, so that no division into windows
    changes a bit.

    Args:
        predictions: Predictions (K, h, w) of ``config.dtype``.
        labels: Class plane (h, w).
        config: Settings of the member.
        total: Sum (K, h, w) of the members, added to.
        first: True for the first member, which overwrites the sum.

    Returns:
        The first invalid pixel, after which ``total`` is undefined, or None.
    """
    height, width = labels.shape
    rows, native = max(1, STRIP_PIXELS // width), config.dtype
    for y in range(0, height, rows):
        strip = slice(y, y + rows)
        values = _check(
            np.ascontiguousarray(predictions[:, strip], native), np.ascontiguousarray(labels[strip]), config
        )
        if isinstance(values, BadPixel):
            return replace(values, y=values.y + y)
        if first:
            total[:, strip] = 0
        if config.prediction_kind == "probabilities" and config.values_dtype.itemsize <= 2:
            _add(values.view(config.codes_dtype), _values_by_code(config.dtype, config.scale), total[:, strip])
        else:
            total[:, strip] += np.clip(values, 0, 1, dtype=np.float32, casting="same_kind")
    return None


@kernel
def _add(codes: NDArray[Any], values: NDArray[np.float32], total: NDArray[np.float32]) -> None:
    """Add values[codes] to ``total`` (K, h, w): a table is several times as fast as a conversion."""
    for k in range(codes.shape[0]):
        for y in range(codes.shape[1]):
            given, row = codes[k, y], total[k, y]
            for x in range(given.size):
                row[x] += values[given[x]]


def _check(
    predictions: NDArray[np.generic], labels: NDArray[np.unsignedinteger], config: CondenseConfig
) -> NDArray[np.generic] | BadPixel:
    """Return the probabilities of a strip, or its first invalid pixel."""
    if config.prediction_kind == "logits" and (soft := _softmax(predictions)) is not None:
        tolerance = float(config.classes)  # a softmax sums to 1
        predictions = soft
        config = replace(config, dtype="float32", prediction_kind="probabilities", sum_tolerance=tolerance)
    window = condense_window(predictions, labels, config)
    return window if isinstance(window, BadPixel) else predictions


@cache
def _values_by_code(dtype: str, scale: float) -> NDArray[np.float32]:
    """Probability in [0, 1] of each code of an 8- or 16-bit dtype."""
    width = 8 * np.dtype(dtype).itemsize
    stored = np.arange(1 << width).astype(f"uint{width}").view(dtype)
    with np.errstate(invalid="ignore"):  # codes of NaN, which no valid member holds
        return np.asarray(np.clip(stored.astype(np.float32) * np.float32(scale), 0, 1))


def _softmax(logits: NDArray[np.generic]) -> NDArray[np.float32] | None:
    """Softmax over the classes in float32; None if a logit is not finite."""
    with np.errstate(over="ignore"):  # softmax rejects the infinity that a large float64 becomes
        flat = logits.astype(np.float32, copy=False).reshape(len(logits), -1)
    out = np.empty_like(flat)
    return out.reshape(logits.shape) if softmax(flat, 0, out) else None
