"""How a probability lies in memory: as an unsigned *code* that orders like its value.

The kernels compare, count and sum codes and never convert a plane to floats. For the unsigned integers a
code is the stored number; the bits of a non-negative float16 or float32 order like unsigned integers too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CODES = {"uint8": "uint8", "uint16": "uint16", "float16": "uint16", "float32": "uint32"}
_ONE = {"float16": 0x3C00, "float32": 0x3F800000}


@dataclass(frozen=True)
class Encoding:
    """The precision of the evidence planes: dtype ``uint8 | uint16 | float16 | float32`` and, for the
    integers, ``scale``: the probability is ``min(code * scale, 1)``.

    >>> Encoding("uint8", 1 / 255).value(51)
    0.2
    """

    dtype: str
    scale: float = 1.0

    @property
    def is_float(self) -> bool:
        return self.dtype in _ONE

    @property
    def codes_dtype(self) -> np.dtype[Any]:
        """The unsigned dtype of the codes: same width as ``dtype``."""
        return np.dtype(_CODES[self.dtype])

    @property
    def top(self) -> int:
        """The largest code that may stand in a plane: 1.0 for floats, the dtype's maximum for integers."""
        return _ONE[self.dtype] if self.is_float else int(np.iinfo(self.dtype).max)

    @property
    def key_shift(self) -> int:
        """Bits dropped from a code to get its histogram bin: float32 is counted by its upper 16 bits."""
        return 16 if self.dtype == "float32" else 0

    @property
    def bins(self) -> int:
        """Number of bins of the histogram of self-confidence (256, 65536, 15361 or 16257)."""
        return (self.top >> self.key_shift) + 1

    @property
    def unit(self) -> Fraction:
        """The probability of one unit of the fixed-point sums (methods: class statistics), exactly."""
        if self.is_float:
            return Fraction(1, 1 << (24 if self.dtype == "float16" else 32))
        return Fraction(self.scale)

    @property
    def fixed(self) -> NDArray[np.int64]:
        """Every code of at most 16 bits in units of `unit`, exactly: (bins,) int64."""
        return _halves_fixed() if self.is_float else np.arange(self.bins)

    def codes(self, plane: NDArray[np.generic]) -> NDArray[np.unsignedinteger]:
        """The codes of a stored plane: a view, never a copy."""
        return plane.view(self.codes_dtype)

    def values(self, codes: NDArray[np.generic]) -> NDArray[np.float64]:
        """Probabilities in [0, 1], float64, of an array of codes (any integer dtype)."""
        if self.is_float:
            stored = codes.astype(self.codes_dtype).view(self.dtype)
            return stored.astype(np.float64)
        return np.minimum(codes.astype(np.float64) * self.scale, 1.0)

    def value(self, code: int) -> float:
        """The probability of one code."""
        return float(self.values(np.array([code], np.int64))[0])

    def code_at_least(self, probability: float) -> int:
        """The smallest code whose value is >= ``probability``; ``top + 1`` where none is.

        Found by bisection over the codes, so that comparing codes equals comparing float64 values.
        """
        if math.isnan(probability):
            raise ValueError("a threshold is NaN; no code compares with it: give a number in [0, 1]")
        low, high = 0, self.top + 1
        while low < high:
            middle = (low + high) // 2
            if self.value(middle) >= probability:
                high = middle
            else:
                low = middle + 1
        return low


@cache
def _halves_fixed() -> NDArray[np.int64]:
    """float16 in [0, 1] in steps of 2^-24, by code."""
    half = Encoding("float16")
    return np.ldexp(half.values(np.arange(half.bins)), 24).astype(np.int64)
