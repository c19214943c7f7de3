"""Confident learning counts."""

from __future__ import annotations

from dataclasses import dataclass

from masksift.scoring.methods.base import ScoringInput


@dataclass(frozen=True)
class CLC:
    """1 - the share of the valid pixels that confident learning flags; lower = worse.

    Source: the paper (Lad & Mueller 2023, arXiv 2307.05080). The flags follow cleanlab's global rule, except that all
        ties at the cut are flagged: cleanlab breaks them by the order of the array.
    """

    name = "clc"
    uses_thresholds = True

    def score(self, image: ScoringInput) -> float:
        """Return the score of an image."""
        flagged = int(image.flagged_pairs.sum())
        return 1 - flagged / image.valid_pixels
