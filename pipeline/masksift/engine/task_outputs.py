"""Outputs of tasks: what each stage stores per block, and how the next stage loads it."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from masksift.core.status import Verdict
from masksift.core.task_result import Receipt
from masksift.engine.work_items import Job, Part
from masksift.scoring.statistics.class_statistics import ClassStatistics, Statistics
from masksift.storage.manifest import Manifest
from masksift.storage.zarr.reader import ArrayReader

__all__ = ["CONDENSE", "SCORE", "PairCounts", "condensed_product", "load_pairs", "load_statistics", "used_by"]

CONDENSE, SCORE = "condense", "score"


@dataclass(frozen=True)
class PairCounts:
    """Flagged pixels, and images that hold any, by given and predicted class: (K, K) int64 each."""

    pixels: NDArray[np.int64]
    images: NDArray[np.int64]

    def merge(self, other: PairCounts) -> PairCounts:
        return PairCounts(self.pixels + other.pixels, self.images + other.images)


class _User(Protocol):
    """Whoever counts what went over a store, by the names of a receipt."""

    @property
    def used(self) -> Counter[str]: ...


def used_by(*users: _User, puts: int = 0) -> dict[str, Any]:
    """What they all took of their stores; ``puts``: objects that are still to be put."""
    return dict(sum((user.used for user in users), Counter(puts=puts)))


def condensed_product(statistics: ClassStatistics, verdicts: Sequence[Verdict], receipt: Receipt) -> dict[str, bytes]:
    """What is kept of a block beside its evidence."""
    return {
        "statistics": statistics.to_bytes(),
        "verdicts": json.dumps([asdict(verdict) for verdict in verdicts]).encode(),
        "receipt": json.dumps(asdict(receipt)).encode(),
    }


def load_statistics(job: Job, part: Part) -> Statistics:
    """The statistics that `condense_block` kept of the block."""
    return Statistics((ClassStatistics.from_bytes(_condensed(job, part)["statistics"]),))


def load_pairs(job: Job, number: int) -> PairCounts:
    """The class pairs that `score_block` kept of the block of that number."""
    with np.load(io.BytesIO(_product(job.scored(), SCORE, number)["pairs"]), allow_pickle=False) as archive:
        return PairCounts(archive["pixels"], archive["images"])


def open_labels(job: Job, part: Part) -> ArrayReader:
    return ArrayReader(part.spec.labels, job.options, absent_is_missing=part.spec.fill_is_missing)


def load_statuses(job: Job, part: Part) -> list[Verdict]:
    """The verdicts that `condense_block` kept, an image each."""
    return [Verdict(**verdict) for verdict in json.loads(_condensed(job, part)["verdicts"])]


def _condensed(job: Job, part: Part) -> dict[str, bytes]:
    return _product(job.condensed(part.home), CONDENSE, part.place)


def _product(manifest: Manifest, stage: str, number: int) -> dict[str, bytes]:
    product = manifest.load(stage, number)
    if product is None:
        raise FileNotFoundError(f"block {number} of stage {stage!r} has no product in {manifest.url}: it was removed")
    return product


def reused_result(product: Mapping[str, bytes]) -> Receipt:
    return replace(Receipt(**json.loads(product["receipt"])), reused=True)
