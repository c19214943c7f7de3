"""Numba decorators without unused wrappers and reference counting, whose compilation the first block would wait for.

A loop allocates nothing: its caller passes all arrays. Then no array needs a reference count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from masksift.scoring.kernels._cache import KernelCache

_FROM_PYTHON: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}
_FROM_LOOPS: dict[str, Any] = {**_FROM_PYTHON, "no_cpython_wrapper": True}

_loop = njit(**_FROM_PYTHON)


def kernel(function: Callable[..., Any]) -> Any:
    """Decorate a loop that Python calls."""
    dispatcher = _loop(function)
    dispatcher._cache = KernelCache(function)  # what njit(cache=True) does with numba's own class
    return dispatcher


inner = njit(**_FROM_LOOPS)
"""Decorator of a loop that only other loops call: their caches hold it, and Python cannot call it."""
