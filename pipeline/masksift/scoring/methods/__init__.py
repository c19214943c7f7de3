"""Registry of scoring methods, one module per method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from masksift.scoring.methods.base import FlaggingRule, Method, ScoringInput
from masksift.scoring.methods.ccp import CCP
from masksift.scoring.methods.cil import CIL
from masksift.scoring.methods.clc import CLC
from masksift.scoring.methods.coco import CoCo
from masksift.scoring.methods.iou import IoU
from masksift.scoring.methods.omission import Omission
from masksift.scoring.methods.softmin import Softmin
from masksift.scoring.methods.tccp import TCCP

__all__ = ["METHODS", "FlaggingRule", "Method", "ScoringInput", "make_methods"]

METHODS: dict[str, type[Method]] = {
    "ccp": CCP,
    "tccp": TCCP,
    "cil": CIL,
    "softmin": Softmin,
    "clc": CLC,
    "iou": IoU,
    "coco": CoCo,
    "omission": Omission,
}


def make_methods(names: Iterable[str], parameters: Mapping[str, Mapping[str, Any]]) -> tuple[Method, ...]:
    """Return the named methods with their parameters, in the order of `METHODS`.

    Args:
        names: Names of methods.
        parameters: Keyword arguments by method name; a method without an entry gets its defaults.

    Returns:
        The methods.
    """
    requested = set(names)
    return tuple(method(**parameters.get(name, {})) for name, method in METHODS.items() if name in requested)
