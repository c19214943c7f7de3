"""Flagged pixels and regions against the wrong ones, block by block: integers an image, and two histograms a block.

What is summed is counted, so that the figures are the same bits for any executor and block size.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core import signals as interruption
from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine.block_io import read_labels
from masksift.engine.buffers import BufferPool
from masksift.engine.planning.memory import BASE_MEMORY_BYTES, check_worker_memory
from masksift.engine.score_task import image_part_name
from masksift.engine.work_items import BlockTask, BlockTasks, RunContext
from masksift.evaluation.evaluate.ground_truth import Masks
from masksift.evaluation.evaluate.metrics import CumulativeCounts, steps_of_counts
from masksift.evaluation.evaluate.region_matching import IOUS, Regions, Sizes, match_regions, sizes_of
from masksift.runtime.executors import Executor
from masksift.runtime.progress import ProgressReporter
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.kernels.encoding import Encoding
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.parquet import read_table
from masksift.storage.zarr.evidence import EVIDENCE, MASK
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
    *(f"found_regions_{iou}" for iou in IOUS),
)
"""What is counted an image: pixels, and regions. All 0 where it was not scored."""
A_PIXEL = 40
"""Bytes a pixel of the image whose regions are matched: masks, two planes of region numbers, and what compares them."""

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class PixelTask:
    """What every task knows. ``confident``: whether the self-confidence is kept."""

    job: RunContext
    masks: Masks
    confident: bool


@dataclass(frozen=True)
class Answer:
    """What a block answers. ``images`` (n, C): `COLUMNS` of each; ``codes`` (2, bins): valid pixels that are right and
    wrong by the code of their self-confidence, of that ``encoding`` (4 KiB of uint8, 1 MiB of uint16); ``sizes``: of
    the flagged regions."""

    part: tuple[int, int]
    encoding: Encoding
    images: Integers
    codes: Integers
    sizes: Sizes
    task_result: TaskResult


@dataclass
class Counts:
    """All blocks together. ``images`` (N, C): in the order of the run's table of images."""

    images: Integers
    codes: dict[Encoding, Integers] = field(default_factory=dict)
    sizes: list[Sizes] = field(default_factory=list)

    def steps(self) -> CumulativeCounts:
        """The review of all valid pixels, the lowest self-confidence first: equal values of several precisions are one
        step."""
        values = [encoding.values(_codes(encoding)) for encoding in self.codes]
        right, wrong = np.concatenate(list(self.codes.values()), axis=1)
        return steps_of_counts(np.concatenate(values), right, wrong)


def _codes(encoding: Encoding) -> Integers:
    """The code that stands for each bin: of float32 the lowest of those that share their upper 16 bits."""
    return np.arange(encoding.bins, dtype=np.int64) << encoding.key_shift


def projected_memory(parts: BlockTasks) -> int:
    """Bytes that a worker needs at most: the labels and planes of a group of images, and the regions of one."""
    needed = 0
    for spec, layout in zip(parts.sources, parts.plan.layouts, strict=True):
        width = class_dtype(spec.classes).itemsize
        group = (
            layout.chunk_images
            * spec.pixels
            * (2 * width + 2 * spec.labels.itemsize + np.dtype(layout.evidence_dtype).itemsize + 2)
        )
        needed = max(needed, group + spec.pixels * A_PIXEL)
    return BASE_MEMORY_BYTES + needed


def count_pixels(task: PixelTask, parts: BlockTasks, executor: Executor, report: ProgressReporter) -> Counts:
    """All blocks. Raises PlanRefused where a worker has too little memory, DataError where labels or masks are lost."""
    workers = [(worker.name, worker.memory) for worker in executor.workers()]
    check_worker_memory(projected_memory(parts), workers, "comparing the pixels")
    firsts = np.append(0, np.cumsum([spec.images for spec in parts.sources]))
    counts = Counts(np.zeros((int(firsts[-1]), len(COLUMNS)), np.int64))
    with report.stage("pixels", parts.images) as stage:
        for answer in executor.map(partial(count_block, task), parts, "pixels"):
            if isinstance(answer, DataError):
                raise answer
            source, start = answer.part
            first = firsts[source] + start
            counts.images[first : first + len(answer.images)] = answer.images
            if task.confident:
                counts.codes[answer.encoding] = counts.codes.get(answer.encoding, 0) + answer.codes
            counts.sizes.append(answer.sizes)
            stage.advance(answer.task_result)
            interruption.raise_if_interrupted()
    return counts


def count_block(task: PixelTask, part: BlockTask) -> Answer | DataError:
    """The counts of one block. What is wrong with the data is answered and not raised: another attempt would find it
    again."""
    try:
        return _counted(task, part)
    except DataError as e:
        return e


def _counted(task: PixelTask, part: BlockTask) -> Answer:
    begun, block, encoding = time.perf_counter(), part.block, part.encoding
    scored = _scored(task.job, part)
    images = np.zeros((block.images, len(COLUMNS)), np.int64)
    codes = np.zeros((2, encoding.bins if task.confident else 0), np.int64)
    matched: list[Regions] = []
    planes = _Planes(task, part)
    for i, valid, wrong, flagged, confidence in planes.images(scored):
        regions = match_regions(flagged, wrong)
        matched.append(regions)
        images[i - block.start] = (
            valid.sum(),
            wrong.sum(),
            flagged.sum(),
            (wrong & flagged).sum(),
            regions.wrong,
            len(regions.areas),
            *regions.matched.sum(axis=1),
        )
        if confidence is not None:
            for row, pixels in enumerate((valid & ~wrong, wrong)):
                codes[row] += np.bincount(confidence[pixels] >> encoding.key_shift, minlength=encoding.bins)
    result = TaskResult(
        block.number,
        block.images,
        block.images * part.spec.pixels,
        {SCORED: block.images},
        **planes.io_counters,
        seconds=time.perf_counter() - begun,
    )
    return Answer((block.source, block.start), encoding, images, codes, sizes_of(matched), result)


def _scored(job: RunContext, part: BlockTask) -> Sequence[bool]:
    """Which images of the block were scored, by the run's table."""
    name = image_part_name(job.fingerprint, part.block.number)
    statuses = read_table(ObjectDirectory(job.out, job.options), name, ["status"])["status"].to_pylist()
    return [status == SCORED for status in statuses]


class _Planes:
    """The labels, the masks and the evidence of a block, image by image."""

    def __init__(self, task: PixelTask, part: BlockTask) -> None:
        self._task, self._part = task, part
        options, spec = task.job.options, part.spec
        self._truth = replace(spec, labels=task.masks.arrays[part.block.source])
        self._labels = ArrayReader(spec.labels, options, absent_is_missing=spec.absent_labels_are_missing)
        strict = task.masks.strict[part.block.source]
        self._other = ArrayReader(self._truth.labels, options, absent_is_missing=strict)
        self._masks, self._evidence = task.job.issue_mask_arrays(spec), task.job.evidence_arrays(part.evidence_location)

    @property
    def io_counters(self) -> Mapping[str, Any]:
        """What it took of the stores, by field name of `TaskResult`."""
        return dict(
            self._labels.io_counters + self._other.io_counters + self._masks.io_counters + self._evidence.io_counters
        )

    def images(
        self, scored: Sequence[bool]
    ) -> Iterator[tuple[int, NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_], NDArray[Any] | None]]:
        """(number, valid, wrong, flagged, self-confidence as codes) of each scored image, (H, W) each. Raises DataError
        where any of it is lost."""
        spec, block = self._part.spec, self._part.block
        sizes = image_sizes(spec, block.start, block.stop, self._task.job.options)
        own, others = BufferPool(), BufferPool()
        for start, stop in self._part.layout.chunk_ranges(block.start, block.stop):
            size = sizes[start - block.start : stop - block.start]
            asked = [i for i in range(start, stop) if scored[i - block.start]]
            if not asked:
                continue
            given = self._classes(spec, self._labels, own, start, stop, size, asked)
            truth = self._true(others, start, stop, size, asked)
            flags = self._masks.read(MASK, start, stop)
            codes = self._codes(start, stop)
            for i in asked:
                valid, wrong = _compared(given[i - start], truth[i - start], spec.classes, self._task.masks.corrected)
                yield i, valid, wrong, valid & (flags[i - start] > 0), None if codes is None else codes[i - start]

    def _codes(self, start: int, stop: int) -> NDArray[Any] | None:
        if not self._task.confident:
            return None
        encoding = self._part.encoding
        codes = encoding.codes(self._evidence.read(EVIDENCE[0], start, stop))
        if int(codes.max()) > encoding.top:
            raise DataError(
                f"{EVIDENCE[0]} of images {start} to {stop - 1} of {self._part.spec.name} holds a code that no run "
                "writes",
                "that evidence is damaged",
                "Run it again into a new --out",
            )
        return codes

    def _true(
        self, memory: BufferPool, start: int, stop: int, sizes: Integers, asked: Sequence[int]
    ) -> NDArray[np.unsignedinteger]:
        """Corrected class planes, or masks, of images [start, stop)."""
        spec = self._truth
        if self._task.masks.corrected:
            return self._classes(spec, self._other, memory, start, stop, sizes, asked)
        try:
            return self._other.read(slice(start, stop), slice(0, spec.height), slice(0, spec.width))
        except (MissingChunkError, ChunkDecodeError) as e:
            raise _lost(spec, str(e)) from e

    @staticmethod
    def _classes(
        spec: SourceSpec,
        reader: ArrayReader,
        memory: BufferPool,
        start: int,
        stop: int,
        sizes: Integers,
        asked: Sequence[int],
    ) -> NDArray[np.unsignedinteger]:
        plane, verdicts = read_labels(spec, reader, memory, start, stop, sizes)
        for i in asked:
            if i in verdicts:
                raise _lost(spec, f"image {i}: {verdicts[i].reason}")
        return plane


def _compared(
    given: NDArray[np.unsignedinteger], truth: NDArray[np.unsignedinteger], classes: int, corrected: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pixels count and which of them are wrong. Where labels are compared, both must be classes: of a pixel that
    either leaves open nothing is known."""
    valid = given < classes
    if not corrected:
        return valid, valid & (truth != 0)
    valid &= truth < classes
    return valid, valid & (truth != given)


def _lost(spec: SourceSpec, reason: str) -> DataError:
    return DataError(
        f"{spec.labels.url} cannot be compared ({reason})",
        "what is wrong is not known there",
        "Restore it, or give another --truth",
    )
