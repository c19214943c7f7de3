"""Second pass: score the images of one block from its evidence."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.core.status import SCORED, ImageStatus
from masksift.core.task_result import TaskResult
from masksift.engine.block_io import (
    BackgroundWriter,
    BufferPool,
    iter_label_windows,
    open_labels,
    read_ahead,
    read_labels,
    window_to_slices,
)
from masksift.engine.quarantine import count_causes
from masksift.engine.score_inputs import ScoreInputs, score_input_name
from masksift.engine.score_tables import ScoreTables
from masksift.engine.work_items import (
    SCORE,
    BlockTask,
    HasIOCounters,
    PairCounts,
    RunContext,
    finish_block,
    load_statuses,
    reused_result,
)
from masksift.scoring.image import (
    EvidencePlanes,
    count_confident_pixels,
    count_low_bits,
    image_groups,
)
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.methods.base import ImageEvidence, ImageSummary, ScoringInput, evidence_methods
from masksift.scoring.statistics.thresholds import Thresholds
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.segments import pack_table
from masksift.storage.zarr.evidence import EVIDENCE_PLANES, ISSUE_MASK, PREDICTED_CLASS, EvidenceArrays
from masksift.storage.zarr.per_image import image_ids, image_sizes

Planes = NDArray[np.unsignedinteger]
"""Class indices or confidence codes of the images of a chunk, shape (n, H, W)."""


def count_block(context: RunContext, limits: Mapping[Encoding, NDArray[np.int64]], task: BlockTask) -> int:
    """Count the pixels of a block that reach the threshold (K,) of a class other than their label, by encoding."""
    count, codes = 0, limits[task.encoding]
    for _, labels, planes in _EvidenceReader(context, task, EVIDENCE_PLANES).scored_images():
        count += count_confident_pixels(labels, EvidencePlanes(*planes), codes)
    return count


def refine_block(context: RunContext, key: int, task: BlockTask) -> NDArray[np.int64]:
    """Count the float32 self-confidences with the upper 16 bits ``key`` by their lower 16 bits, int64 (65536,)."""
    counts = np.zeros(1 << 16, np.int64)
    for _, labels, planes in _EvidenceReader(context, task, EVIDENCE_PLANES[:1]).scored_images():
        counts += count_low_bits(labels, planes[0], task.spec.classes, key)
    return counts


@dataclass(frozen=True)
class ScoreResult:
    """Answer of `score_block`: packed `PairCounts` and the counters of the block."""

    pairs: bytes
    task_result: TaskResult


def score_block(context: RunContext, thresholds: Thresholds, task: BlockTask) -> ScoreResult:
    """Score the images of a block; write its issue masks, and its rows of the tables as its output."""
    if (output := context.score_manifest().load(SCORE, task.block.number)) is not None:
        return ScoreResult(output["pairs"], reused_result(output))
    started, scorer = time.perf_counter(), BlockScorer(context, thresholds, task)
    images = (_ScoreInputReader if context.has_score_inputs(task) else _EvidenceReader)(context, task)
    with BackgroundWriter(background=not scorer.masks.local) as writer:
        for start, stop, chunk in images.chunks():
            scorer.start_chunk(start, stop)
            for first, group, summary in chunk:
                scorer.score(first, group, summary)
            writer.submit(scorer.mask_write())
    result = scorer.finish(images.statuses, started, images)
    return ScoreResult(scorer.pairs.pack(), result)


class BlockScorer:
    """Score the images of one block, and write its issue masks and its rows of the tables."""

    def __init__(self, context: RunContext, thresholds: Thresholds, task: BlockTask) -> None:
        self.masks = context.issue_mask_arrays(task.spec)
        self._context, self._task, self._limits = context, task, thresholds.encode(task.encoding)
        self._facts = _image_facts(context, task)
        self._sizes = np.stack([self._facts["height"], self._facts["width"]], axis=1)
        class_names, columns = task.spec.class_names, context.path_columns
        self._tables = ScoreTables(context.methods, self._limits, context.min_area, class_names, self._facts, columns)
        self._manifest = context.score_manifest()
        self._start, self._mask = 0, np.zeros((0, task.spec.height, task.spec.width), np.uint8)

    @property
    def pairs(self) -> PairCounts:
        """Flagged pixels of the images so far by class pair."""
        return self._tables.pairs

    @property
    def io_counters(self) -> Counter[str]:
        """Bytes and requests, by field name of `TaskResult`."""
        return self.masks.io_counters + self._manifest.io_counters

    def start_chunk(self, start: int, stop: int) -> None:
        """Start the chunk of images [start, stop)."""
        spec = self._task.spec
        self._start, self._mask = start, np.zeros((stop - start, spec.height, spec.width), np.uint8)

    def score(self, first: int, images: ImageEvidence, summary: ImageSummary | None) -> None:
        """Score the next images, from number ``first`` of the source on, in the current chunk."""
        stop = first + len(images.labels)
        scored = ScoringInput(
            images.labels,
            images.predicted_class,
            images.self_confidence_codes,
            images.predicted_confidence_codes,
            images.classes,
            images.encoding,
            self._limits,
            self._context.flagging_rule,
            self._mask[first - self._start : stop - self._start],
            summary,
        )
        block = self._task.block
        self._tables.add(scored, self._sizes[first - block.start : stop - block.start])

    def mask_write(self) -> Callable[[], None]:
        """Return the call that writes the issue masks of the current chunk."""
        return partial(self.masks.write, ISSUE_MASK, self._start, self._mask)

    def finish(self, statuses: Sequence[ImageStatus], started: float, *users: HasIOCounters) -> TaskResult:
        """Write the output of the block.

        Args:
            statuses: Status of each image.
            started: Time at which the task started.
            users: Readers of the task, whose traffic belongs to the block.

        Returns:
            Counters of the block.
        """
        task, block = self._task, self._task.block
        images, regions = self._tables.finish(statuses)
        output = {"pairs": self.pairs.pack(), "images": pack_table(images), "regions": regions}
        self._manifest.io_counters["bytes_written"] += sum(map(len, output.values()))
        return finish_block(
            task,
            SCORE,
            self._manifest,
            block.number,
            output,
            [status.status for status in statuses],
            (*users, self.masks),
            started,
            count_causes(statuses, self._facts["image_id"], task.spec.index, block.start),
        )


def _image_facts(context: RunContext, task: BlockTask) -> dict[str, Any]:
    """Return the columns that identify the images of a block."""
    spec, block = task.spec, task.block
    sizes = image_sizes(spec, block.start, block.stop, context.options).clip(0, (spec.height, spec.width))
    return {
        "image_id": image_ids(spec, block.start, block.stop, context.options),
        "source": [spec.name] * block.images,
        "index": np.arange(block.start, block.stop),
        **{name: [value] * block.images for name, value in spec.partitions.items()},
        "height": sizes[:, 0],
        "width": sizes[:, 1],
    }


ChunkImages = Iterator[tuple[int, ImageEvidence, ImageSummary | None]]
"""First number in the source, evidence and summary of groups of images. All pixels of quarantined ones are ignored."""


class _ScoreInputReader:
    """Read the input of scoring that the first pass has kept of a block, one chunk ahead."""

    def __init__(self, context: RunContext, task: BlockTask) -> None:
        self.statuses = load_statuses(context, task)
        self._context, self._task = context, task
        self._directory = ObjectDirectory(context.out, context.options)

    @property
    def io_counters(self) -> Counter[str]:
        """Bytes and requests, by field name of `TaskResult`."""
        return self._directory.io_counters

    def chunks(self) -> Iterator[tuple[int, int, ChunkImages]]:
        """Yield first image, last image + 1 and images of every chunk."""
        spec, block = self._task.spec, self._task.block
        names = [method.name for method in evidence_methods(self._context.methods)]

        def read(span: tuple[int, int], _: int) -> ScoreInputs:
            name = score_input_name(self._context.fingerprint, spec.index, span[0])
            return ScoreInputs.read(self._directory, name, spec, names)

        for (start, stop), inputs in read_ahead(read, self._task.layout.chunk_ranges(block.start, block.stop)):
            yield start, stop, self._images(start, inputs)

    def _images(self, start: int, inputs: ScoreInputs) -> ChunkImages:
        for number, (first, _, summary) in enumerate(inputs.groups):
            planes = inputs.restore(number)
            yield start + first, ImageEvidence(*planes, self._task.spec.classes, self._task.encoding), summary


class _EvidenceReader:
    """Read the labels and some evidence planes of a condensed block."""

    def __init__(self, context: RunContext, task: BlockTask, names: Sequence[str] = EVIDENCE_PLANES) -> None:
        self.statuses = load_statuses(context, task)
        self._context, self._task, self._names = context, task, names
        self._labels = open_labels(task.spec, context.options)
        self._arrays = context.evidence_arrays(task.evidence_location)

    @property
    def io_counters(self) -> Counter[str]:
        """Bytes and requests, by field name of `TaskResult`."""
        return self._labels.io_counters + self._arrays.io_counters

    def chunks(self) -> Iterator[tuple[int, int, ChunkImages]]:
        """Yield first image, last image + 1 and images of every chunk, with all planes."""
        for start, labels, planes in self._plane_chunks():
            yield start, start + len(labels), self._images(start, labels, planes)

    def _images(self, start: int, labels: Planes, planes: tuple[Planes, ...]) -> ChunkImages:
        spec, first = self._task.spec, start - self._task.block.start
        statuses = self.statuses[first : first + len(labels)]
        labels[[status.status != SCORED for status in statuses]] = np.iinfo(labels.dtype).max
        for part in image_groups(len(labels), spec.pixels, spec.classes):
            own, predicted, best = (plane[part] for plane in planes)
            images = ImageEvidence(labels[part], predicted, own, best, spec.classes, self._task.encoding)
            yield start + part.start, images, None

    def scored_images(self) -> Iterator[tuple[int, Planes, tuple[Planes, ...]]]:
        """Yield the number, the class indices (H, W) and the planes (H, W) of every image that is not quarantined."""
        for start, labels, planes in self._plane_chunks():
            yield from self._scored(start, labels, planes)

    def _scored(
        self, start: int, labels: Planes, planes: tuple[Planes, ...]
    ) -> Iterator[tuple[int, Planes, tuple[Planes, ...]]]:
        for i in range(len(labels)):
            if self.statuses[start + i - self._task.block.start].status == SCORED:
                yield start + i, labels[i], tuple(plane[i] for plane in planes)

    def _plane_chunks(self) -> Iterator[tuple[int, Planes, tuple[Planes, ...]]]:
        """Yield first image, class indices and planes of every chunk. Raises DataError for changed labels."""
        spec, block = self._task.spec, self._task.block
        buffers, sizes = BufferPool(), image_sizes(spec, block.start, block.stop, self._context.options)
        ranges = list(self._task.layout.chunk_ranges(block.start, block.stop))
        self._labels.prefetch(
            window_to_slices(window) for images in ranges for window in iter_label_windows(spec, *images)
        )
        for name in self._names:
            self._arrays.prefetch(name, ranges)
        for start, stop in ranges:
            chunk_sizes = sizes[start - block.start : stop - block.start]
            labels, quarantined = read_labels(spec, self._labels, buffers, start, stop, chunk_sizes)
            self._check_labels(quarantined)
            yield start, labels, tuple(read_planes(self._arrays, self._task, self._names, start, stop, buffers))

    def _check_labels(self, quarantined: Mapping[int, ImageStatus]) -> None:
        for i, status in quarantined.items():
            if self.statuses[i - self._task.block.start].status == SCORED:
                raise DataError(
                    f"The labels of image {i} of {self._task.spec.url} have changed since they were condensed "
                    f"({status.reason})",
                    "Its evidence belongs to other labels",
                    "Restore them, or run again with a new --out",
                )


def read_planes(
    arrays: EvidenceArrays, task: BlockTask, names: Sequence[str], start: int, stop: int, buffers: BufferPool
) -> Iterator[Planes]:
    """Read planes (n, H, W) of images [start, stop) as classes or codes, and check the codes: kernels trust them."""
    spec, encoding, classes = task.spec, task.encoding, class_dtype(task.spec.classes)
    shape = (stop - start, spec.height, spec.width)
    for name in names:
        is_confidence = name.endswith("confidence")
        buffer = buffers.get(name, shape, encoding.dtype if is_confidence else classes)
        stored = arrays.read(name, start, stop, buffer)
        codes: Planes = encoding.codes(stored) if is_confidence else stored
        if is_confidence or name == PREDICTED_CLASS:
            _check_codes(name, codes, encoding.top if is_confidence else spec.classes - 1, spec, start)
        yield codes


def _check_codes(name: str, planes: Planes, largest: int, spec: SourceSpec, start: int) -> None:
    """Raise DataError for a code that is out of range: a flipped bit decodes without an error."""
    if (code := int(planes.max())) > largest:
        raise DataError(
            f"{name} of images {start} to {start + len(planes) - 1} of {spec.name} holds the code {code}, where "
            f"{largest} is the largest that was written",
            "The evidence is damaged, and its images cannot be scored",
            "Run again with a new --out",
        )
