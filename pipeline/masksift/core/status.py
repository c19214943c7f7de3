"""Statuses of an image after validation."""

from __future__ import annotations

from dataclasses import dataclass

SCORED = "scored"
MISSING_CHUNK = "missing_chunk"
UNREADABLE = "unreadable"
BAD_LABELS = "bad_labels"
BAD_PROBABILITIES = "bad_probabilities"
ALL_IGNORED = "all_ignored"

STATUSES = (SCORED, MISSING_CHUNK, UNREADABLE, BAD_LABELS, BAD_PROBABILITIES, ALL_IGNORED)
"""All statuses. An image with several problems gets the first of them after `scored`."""


@dataclass(frozen=True)
class ImageStatus:
    """Status of one image; if it is not `scored`, with the reason, and the likely cause and its remedy."""

    status: str = SCORED
    reason: str | None = None
    advice: str | None = None
