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

from masksift.core.status import ImageStatus
from masksift.core.task_result import TaskResult
from masksift.engine.work_items import BlockTask, RunContext
from masksift.scoring.statistics.class_statistics import ClassStatistics, Statistics
from masksift.storage.manifest import Manifest
from masksift.storage.zarr.reader import ArrayReader

CONDENSE, SCORE = "condense", "score"


@dataclass(frozen=True)
class PairCounts:
    """Flagged pixels, and images that hold any, by given and predicted class: (K, K) int64 each."""

    pixels: NDArray[np.int64]
    images: NDArray[np.int64]

    def merge(self, other: PairCounts) -> PairCounts:
        return PairCounts(self.pixels + other.pixels, self.images + other.images)


class HasIOCounters(Protocol):
    """Whoever counts what went over a store, by field name of `TaskResult`."""

    @property
    def io_counters(self) -> Counter[str]: ...


def sum_io_counters(*users: HasIOCounters, puts: int = 0) -> dict[str, Any]:
    """What they all took of their stores; ``puts``: objects that are still to be put."""
    return dict(sum((user.io_counters for user in users), Counter(puts=puts)))


def pack_condense_output(
    statistics: ClassStatistics, verdicts: Sequence[ImageStatus], result: TaskResult
) -> dict[str, bytes]:
    """What is kept of a block beside its evidence."""
    return {
        "statistics": statistics.to_bytes(),
        "statuses": json.dumps([asdict(verdict) for verdict in verdicts]).encode(),
        "result": json.dumps(asdict(result)).encode(),
    }


def load_statistics(job: RunContext, part: BlockTask) -> Statistics:
    """The statistics that `condense_block` kept of the block."""
    return Statistics((ClassStatistics.from_bytes(_condensed(job, part)["statistics"]),))


def load_pair_counts(job: RunContext, number: int) -> PairCounts:
    """The class pairs that `score_block` kept of the block of that number."""
    with np.load(io.BytesIO(_product(job.score_manifest(), SCORE, number)["pairs"]), allow_pickle=False) as archive:
        return PairCounts(archive["pixels"], archive["images"])


def open_labels(job: RunContext, part: BlockTask) -> ArrayReader:
    return ArrayReader(part.spec.labels, job.options, absent_is_missing=part.spec.absent_labels_are_missing)


def load_statuses(job: RunContext, part: BlockTask) -> list[ImageStatus]:
    """The verdicts that `condense_block` kept, an image each."""
    return [ImageStatus(**verdict) for verdict in json.loads(_condensed(job, part)["statuses"])]


def _condensed(job: RunContext, part: BlockTask) -> dict[str, bytes]:
    return _product(job.condense_manifest(part.evidence_location), CONDENSE, part.evidence_block)


def _product(manifest: Manifest, stage: str, number: int) -> dict[str, bytes]:
    product = manifest.load(stage, number)
    if product is None:
        raise FileNotFoundError(f"block {number} of stage {stage!r} has no product in {manifest.url}: it was removed")
    return product


def reused_result(product: Mapping[str, bytes]) -> TaskResult:
    return replace(TaskResult(**json.loads(product["result"])), reused=True)
