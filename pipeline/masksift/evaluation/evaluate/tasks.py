"""Count flagged and wrong pixels and regions, block by block.

All sums are integer counts, so that results are the same bits for any executor and block size.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, MasksiftError
from masksift.core.specs import SourceSpec
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine.block_io import BufferPool, read_labels
from masksift.engine.planning.memory import BASE_MEMORY_BYTES, check_worker_memory
from masksift.engine.score_task import image_part_name
from masksift.engine.work_items import BlockTask, BlockTasks, RunContext
from masksift.evaluation.evaluate.ground_truth import TruthArrays
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
from masksift.storage.tables.parquet import read_table
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


@dataclass
class PixelResult:
    """Counts of one block.

    Attributes:
        source: Index of the source.
        start: First image of the block.
        encoding: Encoding of the self-confidence.
        images: (n, C), `COLUMNS` per image.
        codes: (2, bins), right and wrong valid pixels by self-confidence code (4 KiB for uint8, 1 MiB for uint16).
        sizes: Flagged regions by area.
        task_result: Counters of the task.
    """

    source: int
    start: int
    encoding: Encoding
    images: Integers
    codes: Integers
    sizes: RegionSizes
    task_result: TaskResult


@dataclass
class PixelCounts:
    """Counts of all blocks; ``images`` (N, C) in the order of the run's image table."""

    images: Integers
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
    context: PixelContext, tasks: BlockTasks, executor: Executor, progress: ProgressReporter
) -> PixelCounts:
    """Count pixels and regions in all blocks. Raises DataError for lost data, PlanRefused for small workers."""
    workers = [(worker.name, worker.memory) for worker in executor.workers()]
    check_worker_memory(peak_memory_bytes(tasks), workers, "comparing the pixels")
    offsets = np.append(0, np.cumsum([spec.images for spec in tasks.sources]))
    counts = PixelCounts(np.zeros((int(offsets[-1]), len(COLUMNS)), np.int64))
    with progress.stage("pixels", tasks.images) as stage:
        for result in stage.map_tasks(executor, partial(count_block, context), tasks):
            first = offsets[result.source] + result.start
            counts.images[first : first + len(result.images)] = result.images
            if context.has_confidence:
                counts.codes[result.encoding] = counts.codes.get(result.encoding, 0) + result.codes
            counts.sizes.append(result.sizes)
    return counts


def count_block(context: PixelContext, task: BlockTask) -> PixelResult | MasksiftError:
    """Count one block. A data error is returned, not raised, because a retry would meet it again."""
    try:
        return _count_block(context, task)
    except DataError as e:
        return e


def _count_block(context: PixelContext, task: BlockTask) -> PixelResult:
    begun, block, encoding = time.perf_counter(), task.block, task.encoding
    images = np.zeros((block.images, len(COLUMNS)), np.int64)
    codes = np.zeros((2, encoding.bins if context.has_confidence else 0), np.int64)
    matched: list[MatchedRegions] = []
    planes = _BlockPlanes(context, task)
    for image in planes.iter_images(_scored_images(context.run, task)):
        regions = match_regions(image.flagged, image.wrong)
        matched.append(regions)
        images[image.index - block.start] = (
            image.valid.sum(),
            image.wrong.sum(),
            image.flagged.sum(),
            (image.wrong & image.flagged).sum(),
            regions.wrong,
            len(regions.areas),
            *regions.matched.sum(axis=1),
        )
        if image.confidence is not None:
            for row, pixels in enumerate((image.valid & ~image.wrong, image.wrong)):
                codes[row] += np.bincount(image.confidence[pixels] >> encoding.key_shift, minlength=encoding.bins)
    task_result = TaskResult(
        block.number,
        block.images,
        block.images * task.spec.pixels,
        {SCORED: block.images},
        **planes.io_counters,
        seconds=time.perf_counter() - begun,
    )
    return PixelResult(block.source, block.start, encoding, images, codes, group_by_size(matched), task_result)


def _scored_images(run: RunContext, task: BlockTask) -> Sequence[bool]:
    """Flags of the scored images of the block, from the run's image table."""
    name = image_part_name(run.fingerprint, task.block.number)
    statuses = read_table(ObjectDirectory(run.out, run.options), name, ["status"])["status"].to_pylist()
    return [status == SCORED for status in statuses]


@dataclass(frozen=True)
class _ImagePlanes:
    """Planes of one image, (H, W) each; ``confidence`` holds codes."""

    index: int
    valid: Mask
    wrong: Mask
    flagged: Mask
    confidence: NDArray[Any] | None


class _BlockPlanes:
    """Reader of labels, truth, issue masks and evidence of one block."""

    def __init__(self, context: PixelContext, task: BlockTask) -> None:
        self._context, self._task = context, task
        run, truth, source = context.run, context.truth, task.block.source
        self._truth_spec = replace(task.spec, labels=truth.arrays[source])
        self._labels = ArrayReader(task.spec.labels, run.options, absent_is_missing=task.spec.absent_labels_are_missing)
        self._truth = ArrayReader(truth.arrays[source], run.options, absent_is_missing=truth.absent_is_missing[source])
        self._masks, self._evidence = run.issue_mask_arrays(task.spec), run.evidence_arrays(task.evidence_location)

    @property
    def io_counters(self) -> Mapping[str, Any]:
        """I/O of all readers, by field of `TaskResult`."""
        readers = self._labels, self._truth, self._masks, self._evidence
        return dict(sum((reader.io_counters for reader in readers[1:]), readers[0].io_counters))

    def iter_images(self, scored: Sequence[bool]) -> Iterator[_ImagePlanes]:
        """Yield the planes of each scored image. Raises DataError for lost or damaged data."""
        spec, block = self._task.spec, self._task.block
        sizes = image_sizes(spec, block.start, block.stop, self._context.run.options)
        label_buffers, truth_buffers = BufferPool(), BufferPool()
        for start, stop in self._task.layout.chunk_ranges(block.start, block.stop):
            window_sizes = sizes[start - block.start : stop - block.start]
            indices = [i for i in range(start, stop) if scored[i - block.start]]
            if not indices:
                continue
            given = _read_classes(spec, self._labels, label_buffers, start, window_sizes, indices)
            truth = self._read_truth(truth_buffers, start, window_sizes, indices)
            flags = self._masks.read(ISSUE_MASK, start, stop)
            confidence = self._read_confidence(start, stop)
            for i in indices:
                valid, wrong = _compare(given[i - start], truth[i - start], spec.classes, self._context.truth.corrected)
                yield _ImagePlanes(
                    i,
                    valid,
                    wrong,
                    valid & (flags[i - start] > 0),
                    None if confidence is None else confidence[i - start],
                )

    def _read_confidence(self, start: int, stop: int) -> NDArray[Any] | None:
        if not self._context.has_confidence:
            return None
        encoding = self._task.encoding
        codes = encoding.codes(self._evidence.read(EVIDENCE_PLANES[0], start, stop))
        if int(codes.max()) > encoding.top:
            raise DataError(
                f"{EVIDENCE_PLANES[0]} of images {start} to {stop - 1} of {self._task.spec.name} contains an invalid "
                "code",
                "The evidence is damaged",
                "Repeat the run with a new --out",
            )
        return codes

    def _read_truth(
        self, buffers: BufferPool, start: int, sizes: Integers, indices: Sequence[int]
    ) -> NDArray[np.unsignedinteger]:
        """Corrected class planes, or error masks, of a window of images."""
        spec = self._truth_spec
        if self._context.truth.corrected:
            return _read_classes(spec, self._truth, buffers, start, sizes, indices)
        try:
            return self._truth.read(slice(start, start + len(sizes)), slice(0, spec.height), slice(0, spec.width))
        except (MissingChunkError, ChunkDecodeError) as e:
            raise _incomparable(spec, str(e)) from e


def _read_classes(
    spec: SourceSpec, reader: ArrayReader, buffers: BufferPool, start: int, sizes: Integers, indices: Sequence[int]
) -> NDArray[np.unsignedinteger]:
    planes, statuses = read_labels(spec, reader, buffers, start, start + len(sizes), sizes)
    for i in indices:
        if i in statuses:
            raise _incomparable(spec, f"image {i}: {statuses[i].reason}")
    return planes


def _compare(
    given: NDArray[np.unsignedinteger], truth: NDArray[np.unsignedinteger], classes: int, corrected: bool
) -> tuple[Mask, Mask]:
    """Masks of valid and of wrong pixels. With corrected labels, a pixel that either side ignores is not valid."""
    valid = given < classes
    if not corrected:
        return valid, valid & (truth != 0)
    valid &= truth < classes
    return valid, valid & (truth != given)


def _incomparable(spec: SourceSpec, reason: str) -> DataError:
    return DataError(f"{spec.labels.url} cannot be compared ({reason})", "Restore it, or pass another --truth")
