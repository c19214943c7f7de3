"""Second pass: score the images of one block from its evidence."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
    read_labels,
    window_to_slices,
)
from masksift.engine.quarantine import count_causes
from masksift.engine.region_table import RegionTableBuilder
from masksift.engine.work_items import (
    SCORE,
    BlockTask,
    PairCounts,
    RunContext,
    finish_block,
    load_statuses,
    reused_result,
)
from masksift.scoring.image import EvidencePlanes, count_confident_pixels, count_low_bits
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.methods.base import ScoringInput
from masksift.scoring.score_image import find_image_regions, make_omission_rule, score_image
from masksift.scoring.statistics.thresholds import Thresholds
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.schemas import images_schema
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


def score_block(context: RunContext, thresholds: Thresholds, task: BlockTask) -> TaskResult:
    """Score the images of a block; write its issue masks, and its rows of the tables as its output."""
    manifest, block, spec = context.score_manifest(), task.block, task.spec
    if (output := manifest.load(SCORE, block.number)) is not None:
        return reused_result(output)
    started = time.perf_counter()
    masks = context.issue_mask_arrays(spec)
    pairs = np.zeros((2, spec.classes, spec.classes), np.int64)
    evidence, limits = _EvidenceReader(context, task, EVIDENCE_PLANES), thresholds.encode(task.encoding)
    omissions = make_omission_rule(limits, context.methods)
    rows: list[dict[str, Any]] = []
    image_fields = _image_fields(context, task)
    regions = RegionTableBuilder(context.max_regions, spec.class_names)
    with BackgroundWriter(background=not masks.local) as writer:
        for start, labels, planes in evidence.chunks():
            mask = np.zeros(labels.shape, np.uint8)
            for i in range(len(labels)):
                fields = image_fields[start + i - block.start]
                status = evidence.statuses[start + i - block.start]
                row = fields | {"status": status.status, "reason": status.reason}
                if status.status == SCORED:
                    self_confidence, predicted, confidence = (plane[i] for plane in planes)
                    image = ScoringInput(
                        labels[i],
                        predicted,
                        self_confidence,
                        confidence,
                        spec.classes,
                        task.encoding,
                        limits,
                        context.flagging_rule,
                        mask[i],
                    )
                    row |= score_image(image, context.methods)
                    size = (row["height"], row["width"])
                    row |= regions.add(fields, find_image_regions(image, size, context.min_area, omissions))
                    pairs[0] += image.flagged_pairs
                    pairs[1] += image.flagged_pairs > 0
                rows.append(row)
            writer.submit(masks.write, ISSUE_MASK, start, mask)
    images = table_from_rows(rows, images_schema([method.name for method in context.methods], context.path_columns))
    output = {
        "pairs": PairCounts(*pairs).pack(),
        "images": pack_table(images),
        "regions": pack_table(regions.table(context.path_columns)),
    }
    manifest.io_counters["bytes_written"] += sum(map(len, output.values()))
    return finish_block(
        task,
        SCORE,
        manifest,
        block.number,
        output,
        [status.status for status in evidence.statuses],
        (evidence, masks),
        started,
        count_causes(evidence.statuses, [fields["image_id"] for fields in image_fields], spec.index, block.start),
    )


def _image_fields(context: RunContext, task: BlockTask) -> list[dict[str, Any]]:
    """Return the columns that identify each image of a block."""
    spec, block = task.spec, task.block
    ids = image_ids(spec, block.start, block.stop, context.options)
    sizes = image_sizes(spec, block.start, block.stop, context.options).clip(0, (spec.height, spec.width)).tolist()
    return [
        {
            "image_id": image_id,
            "source": spec.name,
            "index": index,
            **spec.partitions,
            "height": height,
            "width": width,
        }
        for index, (image_id, (height, width)) in enumerate(zip(ids, sizes, strict=True), block.start)
    ]


class _EvidenceReader:
    """Read the labels and some evidence planes of a condensed block."""

    def __init__(self, context: RunContext, task: BlockTask, names: Sequence[str]) -> None:
        self.statuses = load_statuses(context, task)
        self._context, self._task, self._names = context, task, names
        self._labels = open_labels(task.spec, context.options)
        self._arrays = context.evidence_arrays(task.evidence_location)

    @property
    def io_counters(self) -> Counter[str]:
        """Bytes and requests, by field name of `TaskResult`."""
        return self._labels.io_counters + self._arrays.io_counters

    def scored_images(self) -> Iterator[tuple[int, Planes, tuple[Planes, ...]]]:
        """Yield the number, the class indices (H, W) and the planes (H, W) of every image that is not quarantined."""
        for start, labels, planes in self.chunks():
            for i in range(len(labels)):
                if self.statuses[start + i - self._task.block.start].status == SCORED:
                    yield start + i, labels[i], tuple(plane[i] for plane in planes)

    def chunks(self) -> Iterator[tuple[int, Planes, tuple[Planes, ...]]]:
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
