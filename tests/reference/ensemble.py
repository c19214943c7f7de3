"""The yardstick for ensembles: the mean of the members, their votes, and the score that uses both, in plain loops.

Everything else of an ensemble is what `reference` says of the mean. It imports nothing of the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reference import audit as reference
from reference.evidence import Array, bad_probabilities, probabilities, softmax, storage_of, tolerance_of
from reference.scores import consensus

__all__ = ["Ensemble", "audit", "mean_of"]


@dataclass(frozen=True)
class Ensemble:
    """What is known of the mean, and beside it of each image the votes against the label and the score."""

    of_mean: reference.Reference
    votes_against: Array  # (N, H, W); 0 on ignored pixels and in bad images
    consensus: list[float | None]


def as_float32(member: Array, kind: str) -> Array:
    """Probabilities (K, H, W) in float32, in [0, 1]."""
    if kind == "logits":
        return softmax(member)
    values = member.astype(np.float32)
    if member.dtype.kind == "u":
        values = values * np.float32(1 / np.iinfo(member.dtype).max)
    return np.clip(values, 0, 1)


def mean_of(members: Sequence[Array], kind: str = "probabilities") -> Array:
    """The mean (K, H, W) of one image's members, added in their order in float32, then divided."""
    total = as_float32(members[0], kind)
    for member in members[1:]:
        total = total + as_float32(member, kind)
    return np.asarray(total / np.float32(len(members)))


def is_bad(member: Array, kind: str) -> bool:
    """Whether one image of one member holds no probabilities, as for a single prediction."""
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
) -> Ensemble:
    """Everything about a small data set: members (N, K, H, W) each, labels (N, H, W). Options: `reference.audit`'s."""
    classes, means = members[0].shape[1], []
    for one in zip(*members, strict=True):
        lost = any(is_bad(member, kind) for member in one)
        means.append(np.full(one[0].shape, np.nan, np.float32) if lost else mean_of(one, kind))
    found = reference.audit(np.array(means), labels, ignore=ignore, sum_tolerance=float(classes), **options)
    votes, scores = np.zeros(labels.shape, np.uint8), list[float | None]()
    for i, status in enumerate(found.status):
        here = [(y, x) for y, x in np.ndindex(*labels.shape[1:]) if labels[i, y, x] not in ignore]
        if status != reference.OK:
            scores.append(None)
            continue
        for y, x in here:
            for member in members:
                pixel = (softmax(member[i]) if kind == "logits" else member[i])[:, y, x].tolist()
                votes[i, y, x] += pixel.index(max(pixel)) != labels[i, y, x]
        s = [float(found.self_confidence[i, y, x]) for y, x in here]
        scores.append(consensus(s, [int(votes[i, y, x]) for y, x in here], len(members)))
    return Ensemble(found, votes, scores)
