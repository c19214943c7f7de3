"""Scores of all variants -> a row of figures a setting and score: those of `masksift evaluate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core import signals as interruption
from masksift.evaluation.evaluate.score_evaluation import ScoreEvaluation, evaluate_score
from masksift.evaluation.sweep.config import Column
from masksift.evaluation.sweep.work_items import Scores
from masksift.scoring.methods import METHODS


@dataclass(frozen=True)
class Images:
    """The scores of all N images of the data set: as in `Scores`, and ``joined`` (kinds, N).

    The client holds them, 8 bytes a number: ten scores of seven variants and two of thirty settings are a kilobyte an
    image.
    """

    scores: Scores
    joined: NDArray[np.int16]

    @classmethod
    def of(cls, blocks: Sequence[Scores], joined: Sequence[NDArray[np.int16]]) -> Images:
        """Those of all blocks, in order."""
        scores = Scores(
            np.concatenate([block.scored for block in blocks]),
            np.concatenate([block.changed for block in blocks], axis=1),
            np.concatenate([block.steady for block in blocks], axis=1),
            np.concatenate([block.thresholded for block in blocks], axis=2),
        )
        return cls(scores, np.concatenate(list(joined), axis=1))

    def seen(self, kind: int, share: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """What a setting has of the images that are ranked, (n,) each: which are wrong, and the share of their wrong
        pixels."""
        changed = self.scores.changed[kind][self.scores.scored]
        wrong = (self.joined[kind][self.scores.scored] <= share) & (changed > 0)
        return wrong, np.where(wrong, changed, 0.0)

    def columns(
        self, kind: int, share: int, steady: Sequence[Column], thresholded: Sequence[Column]
    ) -> dict[Column, NDArray[np.float64]]:
        """The scores of these images in a setting, (n,) each, in the order of `METHODS`."""
        ranked, (wrong, _) = self.scores.scored, self.seen(kind, share)
        own = np.where(wrong[:, None], self.scores.steady[1 + kind][ranked], self.scores.steady[0][ranked])
        other = self.scores.thresholded[kind, share][ranked]
        found = dict(zip([*steady, *thresholded], [*own.T, *other.T], strict=True))
        order = list(METHODS)
        return {column: found[column] for column in sorted(found, key=lambda c: (order.index(c[0]), c[1] or 0))}


def measure(
    images: Images,
    kinds: Sequence[str],
    shares: Sequence[float],
    steady: Sequence[Column],
    thresholded: Sequence[Column],
    at: str | int,
) -> list[dict[str, Any]]:
    """The rows of the table, by kind, share and score."""
    rows = []
    for kind, share in np.ndindex(len(kinds), len(shares)):
        wrong, pixels = images.seen(kind, share)
        for (method, temperature), scores in images.columns(kind, share, steady, thresholded).items():
            interruption.raise_if_interrupted()
            setting = {"kind": kinds[kind], "share": shares[share], "method": method, "temperature": temperature}
            facts = {"images": len(wrong), "errors": int(wrong.sum()), "at": str(at)}
            rows.append(setting | facts | _figures(evaluate_score(scores, wrong, pixels, (at,)), str(at)))
    return rows


def _figures(found: ScoreEvaluation, at: str) -> dict[str, Any]:
    """The figures of a score by column of the table, None where there is none, and why."""
    keys = {
        "auroc": ("auroc", ""),
        "auprc": ("average_precision", ""),
        "kendall_tau": ("kendall_tau", ""),
        **{name: (name, at) for name in ("precision", "lift", "recall")},
    }
    values = {name: found.values[key] for name, key in keys.items()}
    known = {name: value if math.isfinite(value) else None for name, value in values.items()}
    reasons = dict.fromkeys(found.reasons[key] for key in keys.values() if key in found.reasons)
    return known | {"note": "; ".join(reasons) or None}
