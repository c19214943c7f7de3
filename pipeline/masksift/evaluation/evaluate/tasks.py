"""Count flagged and wrong pixels and regions, block by block.

All sums are integer counts, so that results are the same bits for any executor and block size.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import overload

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, MasksiftError
from masksift.core.specs import SourceSpec
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine.block_io import BufferPool, open_labels, read_labels
from masksift.engine.image_parts import read_image_rows
from masksift.engine.planning.memory import BASE_MEMORY_BYTES, check_worker_memory
from masksift.engine.score_task import Planes, read_planes
from masksift.engine.work_items import BlockTask, BlockTasks, RunContext, sum_io_counters
from masksift.evaluation.evaluate.ground_truth import TruthArrays
from masksift.evaluation.evaluate.listed_regions import RegionMasks
from masksift.evaluation.evaluate.metrics import CumulativeCounts, count_steps
from masksift.evaluation.evaluate.region_matching import (
    IOU_THRESHOLDS,
    MatchedRegions,
    RegionSizes,
    group_by_size,
    match_regions,
)
from masksift.runtime.executors import Executor
from masksift.runtime.progress import ProgressReporter
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.kernels.encoding import Encoding
from masksift.storage.objects import ObjectDirectory
from masksift.storage.zarr.evidence import EVIDENCE_PLANES, ISSUE_MASK
from masksift.storage.zarr.per_image import image_sizes
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.validation import ChunkDecodeError, MissingChunkError

COLUMNS = (
    "valid",
    "wrong",
    "flagged",
    "both",
    "wrong_regions",
    "flagged_regions",
    *(f"found_regions_{threshold}" for threshold in IOU_THRESHOLDS),
)
"""Counts per image, of pixels and of regions; 0 for images that are not scored."""
MATCHING_BYTES_PER_PIXEL = 40
"""Peak memory for matching the regions of one image: masks, two planes of region numbers, and comparisons."""

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class PixelContext:
    """Settings shared by all tasks; ``has_confidence``: whether the run kept the self-confidence plane."""

    run: RunContext
    truth: TruthArrays
    has_confidence: bool


@dataclass(frozen=True)
class PixelTask:
    """One block, and the listed regions of its images."""

    block_task: BlockTask
    regions: RegionMasks


@dataclass(frozen=True)
class PixelTasks(Sequence[PixelTask]):
    """Tasks of all blocks, created on access."""

    blocks: BlockTasks
    regions: RegionMasks

    def __len__(self) -> int:
        return len(self.blocks)

    @overload
    def __getitem__(self, number: int) -> PixelTask: ...
    @overload
    def __getitem__(self, number: slice) -> list[PixelTask]: ...
    def __getitem__(self, number: int | slice) -> PixelTask | list[PixelTask]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        task = self.blocks[number]
        return PixelTask(task, self.regions.between(task.position, task.position + task.block.images))


@dataclass
class PixelResult:
    """Counts of one block.

    Attributes:
        position: Position of its first image among all images of the run.
        encoding: Encoding of the self-confidence.
        images: (n, C), `COLUMNS` per image.
        codes: (2, bins), right and wrong valid pixels by self-confidence code (4 KiB for uint8, 1 MiB for uint16).
        sizes: Flagged regions by area.
        regions: Pixels with known truth and wrong pixels of each listed region, (R, 2).
        task_result: Counters of the task.
    """

    position: int
    encoding: Encoding
    images: Integers
    codes: Integers
    sizes: RegionSizes
    regions: Integers
    task_result: TaskResult


@dataclass
class PixelCounts:
    """Counts of all blocks.

    Attributes:
        images: (N, C), `COLUMNS` in the order of the run's image table.
        regions: Pixels with known truth and wrong pixels of each listed region, (R, 2).
        codes: Right and wrong valid pixels by self-confidence code, for each encoding.
        sizes: Flagged regions by area, for each block.
    """

    images: Integers
    regions: Integers
    codes: dict[Encoding, Integers] = field(default_factory=dict)
    sizes: list[RegionSizes] = field(default_factory=list)

    def confidence_steps(self) -> CumulativeCounts:
        """Review all valid pixels, lowest self-confidence first; equal values of several encodings are one step."""
        values = [encoding.values(_bin_codes(encoding)) for encoding in self.codes]
        right, wrong = np.concatenate(list(self.codes.values()), axis=1)
        return count_steps(np.concatenate(values), right, wrong)


def _bin_codes(encoding: Encoding) -> Integers:
    """Code that represents each bin; for float32 the lowest code with the same upper 16 bits."""
    return np.arange(encoding.bins, dtype=np.int64) << encoding.key_shift


def peak_memory_bytes(tasks: BlockTasks) -> int:
    """Peak memory of a worker: labels and planes of the images read at once, and the regions of one image."""
    needed = 0
    for spec, layout in zip(tasks.sources, tasks.plan.layouts, strict=True):
        pixel = (
            2 * class_dtype(spec.classes).itemsize + 2 * spec.labels.itemsize + np.dtype(layout.evidence_dtype).itemsize
        )
        needed = max(needed, spec.pixels * (layout.chunk_images * (pixel + 2) + MATCHING_BYTES_PER_PIXEL))
    return BASE_MEMORY_BYTES + needed


def count_pixels(
    context: PixelContext, tasks: BlockTasks, regions: RegionMasks, executor: Executor, progress: ProgressReporter
) -> PixelCounts:
    """Count pixels and regions in all blocks. Raises DataError for lost data, PlanRefused for small workers."""
    workers = [(worker.name, worker.memory) for worker in executor.workers()]
    check_worker_memory(peak_memory_bytes(tasks), workers, "comparing the pixels")
    images = sum(spec.images for spec in tasks.sources)
    counts = PixelCounts(np.zeros((images, len(COLUMNS)), np.int64), np.zeros((len(regions), 2), np.int64))
    with progress.stage("pixels", tasks.images) as stage:
        for result in stage.map_tasks(executor, partial(count_block, context), PixelTasks(tasks, regions)):
            stop = result.position + len(result.images)
            counts.images[result.position : stop] = result.images
            counts.regions[regions.find(result.position, stop)] = result.regions
            if context.has_confidence:
                counts.codes[result.encoding] = counts.codes.get(result.encoding, 0) + result.codes
            counts.sizes.append(result.sizes)
    return counts


def count_block(context: PixelContext, task: PixelTask) -> PixelResult | MasksiftError:
    """Count one block. A data error is returned, not raised, because a retry would meet it again."""
    try:
        return _count_block(context, task)
    except DataError as e:
        return e


def _count_block(context: PixelContext, pixel_task: PixelTask) -> PixelResult:
    started, run, task, regions = time.perf_counter(), context.run, pixel_task.block_task, pixel_task.regions
    spec, block, encoding = task.spec, task.block, task.encoding
    true_spec = replace(spec, labels=context.truth.arrays[block.source])
    labels, absent_is_missing = open_labels(spec, run.options), context.truth.absent_is_missing[block.source]
    truth = ArrayReader(true_spec.labels, run.options, absent_is_missing=absent_is_missing)
    masks, evidence = run.issue_mask_arrays(spec), run.evidence_arrays(task.evidence_location)
    label_buffers, truth_buffers, evidence_buffers = BufferPool(), BufferPool(), BufferPool()
    images = np.zeros((block.images, len(COLUMNS)), np.int64)
    codes = np.zeros((2, encoding.bins if context.has_confidence else 0), np.int64)
    matched: list[MatchedRegions] = []
    region_pixels = np.zeros((len(regions), 2), np.int64)
    scored = _scored_images(run, task)
    sizes = image_sizes(spec, block.start, block.stop, run.options)
    for start, stop in task.layout.chunk_ranges(block.start, block.stop):
        indices = [i for i in range(start, stop) if scored[i - block.start]]
        if not indices:
            continue
        chunk_sizes = sizes[start - block.start : stop - block.start]
        given = _read_classes(spec, labels, label_buffers, start, chunk_sizes, indices)
        if context.truth.corrected:
            true = _read_classes(true_spec, truth, truth_buffers, start, chunk_sizes, indices)
        else:
            true = _read_error_masks(true_spec, truth, start, stop)
        flags = masks.read(ISSUE_MASK, start, stop)
        names = EVIDENCE_PLANES[:1] if context.has_confidence else ()
        confidence = [*read_planes(evidence, task, names, start, stop, evidence_buffers)]
        for i in indices:
            known, changed = _compare(given[i - start], true[i - start], spec.classes, context.truth.corrected)
            number = i - block.start
            for region in range(*regions.find(number, number + 1).indices(len(regions))):
                region_pixels[region] = regions.count(region, (known, changed))
            is_labeled = given[i - start] < spec.classes
            valid, wrong = is_labeled & known, is_labeled & changed
            flagged = valid & (flags[i - start] > 0)
            matches = match_regions(flagged, wrong)
            matched.append(matches)
            pixels = [np.count_nonzero(mask) for mask in (valid, wrong, flagged, wrong & flagged)]
            images[number] = (*pixels, matches.wrong, len(matches.areas), *matches.matched.sum(axis=1))
            for planes in confidence:
                for row, mask in enumerate((valid & ~wrong, wrong)):
                    codes[row] += np.bincount(planes[i - start][mask] >> encoding.key_shift, minlength=encoding.bins)
    task_result = TaskResult(
        block.number,
        block.images,
        block.images * spec.pixels,
        {SCORED: block.images},
        **sum_io_counters(labels, truth, masks, evidence),
        seconds=time.perf_counter() - started,
    )
    return PixelResult(task.position, encoding, images, codes, group_by_size(matched), region_pixels, task_result)


def _scored_images(run: RunContext, task: BlockTask) -> Sequence[bool]:
    """Flags of the scored images of the block, from the run's image table."""
    positions = range(task.position, task.position + task.block.images)
    rows = read_image_rows(run, ObjectDirectory(run.out, run.options), positions, ["status"])
    return [row["status"] == SCORED for row in rows]


def _read_classes(
    spec: SourceSpec, reader: ArrayReader, buffers: BufferPool, start: int, sizes: Integers, indices: Sequence[int]
) -> Planes:
    planes, statuses = read_labels(spec, reader, buffers, start, start + len(sizes), sizes)
    for i in indices:
        if i in statuses:
            raise _incomparable(spec, f"image {i}: {statuses[i].reason}")
    return planes


def _read_error_masks(spec: SourceSpec, reader: ArrayReader, start: int, stop: int) -> Planes:
    try:
        return reader.read(slice(start, stop), slice(0, spec.height), slice(0, spec.width))
    except (MissingChunkError, ChunkDecodeError) as e:
        raise _incomparable(spec, str(e)) from e


def _compare(given: Planes, true: Planes, classes: int, corrected: bool) -> tuple[Mask, Mask]:
    """Masks of pixels with known truth, and of wrong ones, which include forgotten pixels (given ignored, true not)."""
    if not corrected:
        return np.ones(given.shape, bool), true != 0
    # corrected labels say nothing of a labeled pixel that they ignore
    has_class = true < classes
    return has_class | (given >= classes), has_class & (true != given)


def _incomparable(spec: SourceSpec, reason: str) -> DataError:
    return DataError(f"{spec.labels.url} cannot be compared ({reason})", "Restore it, or pass another --truth")
