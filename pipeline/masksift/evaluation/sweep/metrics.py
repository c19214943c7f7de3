"""Compute the metrics of `masksift evaluate` for every setting of a sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core import signals
from masksift.evaluation.evaluate.score_evaluation import ScoreEvaluation, evaluate_score
from masksift.evaluation.sweep.config import ScoreColumn
from masksift.evaluation.sweep.work_items import Scores
from masksift.scoring.methods import COMBINED_SCORES, WORST_REGION, score_names
from masksift.scoring.ranking import combined_scores


@dataclass(frozen=True)
class SweepScores:
    """Scores of all N images of a data set, and the first share (error types, N) with which each gets an error.

    ``by_region`` (error types, shares, N) is the score by the worst region.

    The client holds them, 8 bytes per number: ten scores of seven variants and two scores of thirty settings take a
    kilobyte per image.
    """

    scores: Scores
    first_share: NDArray[np.int16]
    by_region: NDArray[np.float64]

    @classmethod
    def concatenate(
        cls, blocks: Sequence[Scores], first_shares: Sequence[NDArray[np.int16]], by_region: NDArray[np.float64]
    ) -> SweepScores:
        """Concatenate the scores of all blocks, in order; ``by_region`` (error types, shares, N) of their regions."""
        scores = Scores(
            np.concatenate([block.scored for block in blocks]),
            np.concatenate([block.changed for block in blocks], axis=1),
            np.concatenate([block.by_variant for block in blocks], axis=1),
            np.concatenate([block.by_setting for block in blocks], axis=2),
        )
        return cls(scores, np.concatenate(list(first_shares), axis=1), by_region)

    def errors(self, error_type: int, share: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Wrong images, and shares of their wrong pixels, among the ranked images of a setting, (n,) each."""
        changed = self.scores.changed[error_type][self.scores.scored]
        wrong = (self.first_share[error_type][self.scores.scored] <= share) & (changed > 0)
        return wrong, np.where(wrong, changed, 0.0)

    def columns(
        self,
        error_type: int,
        share: int,
        image_columns: Sequence[ScoreColumn],
        threshold_columns: Sequence[ScoreColumn],
        table_columns: Sequence[ScoreColumn],
    ) -> dict[ScoreColumn, NDArray[np.float64]]:
        """Scores (n,) of the ranked images in a setting, in the order of `score_names`."""
        ranked, (wrong, _) = self.scores.scored, self.errors(error_type, share)
        clean, corrupted = self.scores.by_variant[0][ranked], self.scores.by_variant[1 + error_type][ranked]
        values: list[NDArray[np.float64]] = [
            *np.where(wrong[:, None], corrupted, clean).T,
            *self.scores.by_setting[error_type, share][ranked].T,
        ]
        by_column = dict(zip([*image_columns, *threshold_columns], values, strict=True))
        softmin, agreement, _ = COMBINED_SCORES
        region = self.by_region[error_type, share][ranked]
        for name, temperature in table_columns:
            by_column[name, temperature] = (
                region
                if name == WORST_REGION
                else combined_scores([by_column[softmin, temperature], by_column[agreement, None], region])[0]
            )
        order = score_names()
        return {c: by_column[c] for c in sorted(by_column, key=lambda c: (order.index(c[0]), c[1] or 0))}


def measure_settings(
    images: SweepScores,
    error_types: Sequence[str],
    shares: Sequence[float],
    image_columns: Sequence[ScoreColumn],
    threshold_columns: Sequence[ScoreColumn],
    table_columns: Sequence[ScoreColumn],
    at: str | int,
) -> list[dict[str, Any]]:
    """Compute the rows of the result table, ordered by error type, share and score."""
    rows = []
    for error_type, share in np.ndindex(len(error_types), len(shares)):
        wrong, pixels = images.errors(error_type, share)
        for (method, temperature), scores in images.columns(
            error_type, share, image_columns, threshold_columns, table_columns
        ).items():
            signals.raise_if_interrupted()
            setting = {
                "kind": error_types[error_type],
                "share": shares[share],
                "method": method,
                "temperature": temperature,
                "images": len(wrong),
                "errors": int(wrong.sum()),
                "at": str(at),
            }
            rows.append(setting | _metric_columns(evaluate_score(scores, wrong, pixels, (at,)), str(at)))
    return rows


def _metric_columns(evaluation: ScoreEvaluation, at: str) -> dict[str, Any]:
    """Metrics by table column, None if undefined, and the reasons."""
    keys = {
        "auroc": ("auroc", ""),
        "auprc": ("average_precision", ""),
        "kendall_tau": ("kendall_tau", ""),
        **{name: (name, at) for name in ("precision", "lift", "recall")},
    }
    values = {name: evaluation.values[key] for name, key in keys.items()}
    reasons = dict.fromkeys(evaluation.reasons[key] for key in keys.values() if key in evaluation.reasons)
    return {name: value if math.isfinite(value) else None for name, value in values.items()} | {
        "note": "; ".join(reasons) or None
    }
