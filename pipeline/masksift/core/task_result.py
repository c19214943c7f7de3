"""Result of one task: counters that the client adds up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from masksift.core.status import SCORED


@dataclass
class TaskResult:
    """Counters of one task, a few hundred bytes.

    Attributes:
        number: Number of the block.
        images: Images of the block.
        pixels: Pixels of the block.
        counts: Images by status.
        bytes_read: Bytes read from stores, as stored.
        bytes_written: Bytes written to stores, as stored.
        requests: Read requests to stores.
        puts: Write requests to stores.
        repeated: Retries of failed requests.
        seconds: Run time of the task.
        reused: An earlier attempt had finished this block.
        causes: Causes of quarantined images; see `engine.quarantine.Causes`.
    """

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
    causes: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def quarantined(self) -> int:
        """Images without a score."""
        return self.images - self.counts.get(SCORED, 0)
