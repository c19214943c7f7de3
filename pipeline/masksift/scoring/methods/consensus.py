"""Consensus: softmin, where a label is doubted only so far as the members of the ensemble vote against it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from masksift.scoring.methods.base import ScoringInput

TEMPERATURE = 0.1


@dataclass(frozen=True)
class Consensus:
    """sum c w / sum w over the valid pixels with w = exp((min c - c) / 0.1) and 1 - c = (1 - s) b; lower = worse.

    s: the self-confidence of the members' mean; b: the share of members that predict another class than the label. The
    doubt of the mean counts in full where all members agree that the label is wrong, and not at all where each of them
    predicts it: members at odds are weaker evidence than members of one mind. This project's own score; its weights are
    those of softmin (Lad & Mueller 2023, arXiv 2307.05080). Measured (README), it finds errors about as well as softmin
    of the mean and no better: a second opinion, not a replacement.
    """

    name = "consensus"

    def score(self, image: ScoringInput) -> float:
        assert image.votes_against is not None, "only an ensemble has votes"
        valid, encoding, votes = image.valid, image.encoding, image.members + 1
        codes, against = image.self_confidence_codes[valid], image.votes_against[valid]
        times: np.ndarray | int = 1
        if encoding.dtype != "float32":  # few enough pairs of a code and a number of votes to be counted
            pairs = np.bincount(codes.astype(np.int64) * votes + against)
            there = np.flatnonzero(pairs)
            times = pairs[there]
            codes, against = np.divmod(there, votes)
        values = 1 - (1 - encoding.values(codes)) * (against / image.members)
        weights = np.exp((values.min() - values) / TEMPERATURE) * times
        return float((weights * values).sum() / weights.sum())
