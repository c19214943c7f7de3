"""The second pass: what one worker does with the kept evidence of one block, in every setting at once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine.buffers import BufferPool
from masksift.engine.score_task import check_codes
from masksift.engine.task_outputs import sum_io_counters
from masksift.evaluation.sweep.work_items import (
    CLEAN,
    CONDENSE,
    SCORE,
    Stack,
    SweepContext,
    SweepTask,
    own_planes,
    packed,
    planes_of,
    product_of,
    reused,
    unpacked,
)
from masksift.scoring.image import EvidencePlanes, count_confident_pixels
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.methods import FlaggingRule, ScoringInput
from masksift.scoring.statistics.thresholds import ThresholdCodes
from masksift.storage.zarr.evidence import CLASSES, EVIDENCE, EvidenceArrays


def count_block(
    job: SweepContext, limits: Mapping[tuple[int, int], Mapping[Encoding, NDArray[np.int64]]], piece: SweepTask
) -> NDArray[np.int64]:
    """(kinds, shares): the block's share of M of clc in every setting, from its evidence of more than 8 bits."""
    found = np.zeros((len(job.kinds), job.shares), np.int64)
    kept = _Kept(job, piece)
    for image in kept.images():
        for (kind, share), by_encoding in limits.items():
            labels, own = image.seen(job, kind, share)
            planes = EvidencePlanes(own, image.predicted, image.confident)
            found[kind, share] += count_confident_pixels(labels, planes, by_encoding[piece.part.encoding])
    return found


# ---------------------------------------------------------------------------------------------------------- scoring


def score_block(
    job: SweepContext, limits: Mapping[Encoding, Mapping[tuple[int, int], ThresholdCodes]], piece: SweepTask
) -> TaskResult:
    """Every score of every image: once a variant, or once a setting where thresholds have a say; ``limits`` by
    precision and setting."""
    manifest, block = job.manifest(job.scored), piece.part.block
    if (done := manifest.load(SCORE, block.number)) is not None:
        return reused(done)
    begun, own = time.perf_counter(), limits[piece.part.encoding]
    kept = _Kept(job, piece)
    steady = np.full((len(job.variants), block.images, len(job.steady)), np.nan)
    thresholded = np.full((len(job.kinds), job.shares, block.images, len(job.thresholded)), np.nan)
    for image in kept.images():
        if job.steady:
            for number, variant in enumerate(job.variants):
                if variant in image.variants:
                    seen = image.as_seen(piece, image.variants[variant], own[0, 0], job.rule)
                    steady[number, image.place] = [method.score(seen) for method in job.steady.values()]
        if job.thresholded:
            for kind, share in np.ndindex(len(job.kinds), job.shares):
                seen = image.as_seen(piece, image.seen(job, kind, share), own[kind, share], job.rule)
                thresholded[kind, share, image.place] = [method.score(seen) for method in job.thresholded.values()]
    result = TaskResult(
        block.number,
        block.images,
        block.images * piece.part.spec.pixels,
        {SCORED: int(kept.scored.sum())},
        **sum_io_counters(kept, manifest, puts=1),
        seconds=time.perf_counter() - begun,
    )
    scores = packed(scored=kept.scored, changed=kept.changed, steady=steady, thresholded=thresholded)
    manifest.save(SCORE, block.number, {"scores": scores, "result": json.dumps(asdict(result)).encode()})
    return result


Seen = tuple[NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]]
"""Labels (H, W) and the codes of their self-confidence."""


@dataclass(frozen=True)
class _Image:
    """What was kept of an image. ``place``: in its block; ``joined``: with which share it gets the error of each kind;
    ``variants``: those that there are."""

    place: int
    joined: NDArray[np.int16]
    variants: Mapping[str, Seen]
    predicted: NDArray[np.unsignedinteger]
    confident: NDArray[np.unsignedinteger]

    def seen(self, job: SweepContext, kind: int, share: int) -> Seen:
        """What a setting sees: the error, where there is one and the share has reached the image, or the labels as
        they are."""
        wrong = self.joined[kind] <= share and job.kinds[kind] in self.variants
        return self.variants[job.kinds[kind] if wrong else CLEAN]

    def as_seen(self, piece: SweepTask, seen: Seen, limits: ThresholdCodes, rule: FlaggingRule) -> ScoringInput:
        """As a score sees it."""
        labels, own = seen
        return ScoringInput(labels, self.predicted, own, self.confident, piece.part.spec.classes, limits, rule)


class _Kept:
    """What `condense_block` kept of a block, as it is read again. ``scored`` (n,), ``changed`` (kinds, n): as in
    `Scores`."""

    def __init__(self, job: SweepContext, piece: SweepTask) -> None:
        self._job, self._piece = job, piece
        product = product_of(job.manifest(job.condensed), CONDENSE, piece.part.block.number)
        facts = unpacked(product["facts"])
        self.scored: NDArray[np.bool_] = facts["scored"]
        self.changed: NDArray[np.float64] = facts["changed"]
        self._arrays = EvidenceArrays(piece.part.evidence_location.evidence_url, job.options)
        self._names = planes_of(job, piece.part.spec, piece.part.encoding.dtype)

    @property
    def io_counters(self) -> Counter[str]:
        """What it took of the store, by field name of `TaskResult`."""
        return self._arrays.io_counters

    def images(self) -> Iterator[_Image]:
        """Every image that was not quarantined, in order."""
        part, memory, start = self._piece.part, BufferPool(), self._piece.part.block.start
        groups = list(part.layout.chunk_ranges(start, part.block.stop))
        for name in self._names:
            self._arrays.prefetch(name, groups)
        for first, last in groups:
            planes = {name: self._read(name, first, last, memory) for name in self._names}
            for i in (i for i in range(last - first) if self.scored[first - start + i]):
                place = first - start + i
                there = [CLEAN, *(k for k, share in zip(self._job.kinds, self.changed[:, place], strict=True) if share)]
                variants = {v: (planes[own_planes(v)[0]][i], planes[own_planes(v)[1]][i]) for v in there}
                predicted, confident = planes[CLASSES][i], planes[EVIDENCE[2]][i]
                yield _Image(place, self._piece.joined[:, place], variants, predicted, confident)

    def _read(self, name: str, start: int, stop: int, memory: BufferPool) -> Stack:
        spec, encoding = self._piece.part.spec, self._piece.part.encoding
        shape = (stop - start, spec.height, spec.width)
        planes: Stack = self._arrays.read(name, start, stop, memory.get(name, shape, self._names[name]))
        if name.endswith("_labels"):
            return planes  # the largest number there is has its meaning: it is ignored
        if name != CLASSES:
            planes = encoding.codes(planes)
        check_codes(name, planes, spec.classes - 1 if name == CLASSES else encoding.top, spec, start)
        return planes
