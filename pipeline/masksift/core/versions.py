"""Versions of the packages that decide results and must agree between the client and its workers."""

from __future__ import annotations

import importlib.metadata
import platform
from functools import cache

_PACKAGES = (
    "masksift",
    "dask",
    "distributed",
    "numpy",
    "numba",
    "zarr",
    "numcodecs",
    "pyarrow",
)


def package_versions() -> dict[str, str]:
    """Return the version of Python and of each package in this process."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


_version = cache(importlib.metadata.version)
