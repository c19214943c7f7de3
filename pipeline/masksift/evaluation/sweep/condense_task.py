"""First pass of a sweep: condense the predictions of one block under every label variant."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from masksift.core.npz import pack_arrays
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine.block_io import BufferPool, open_labels
from masksift.engine.condense_task import CountedImages, condense_chunk
from masksift.engine.prediction_io import prefetch_block
from masksift.engine.work_items import CONDENSE, finish_block, load_output, reused_result
from masksift.evaluation.simulate.error_types import apply_error
from masksift.evaluation.simulate.sampling import image_rng
from masksift.evaluation.sweep.work_items import CLEAN, Bucket, SweepContext, SweepTask
from masksift.scoring.statistics.class_statistics import ClassStatistics, Statistics
from masksift.storage.zarr.evidence import EvidenceArrays
from masksift.storage.zarr.per_image import image_sizes
from masksift.storage.zarr.reader import ArrayReader

Labels = NDArray[np.unsignedinteger]


def condense_block(context: SweepContext, sweep_task: SweepTask) -> TaskResult:
    """Read the predictions of a block once; write the evidence and the statistics of every variant."""
    task, block, spec = sweep_task.block_task, sweep_task.block_task.block, sweep_task.block_task.spec
    manifest = context.condense_manifest
    if (output := manifest.load(CONDENSE, block.number)) is not None:
        return reused_result(output)
    started = time.perf_counter()
    config = task.condense_config(context.lattice)
    predictions, labels = ArrayReader(spec.predictions.stored, context.options), open_labels(spec, context.options)
    evidence = EvidenceArrays(task.evidence_location.evidence_url, context.options)
    buffers, sizes = BufferPool(), image_sizes(spec, block.start, block.stop, context.options)
    prefetch_block(spec, task.layout, [predictions], labels, block.start, block.stop)
    variants = _ErrorVariants(context, sweep_task, sizes)
    sums: dict[Bucket, ClassStatistics] = {(CLEAN, 0): ClassStatistics.empty(config)}
    statuses: list[str] = []

    def add(index: int, images: Mapping[str, CountedImages]) -> None:
        found = {name: statistics for name, (_, statistics) in images.items()}
        for bucket, statistics in variants.by_bucket(index - block.start, found).items():
            sums[bucket] = sums[bucket].merge(statistics) if bucket in sums else statistics

    for start, stop in task.layout.chunk_ranges(block.start, block.stop):
        chunk_sizes = sizes[start - block.start : stop - block.start]
        chunk = condense_chunk(task, config, [predictions], labels, buffers, start, chunk_sizes, add, variants=variants)
        for name, planes in chunk.planes.items():
            evidence.write(name, start, planes)
        statuses += [status.status for status in chunk.statuses]
    scored = np.array([status == SCORED for status in statuses])
    output = {f"{error_type}-{share}": statistics.to_bytes() for (error_type, share), statistics in sums.items()}
    output["facts"] = pack_arrays(scored=scored, changed=np.where(scored, variants.changed, 0.0))
    users = (predictions, labels, evidence)
    return finish_block(task, CONDENSE, manifest, block.number, output, statuses, users, started)


class _ErrorVariants:
    """Label variants of the images of a block: as they are, and with an error of each type."""

    def __init__(self, context: SweepContext, sweep_task: SweepTask, sizes: NDArray[np.int64]) -> None:
        self.names = context.variants
        self.changed = np.zeros((len(context.error_types), sweep_task.block_task.block.images))
        self._context, self._task, self._sizes = context, sweep_task, sizes

    def make(self, index: int, labels: Labels) -> Mapping[str, Labels]:
        """Return the clean labels and those with an error, for the error types that reach the image."""
        spec, number = self._task.block_task.spec, index - self._task.block_task.block.start
        unpadded = tuple(slice(0, int(extent)) for extent in self._sizes[number])
        variants = {CLEAN: labels}
        valid = int(np.count_nonzero(labels != np.iinfo(labels.dtype).max))
        for row, params in enumerate(self._task.params):
            if not valid or self._task.first_shares[row, number] >= self._context.shares:
                continue
            plane = np.ascontiguousarray(labels[unpadded])
            corrupted = apply_error(plane, image_rng(self._context.seed, params.error_type, spec.name, index), params)
            if corrupted is not None:
                variants[params.error_type] = labels.copy()
                variants[params.error_type][unpadded] = corrupted.plane
                self.changed[row, number] = np.count_nonzero(corrupted.plane != plane) / valid
        return variants

    def by_bucket(self, number: int, found: Mapping[str, ClassStatistics]) -> dict[Bucket, ClassStatistics]:
        """Return the clean statistics of an image, and for each error the difference that it makes."""
        if CLEAN not in found:
            return {}
        return {(CLEAN, 0): found[CLEAN]} | {
            (error_type, int(self._task.first_shares[row, number])): found[error_type].subtract(found[CLEAN])
            for row, error_type in enumerate(self._context.error_types)
            if error_type in found
        }


def load_statistics(context: SweepContext, sweep_task: SweepTask) -> dict[Bucket, Statistics]:
    """Load the statistics of a condensed block: clean under (`CLEAN`, 0), and the difference that each bucket makes."""
    output = load_output(context.condense_manifest, CONDENSE, sweep_task.block_task.block.number)
    statistics = {}
    for name, data in output.items():
        error_type, dash, share = name.rpartition("-")
        if dash:
            statistics[error_type, int(share)] = Statistics((ClassStatistics.from_bytes(data),))
    return statistics
