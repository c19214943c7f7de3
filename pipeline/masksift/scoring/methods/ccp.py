"""Correctly classified pixels."""

from __future__ import annotations

from dataclasses import dataclass

from masksift.scoring.methods.base import ImageEvidence


@dataclass(frozen=True)
class CCP:
    """Mean over the valid pixels of [predicted class = label]; lower = worse.

    Source: the paper (Lad & Mueller 2023, arXiv 2307.05080).
    """

    name = "ccp"
    uses_thresholds = False

    def score(self, image: ImageEvidence) -> float:
        """Return the score of an image."""
        return int(image.statistics.joint.trace()) / image.valid_pixels
