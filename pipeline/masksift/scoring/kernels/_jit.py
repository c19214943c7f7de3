"""How loops are compiled. What a loop is called through is compiled with it, and with an empty cache the first block
waits for that: none of it is made that nobody calls."""

from __future__ import annotations

from typing import Any

from numba import njit

_FROM_LOOPS: dict[str, Any] = {"no_cfunc_wrapper": True, "no_cpython_wrapper": True}
_FROM_PYTHON: dict[str, Any] = {"no_cfunc_wrapper": True}

kernel = njit(cache=True, nogil=True, **_FROM_PYTHON)
"""A loop that Python calls."""

inner = njit(nogil=True, **_FROM_LOOPS)
"""A loop that only other loops call: it is kept in their caches and cannot be called from Python."""
