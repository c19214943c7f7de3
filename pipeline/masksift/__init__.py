"""masksift finds mislabeled images and regions in semantic-segmentation data sets of any size, from the predictions
of any trained model.

    >>> import masksift
    >>> audit = masksift.audit(labels, pred_probs)    # doctest: +SKIP
    >>> audit.ranking.slice(0, 10)                    # doctest: +SKIP
"""

from __future__ import annotations

from importlib.metadata import version

from masksift.audit import Audit, audit
from masksift.core.errors import DataError, Interrupted, MasksiftError, PlanRefused, RunFailed, UsageError
from masksift.prepare.writers.base import condense
from masksift.prepare.writers.evidence import EvidenceWriter
from masksift.prepare.writers.predictions import PredictionWriter

__all__ = [
    "Audit",
    "DataError",
    "EvidenceWriter",
    "Interrupted",
    "MasksiftError",
    "PlanRefused",
    "PredictionWriter",
    "RunFailed",
    "UsageError",
    "__version__",
    "audit",
    "condense",
]

__version__ = version("masksift")
