"""Numba decorators without unused wrappers and reference counting, whose compilation the first block would wait for.

A loop allocates nothing: its caller passes all arrays. Then no array needs a reference count.
"""

from __future__ import annotations

from typing import Any

from numba import njit

_FROM_PYTHON: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}
_FROM_LOOPS: dict[str, Any] = {**_FROM_PYTHON, "no_cpython_wrapper": True}

kernel = njit(cache=True, **_FROM_PYTHON)
"""Decorator of a loop that Python calls."""

inner = njit(**_FROM_LOOPS)
"""Decorator of a loop that only other loops call: their caches hold it, and Python cannot call it."""
