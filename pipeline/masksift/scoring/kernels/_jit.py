"""Numba decorators that leave out unused wrappers, whose compilation the first block would wait for."""

from __future__ import annotations

from typing import Any

from numba import njit

_FROM_LOOPS: dict[str, Any] = {"no_cfunc_wrapper": True, "no_cpython_wrapper": True}
_FROM_PYTHON: dict[str, Any] = {"no_cfunc_wrapper": True}

kernel = njit(cache=True, nogil=True, **_FROM_PYTHON)
"""Decorator of a loop that Python calls."""

inner = njit(nogil=True, **_FROM_LOOPS)
"""Decorator of a loop that only other loops call: their caches hold it, and Python cannot call it."""
