"""The first pass: what one worker does with the predictions of one block, under several labels each.

A task whose product exists is done, as in `masksift.engine.tasks`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.status import SCORED, ImageStatus
from masksift.core.task_result import TaskResult
from masksift.engine.block_io import iter_prediction_windows, prefetch_block, read_labels
from masksift.engine.buffers import BufferPool
from masksift.engine.task_outputs import sum_io_counters
from masksift.evaluation.simulate.error_types import apply_error
from masksift.evaluation.simulate.sampling import image_rng
from masksift.evaluation.sweep.work_items import (
    CLEAN,
    CONDENSE,
    Bucket,
    Stack,
    SweepContext,
    SweepTask,
    own_planes,
    packed,
    planes_of,
    product_of,
    reused,
)
from masksift.scoring.image import EvidencePlanes, ImageCondenser
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.statistics.class_statistics import ClassStatistics, Statistics
from masksift.storage.zarr.evidence import CLASSES, EVIDENCE, EvidenceArrays
from masksift.storage.zarr.per_image import image_sizes
from masksift.storage.zarr.reader import ArrayReader


def condense_block(job: SweepContext, piece: SweepTask) -> TaskResult:
    """Read the block's predictions once; keep the evidence of every variant, and what it adds to the statistics."""
    part, block = piece.part, piece.part.block
    manifest = job.manifest(job.condensed)
    if (done := manifest.load(CONDENSE, block.number)) is not None:
        return reused(done)
    begun, spec = time.perf_counter(), part.spec
    predictions = ArrayReader(spec.predictions, job.options)
    labels = ArrayReader(spec.labels, job.options, absent_is_missing=spec.absent_labels_are_missing)
    evidence = EvidenceArrays(part.evidence_location.evidence_url, job.options)
    memory, sizes = BufferPool(), image_sizes(spec, block.start, block.stop, job.options)
    prefetch_block(spec, part.layout, [predictions], labels, block.start, block.stop)
    sums: dict[Bucket, ClassStatistics] = {(CLEAN, 0): ClassStatistics.empty(part.condense_config(job.lattice))}
    statuses: list[str] = []
    changed = np.zeros((len(job.kinds), block.images))
    for start, stop in part.layout.chunk_ranges(block.start, block.stop):
        own = slice(start - block.start, stop - block.start)
        group = _Group(job, piece, memory, start, stop, sizes[own])
        verdicts = group.condense(predictions, labels)
        for i, verdict in enumerate(verdicts):
            statuses.append(verdict.status)
            changed[:, start - block.start + i] = group.changed[:, i]
            for bucket, state in group.added(i).items():
                sums[bucket] = sums[bucket].merge(state) if bucket in sums else state
        for name, planes in group.stored().items():
            evidence.write(name, start, planes)
    result = TaskResult(
        block.number,
        block.images,
        block.images * spec.pixels,
        dict(Counter(statuses)),
        **sum_io_counters(predictions, labels, evidence, manifest, puts=1),
        seconds=time.perf_counter() - begun,
    )
    facts = packed(scored=np.array([status == SCORED for status in statuses]), changed=changed)
    states = {f"{kind}-{number}": state.to_bytes() for (kind, number), state in sums.items()}
    manifest.save(CONDENSE, block.number, {**states, "facts": facts, "result": json.dumps(asdict(result)).encode()})
    return result


class _Group:
    """A group of images as it is condensed: the planes of all variants, whose memory is used again."""

    def __init__(
        self, job: SweepContext, piece: SweepTask, memory: BufferPool, start: int, stop: int, sizes: NDArray[np.int64]
    ) -> None:
        self._job, self._piece, self._memory = job, piece, memory
        self._start, self._stop, self._sizes = start, stop, sizes
        part = piece.part
        self._recipe, self._shape = part.condense_config(job.lattice), (stop - start, part.spec.height, part.spec.width)
        codes, classes = self._recipe.evidence.codes_dtype, class_dtype(part.spec.classes)
        self._planes: dict[str, Stack] = {}
        for name, dtype in planes_of(job, part.spec, codes.name).items():
            self._planes[name] = memory.get(name, self._shape, dtype)
            self._planes[name][...] = 0  # what is no image's own, or of no variant, is the same on any worker
        self._ignored = np.iinfo(classes).max
        self.changed = np.zeros((len(job.kinds), stop - start))
        self._statistics: list[dict[str, ClassStatistics]] = [{} for _ in range(stop - start)]

    def condense(self, predictions: ArrayReader, labels: ArrayReader) -> list[ImageStatus]:
        """A verdict on each image."""
        part = self._piece.part
        given, verdicts = read_labels(part.spec, labels, self._memory, self._start, self._stop, self._sizes)
        variants = {
            i: self._variants(i - self._start, given[i - self._start])
            for i in range(self._start, self._stop)
            if i not in verdicts
        }
        walk = iter_prediction_windows(
            part.spec, part.layout, [predictions], self._memory, self._start, self._sizes, verdicts
        )
        for window, _, i, slab in walk:
            for condensing in variants[i].values():
                condensing.add_window(slab, window.y0, window.x0)
        for i, some in variants.items():
            if i in verdicts:
                continue
            for variant, condensing in some.items():
                verdict, statistics = condensing.finish()
                if statistics is not None:
                    self._statistics[i - self._start][variant] = statistics
                verdicts.setdefault(i, verdict)  # of predictions: the same of every variant
        answers = [verdicts[i] for i in range(self._start, self._stop)]
        for i, verdict in enumerate(answers):
            if verdict.status != SCORED:
                self.changed[:, i] = 0
                for planes in self._planes.values():
                    planes[i] = 0
        return answers

    def _variants(self, i: int, given: NDArray[np.unsignedinteger]) -> dict[str, ImageCondenser]:
        """The variants that there are of the image, by name, ready to take in predictions."""
        spec = self._piece.part.spec
        own = tuple(slice(0, int(side)) for side in self._sizes[i])
        found = {CLEAN: given}
        valid = int(np.count_nonzero(given != self._ignored))
        index, place = self._start + i, self._start + i - self._piece.part.block.start
        for number, setting in enumerate(self._piece.settings):
            if not valid or self._piece.joined[number, place] >= self._job.shares:
                continue
            plane = np.ascontiguousarray(given[own])
            drawn = apply_error(plane, image_rng(self._job.seed, setting.error_type, spec.name, index), setting)
            if drawn is not None:
                found[setting.error_type] = given.copy()
                found[setting.error_type][own] = drawn.plane
                self.changed[number, i] = np.count_nonzero(drawn.plane != plane) / valid
        made = {}
        for variant, labels in found.items():
            kept, confidence = (self._planes[name] for name in own_planes(variant))
            kept[i] = labels
            # what the model sees is the same whatever the labels: all variants write the same numbers there
            planes = EvidencePlanes(confidence[i], self._planes[CLASSES][i], self._planes[EVIDENCE[2]][i])
            made[variant] = ImageCondenser(kept[i], planes, self._recipe)
        return made

    def added(self, i: int) -> dict[Bucket, ClassStatistics]:
        """What the image adds to the statistics: as it is, and with the error of a kind in place of that."""
        some, place = self._statistics[i], self._start + i - self._piece.part.block.start
        if CLEAN not in some:
            return {}
        return {(CLEAN, 0): some[CLEAN]} | {
            (kind, int(self._piece.joined[number, place])): some[kind].subtract(some[CLEAN])
            for number, kind in enumerate(self._job.kinds)
            if kind in some
        }

    def stored(self) -> dict[str, NDArray[Any]]:
        """The planes by name, in the dtypes in which they are kept."""
        kept = self._recipe.evidence.dtype
        confidences = {EVIDENCE[2], *(own_planes(variant)[1] for variant in self._job.variants)}
        return {name: p.view(kept) if name in confidences else p for name, p in self._planes.items()}


def load_statistics(job: SweepContext, piece: SweepTask) -> dict[Bucket, Statistics]:
    """What `condense_block` kept of the block's statistics: those of the labels as they are under (`CLEAN`, 0), and the
    difference that the errors of each bucket make."""
    product = product_of(job.manifest(job.condensed), CONDENSE, piece.part.block.number)
    found = {}
    for name, data in product.items():
        kind, dash, number = name.rpartition("-")
        if dash:
            found[kind, int(number)] = Statistics((ClassStatistics.from_bytes(data),))
    return found
