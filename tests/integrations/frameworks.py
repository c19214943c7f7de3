"""Import frameworks that may be absent: their own imports warn of what they will change."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

__all__ = ["framework"]


def framework(module: str) -> Any:
    """Import a module of a framework, or skip the tests of a file with the reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(module, reason=f"{module.partition('.')[0]} is not installed: run `make frameworks`")
