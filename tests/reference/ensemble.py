"""Reference for ensembles: the mean of the members, in plain numpy.

Everything else equals `reference` of the mean. The module imports nothing of the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reference import audit as reference
from reference.evidence import Array, bad_probabilities, probabilities, softmax, storage_of, tolerance_of

__all__ = ["audit", "mean_of"]


def as_float32(member: Array, kind: str) -> Array:
    """Probabilities (K, H, W) in float32, in [0, 1]."""
    if kind == "logits":
        return softmax(member)
    values = member.astype(np.float32)
    if member.dtype.kind == "u":
        values = values * np.float32(1 / np.iinfo(member.dtype).max)
    return np.clip(values, 0, 1)


def mean_of(members: Sequence[Array], kind: str = "probabilities") -> Array:
    """Mean (K, H, W) of one image's members: a float32 sum in their order, divided by their number."""
    total = as_float32(members[0], kind)
    for member in members[1:]:
        total = total + as_float32(member, kind)
    return np.asarray(total / np.float32(len(members)))


def is_bad(member: Array, kind: str) -> bool:
    """Return whether a member has invalid probabilities for one image, as for a single prediction."""
    storage = storage_of(member.dtype, None, kind, "auto")
    with np.errstate(invalid="ignore", over="ignore"):
        return bad_probabilities(probabilities(member, kind, storage), tolerance_of(None, storage, len(member)))


def audit(
    members: Sequence[Array],
    labels: Array,
    *,
    ignore: Sequence[int] = (255,),
    kind: str = "probabilities",
    **options: Any,
) -> reference.Reference:
    """Everything about a small data set: members (N, K, H, W) each, labels (N, H, W). Options: `reference.audit`'s."""
    classes, means = members[0].shape[1], []
    for one in zip(*members, strict=True):
        lost = any(is_bad(member, kind) for member in one)
        means.append(np.full(one[0].shape, np.nan, np.float32) if lost else mean_of(one, kind))
    return reference.audit(np.array(means), labels, ignore=ignore, sum_tolerance=float(classes), **options)
