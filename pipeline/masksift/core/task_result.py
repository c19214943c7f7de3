"""Result of one task: counters that the client sums up."""

from __future__ import annotations

from dataclasses import dataclass

from masksift.core.status import (
    SCORED,
)


@dataclass
class TaskResult:
    """What a task answers: kilobytes at most. ``counts``: images by status; ``bytes_read``, ``bytes_written``: as
    stored; ``requests``, ``puts``: objects, or parts of them, asked of stores and put there; ``repeated``: requests
    that a store did not answer, and that were made again; ``seconds``: inside the task; ``reused``: it was done
    before."""

    number: int
    images: int
    pixels: int
    counts: dict[str, int]
    bytes_read: int = 0
    bytes_written: int = 0
    requests: int = 0
    puts: int = 0
    repeated: int = 0
    seconds: float = 0.0
    reused: bool = False

    @property
    def quarantined(self) -> int:
        return self.images - self.counts.get(SCORED, 0)
