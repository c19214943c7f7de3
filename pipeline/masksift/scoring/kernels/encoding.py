"""Encoding of probabilities as unsigned codes that order like their values.

Kernels compare, count and sum codes instead of converting planes to floats. The code of an unsigned integer is the
stored number. The bits of non-negative float16 and float32 values order like unsigned integers too.
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
    """Precision of evidence planes.

    Attributes:
        dtype: uint8, uint16, float16 or float32.
        scale: For integers: the probability is ``min(code * scale, 1)``.

    >>> Encoding("uint8", 1 / 255).value(51)
    0.2
    """

    dtype: str
    scale: float = 1.0

    @property
    def is_float(self) -> bool:
        """True for float16 and float32."""
        return self.dtype in _ONE

    @property
    def codes_dtype(self) -> np.dtype[Any]:
        """Unsigned dtype of the codes, as wide as ``dtype``."""
        return np.dtype(_CODES[self.dtype])

    @property
    def top(self) -> int:
        """Largest code of a plane: 1.0 for floats, the dtype's maximum for integers."""
        return _ONE[self.dtype] if self.is_float else int(np.iinfo(self.dtype).max)

    @property
    def key_shift(self) -> int:
        """Bits dropped from a code to get its histogram bin: 16 for float32."""
        return 16 if self.dtype == "float32" else 0

    @property
    def bins(self) -> int:
        """Number of bins of the histogram of self-confidence (256, 65536, 15361 or 16257)."""
        return (self.top >> self.key_shift) + 1

    @property
    def unit(self) -> Fraction:
        """Exact probability of one unit of the fixed-point sums."""
        if self.is_float:
            return Fraction(1, 1 << (24 if self.dtype == "float16" else 32))
        return Fraction(self.scale)

    @property
    def fixed(self) -> NDArray[np.int64]:
        """Exact value of each code of at most 16 bits in units of `unit`: (bins,) int64."""
        return _halves_fixed() if self.is_float else np.arange(self.bins)

    @property
    def squares(self) -> NDArray[np.uint16]:
        """Square of min(floor(256 p), 255) of each bin of the histogram: (bins,) uint16.

        All float32 codes of a bin have the same one: 256 p is cut off after at most 8 bits.
        """
        return _squares(self)

    def codes(self, plane: NDArray[np.generic]) -> NDArray[np.unsignedinteger]:
        """Return the codes of a stored plane as a view."""
        return plane.view(self.codes_dtype)

    def values(self, codes: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return the probabilities in [0, 1], float64, of codes of any integer dtype."""
        if self.is_float:
            stored = codes.astype(self.codes_dtype).view(self.dtype)
            return stored.astype(np.float64)
        return np.minimum(codes.astype(np.float64) * self.scale, 1.0)

    def value(self, code: int) -> float:
        """Return the probability of one code."""
        return float(self.values(np.array([code], np.int64))[0])

    def code_at_least(self, probability: float) -> int:
        """Return the smallest code whose value is at least a probability.

        Bisection over the codes makes comparing codes equivalent to comparing float64 values.

        Args:
            probability: Any number.

        Returns:
            The code; ``top + 1`` if no code is large enough.

        Raises:
            ValueError: If the probability is NaN.
        """
        if math.isnan(probability):
            raise ValueError("The threshold is NaN. Use a number in [0, 1].")
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
    """Return float16 values in [0, 1] in steps of 2^-24, by code."""
    half = Encoding("float16")
    return np.ldexp(half.values(np.arange(half.bins)), 24).astype(np.int64)


@cache
def _squares(encoding: Encoding) -> NDArray[np.uint16]:
    values = encoding.values(np.arange(encoding.bins) << encoding.key_shift)
    return (np.minimum(np.floor(256 * values), 255) ** 2).astype(np.uint16)
