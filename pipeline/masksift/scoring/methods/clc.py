"""Confident learning counts."""

from __future__ import annotations

from dataclasses import dataclass

from masksift.scoring.methods.base import ScoringInput


@dataclass(frozen=True)
class CLC:
    """1 - the share of the valid pixels that confident learning flags (`Image.issue_mask`); lower = worse.

    Source: the paper (Lad & Mueller 2023, arXiv 2307.05080). The flags follow cleanlab's global rule, but
    equal pixels get equal verdicts: all ties at the cut are flagged.
    """

    name = "clc"

    def score(self, image: ScoringInput) -> float:
        flagged = int(image.flagged_pairs.sum())
        return 1 - flagged / image.counts.valid
