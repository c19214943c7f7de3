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

from importlib.metadata import version

from masksift.audit import Audit, audit
from masksift.config.run import RunConfig
from masksift.core.errors import DataError, Interrupted, MasksiftError, PlanRefused, RunFailed, UsageError
from masksift.prepare.writers.base import condense
from masksift.prepare.writers.evidence import EvidenceWriter
from masksift.prepare.writers.predictions import PredictionWriter
from masksift.run import RunResult, plan, run

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

__version__ = version("masksift")
