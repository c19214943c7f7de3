"""Registry of scoring methods, one module per method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from masksift.scoring.methods.base import Method

METHODS: dict[str, str | type[Method]] = {
    "ccp": "ccp:CCP",
    "tccp": "tccp:TCCP",
    "cil": "cil:CIL",
    "softmin": "softmin:Softmin",
    "clc": "clc:CLC",
    "iou": "iou:IoU",
    "coco": "coco:CoCo",
    "omission": "omission:Omission",
    "class_agreement": "class_agreement:ClassAgreement",
}
"""Class of each method, or its path in this package: a configuration needs the names without the kernels."""

WORST_REGION = "worst_region"
"""Score made from the priority of the worst region of an image, when all images are scored."""
COMBINED = "combined"
"""Score made from the places of an image in the rankings by three scores, when all images are scored."""
COMBINED_SCORES = ("softmin", "class_agreement", WORST_REGION)


def score_names() -> tuple[str, ...]:
    """Return the names of all scores: the methods, `WORST_REGION` and `COMBINED`."""
    return *METHODS, WORST_REGION, COMBINED


def method_class(name: str) -> type[Method]:
    """Import the class of a method."""
    entry = METHODS[name]
    loaded: type[Method] = resolve_name(f"{__name__}.{entry}") if isinstance(entry, str) else entry
    return loaded


def make_methods(names: Iterable[str], parameters: Mapping[str, Mapping[str, Any]]) -> tuple[Method, ...]:
    """Return the named methods with their parameters, in the order of `METHODS`.

    Args:
        names: Names of methods.
        parameters: Keyword arguments by method name; a method without an entry gets its defaults.

    Returns:
        The methods.
    """
    requested = set(names)
    return tuple(method_class(name)(**parameters.get(name, {})) for name in METHODS if name in requested)
