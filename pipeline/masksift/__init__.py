"""Find mislabeled images and regions in semantic-segmentation data sets of any size, from any model's predictions.

Examples:
    Arrays in memory:

    >>> import masksift
    >>> audit = masksift.audit(labels, pred_probs)    # doctest: +SKIP
    >>> audit.ranking.slice(0, 10)                    # doctest: +SKIP

    Zarr sources of any size:

    >>> config = masksift.RunConfig(sources=["scenes.zarr"], out="results")    # doctest: +SKIP
    >>> masksift.run(config).record["counts"]                                  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from masksift.array_audit import Audit, audit
    from masksift.config.run import RunConfig
    from masksift.core.errors import DataError, Interrupted, MasksiftError, PlanRefused, RunFailed, UsageError
    from masksift.prepare.writers.base import condense
    from masksift.prepare.writers.evidence import EvidenceWriter
    from masksift.prepare.writers.predictions import PredictionWriter
    from masksift.runner import RunResult, plan, run

    __version__: str

__all__ = [
    "Audit",
    "DataError",
    "EvidenceWriter",
    "Interrupted",
    "MasksiftError",
    "PlanRefused",
    "PredictionWriter",
    "RunConfig",
    "RunFailed",
    "RunResult",
    "UsageError",
    "__version__",
    "audit",
    "condense",
    "plan",
    "run",
]

_MODULES = {
    **dict.fromkeys(("Audit", "audit"), "array_audit"),
    **dict.fromkeys(("RunResult", "plan", "run"), "runner"),
    **dict.fromkeys(
        ("DataError", "Interrupted", "MasksiftError", "PlanRefused", "RunFailed", "UsageError"), "core.errors"
    ),
    "RunConfig": "config.run",
    "condense": "prepare.writers.base",
    "EvidenceWriter": "prepare.writers.evidence",
    "PredictionWriter": "prepare.writers.predictions",
}
"""Module of each public name, imported on first access: `import masksift` and `masksift --help` start fast."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("masksift")
    elif name in _MODULES:
        value = getattr(importlib.import_module(f"masksift.{_MODULES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
