"""Versions of what decides results, and of what must agree between the client and its workers."""

from __future__ import annotations

import importlib.metadata
import platform

__all__ = ["versions"]

_PACKAGES = (
    "masksift", "dask", "distributed", "numpy", "numba", "zarr", "numcodecs", "pyarrow", "connected-components-3d",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Version of Python and of each package, in this process."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in _PACKAGES}
