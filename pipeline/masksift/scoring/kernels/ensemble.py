"""Average the probabilities of an ensemble's members.

The loop that checks a single prediction checks each member. The sum is formed element by element, in float32 and in the
order of the members, so that no division into windows changes a bit.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import kernel
from masksift.scoring.kernels.condense import BadPixel, CondenseConfig, condense_window
from masksift.scoring.kernels.condense_loops import softmax
from masksift.scoring.kernels.encoding import Encoding

STRIP_PIXELS = 1 << 15
"""Pixels of a member that become float32 at a time: few, so that these stay near the core until they are added."""
_NARROW = ("uint8", "uint16", "float16")


def member_config(classes: int, dtype: str, scale: float, kind: str, sum_tolerance: float) -> CondenseConfig:
    """Settings to check one member; its evidence and lattice are discarded."""
    kept = dtype if dtype in _NARROW and kind == "probabilities" else "float16"
    return CondenseConfig(classes, dtype, scale, kind, Encoding(kept, scale), sum_tolerance, lattice=0)


def accumulate_member(
    predictions: NDArray[np.generic],
    labels: NDArray[np.unsignedinteger],
    recipe: CondenseConfig,
    total: NDArray[np.float32],
    *,
    first: bool,
) -> BadPixel | None:
    """Take in one member's slab: predictions (K, h, w) of ``recipe.dtype``, the class plane (h, w) of its labels.

    Its probabilities, clipped to [0, 1], are added to ``total`` (K, h, w), which the ``first`` member overwrites. Where
    it holds no probabilities the first bad pixel is answered, and ``total`` is worth nothing.
    """
    height, width = labels.shape
    rows, native = max(1, STRIP_PIXELS // width), recipe.dtype
    for y in range(0, height, rows):
        strip = slice(y, y + rows)
        given = np.ascontiguousarray(labels[strip])
        found = _look(np.ascontiguousarray(predictions[:, strip], native), given, recipe)
        if isinstance(found, BadPixel):
            return replace(found, y=found.y + y)
        if first:
            total[:, strip] = 0
        if recipe.kind == "probabilities" and recipe.values_dtype.itemsize <= 2:
            _add(found.view(recipe.codes_dtype), _values(recipe.dtype, recipe.scale), total[:, strip])
        else:
            total[:, strip] += np.clip(found, 0, 1, dtype=np.float32, casting="same_kind")
    return None


@kernel
def _add(codes: NDArray[Any], values: NDArray[np.float32], total: NDArray[np.float32]) -> None:
    """total (K, h, w) += values[codes], codes (K, h, w): a look takes a fraction of a conversion's time."""
    for k in range(codes.shape[0]):
        for y in range(codes.shape[1]):
            given, row = codes[k, y], total[k, y]
            for x in range(given.size):
                row[x] += values[given[x]]


def _look(
    predictions: NDArray[np.generic], labels: NDArray[np.unsignedinteger], recipe: CondenseConfig
) -> NDArray[np.generic] | BadPixel:
    """A strip as it is, or softened where it holds logits; or its first bad pixel."""
    if recipe.kind == "logits" and (soft := _softmax(predictions)) is not None:
        # softmax sums to 1; where it is none, the walk below says which logit is to blame
        predictions, recipe = (
            soft,
            replace(recipe, dtype="float32", kind="probabilities", sum_tolerance=float(recipe.classes)),
        )
    slab = condense_window(predictions, labels, recipe)
    if isinstance(slab, BadPixel):
        return slab
    return predictions


@cache
def _values(dtype: str, scale: float) -> NDArray[np.float32]:
    """What each code of an 8- or 16-bit dtype means, in [0, 1]."""
    width = 8 * np.dtype(dtype).itemsize
    stored = np.arange(1 << width).astype(f"uint{width}").view(dtype)
    with np.errstate(invalid="ignore"):  # codes of NaN: no member that holds one comes here
        return np.asarray(np.clip(stored.astype(np.float32) * np.float32(scale), 0, 1))


def _softmax(logits: NDArray[np.generic]) -> NDArray[np.float32] | None:
    """Softmax over the classes in float32; None where a logit is not finite."""
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is found so
        flat = logits.astype(np.float32, copy=False).reshape(len(logits), -1)
    out = np.empty_like(flat)
    return out.reshape(logits.shape) if softmax(flat, 0, out) else None
