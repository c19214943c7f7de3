"""Confidence in label."""

from __future__ import annotations

from dataclasses import dataclass

from masksift.methods.base import Image

__all__ = ["CIL"]


@dataclass(frozen=True)
class CIL:
    """Mean over the valid pixels of the self-confidence s; lower = worse. Source: the paper
    (Lad & Mueller 2023, arXiv 2307.05080)."""

    name = "cil"

    def score(self, image: Image) -> float:
        return float(sum(image.tally.sums) * image.encoding.unit / image.tally.valid)
