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
"""What can be said of an image. Where several hold, the first that is named here after `scored` is given."""


@dataclass(frozen=True)
class ImageStatus:
    """What is said of one image: a status and, where it is not `scored`, the sentence why."""

    status: str = SCORED
    reason: str | None = None
