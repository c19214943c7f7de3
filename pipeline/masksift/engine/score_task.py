"""Second pass: score one block from its evidence."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.core.status import SCORED, ImageStatus
from masksift.core.task_result import TaskResult
from masksift.engine.block_io import iter_label_windows, read_labels, window_to_slices
from masksift.engine.buffers import BufferPool
from masksift.engine.overlap import WriteBehind
from masksift.engine.region_table import RegionTableBuilder, region_part_name
from masksift.engine.task_outputs import (
    SCORE,
    load_statuses,
    open_labels,
    reused_result,
    sum_io_counters,
)
from masksift.engine.work_items import BlockTask, RunContext
from masksift.scoring.image import EvidencePlanes, count_confident_pixels, count_low_bits
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.methods import ScoringInput
from masksift.scoring.score_image import find_image_regions, make_omission_rule, score_image
from masksift.scoring.statistics.thresholds import Thresholds
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.parquet import write_table
from masksift.storage.tables.schemas import images_schema
from masksift.storage.zarr.evidence import CLASSES, EVIDENCE, MASK
from masksift.storage.zarr.per_image import image_ids, image_sizes


def count_block(job: RunContext, limits: Mapping[Encoding, NDArray[np.int64]], part: BlockTask) -> int:
    """The block's share of M, from its evidence; ``limits`` (K,) by its precision."""
    verdicts = load_statuses(job, part)
    found, codes = 0, limits[part.encoding]
    for start, given, planes in _Evidence(job, part, verdicts, EVIDENCE).groups():
        for i in range(len(given)):
            if verdicts[start + i - part.block.start].status == SCORED:
                found += count_confident_pixels(given[i], EvidencePlanes(*(plane[i] for plane in planes)), codes)
    return found


def refine_block(job: RunContext, key: int, part: BlockTask) -> NDArray[np.int64]:
    """(65536,) int64: the float32 self-confidences of the block in the bin that holds the cut, by their lower half."""
    verdicts = load_statuses(job, part)
    counts = np.zeros(1 << 16, np.int64)
    for start, given, planes in _Evidence(job, part, verdicts, EVIDENCE[:1]).groups():
        for i in range(len(given)):
            if verdicts[start + i - part.block.start].status == SCORED:
                counts += count_low_bits(given[i], planes[0][i], part.spec.classes, key)
    return counts


def score_block(job: RunContext, thresholds: Thresholds, part: BlockTask) -> TaskResult:
    """3 planes -> scores, issue masks and regions: a row an image and a row a region, in a Parquet part each."""
    manifest, block = job.score_manifest(), part.block
    if (done := manifest.load(SCORE, block.number)) is not None:
        return reused_result(done)
    started = time.perf_counter()
    spec = part.spec
    verdicts = load_statuses(job, part)
    masks = job.issue_mask_arrays(spec)
    pairs = np.zeros((2, spec.classes, spec.classes), np.int64)
    rows, facts, regions = [], _facts(job, part), RegionTableBuilder(job.max_regions, spec.class_names)
    evidence, limits = _Evidence(job, part, verdicts, EVIDENCE), thresholds.encode(part.encoding)
    omissions = make_omission_rule(limits, job.methods)
    with WriteBehind(at_once=masks.local) as behind:
        for start, given, planes in evidence.groups():
            mask = np.zeros(given.shape, np.uint8)
            for i in range(len(given)):
                at = start + i - block.start
                row = facts[at] | {"status": verdicts[at].status, "reason": verdicts[at].reason}
                if verdicts[at].status == SCORED:
                    own, predicted, confident = (plane[i] for plane in planes)
                    image = ScoringInput(
                        given[i],
                        predicted,
                        own,
                        confident,
                        spec.classes,
                        limits,
                        job.flagging_rule,
                        mask[i],
                    )
                    row |= score_image(image, job.methods)
                    size = (row["height"], row["width"])
                    row |= regions.add(facts[at], find_image_regions(image, size, job.min_area, omissions))
                    pairs[0] += image.flagged_pairs
                    pairs[1] += image.flagged_pairs > 0
                rows.append(row)
            behind(masks.write, MASK, start, mask)
    images = table_from_rows(rows, images_schema([method.name for method in job.methods], job.path_columns))
    folder, made_by = ObjectDirectory(job.out, job.options), (job.fingerprint, block.number)
    for name, table in (
        (region_part_name(*made_by), regions.table(job.path_columns)),
        (image_part_name(*made_by), images),
    ):
        folder.io_counters["bytes_written"] += write_table(folder, name, table, spec.class_names)
    result = TaskResult(
        block.number,
        block.images,
        block.images * spec.pixels,
        dict(Counter(verdict.status for verdict in verdicts)),
        **sum_io_counters(evidence, masks, folder, manifest, puts=1),
        seconds=time.perf_counter() - started,
    )
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, pixels=pairs[0], images=pairs[1])
    manifest.save(SCORE, block.number, {"pairs": buffer.getvalue(), "result": json.dumps(asdict(result)).encode()})
    return replace(result, **sum_io_counters(evidence, masks, folder, manifest))


def image_part_name(fingerprint: str, number: int) -> str:
    """The name of a block's part of the table of images."""
    return f"images/part-{fingerprint[:12]}-{number:08d}.parquet"


def _facts(job: RunContext, part: BlockTask) -> list[dict[str, Any]]:
    """What the tables say of each image of a block, whatever is found in it."""
    spec, block = part.spec, part.block
    ids = image_ids(spec, block.start, block.stop, job.options)
    sizes = image_sizes(spec, block.start, block.stop, job.options).clip(0, (spec.height, spec.width)).tolist()
    return [
        {
            "image_id": name,
            "source": spec.name,
            "index": index,
            **spec.partitions,
            "height": height,
            "width": width,
        }
        for index, (name, (height, width)) in enumerate(zip(ids, sizes, strict=True), block.start)
    ]


class _Evidence:
    """The labels and the named evidence planes of a block, as they are read again."""

    def __init__(self, job: RunContext, part: BlockTask, verdicts: list[ImageStatus], names: tuple[str, ...]) -> None:
        self._job, self._part, self._statuses, self._names = job, part, verdicts, names
        self._labels = open_labels(job, part)
        self._arrays = job.evidence_arrays(part.evidence_location)

    @property
    def io_counters(self) -> Counter[str]:
        """What it took of the stores, by field name of `TaskResult`."""
        return self._labels.io_counters + self._arrays.io_counters

    def groups(self) -> Iterator[tuple[int, NDArray[np.unsignedinteger], tuple[NDArray[np.unsignedinteger], ...]]]:
        """(start, class planes, evidence planes) of each group; planes (n, H, W) each, as codes. Raises DataError where
        labels that were good are no more."""
        spec, block, encoding = self._part.spec, self._part.block, self._part.encoding
        memory, sizes = BufferPool(), image_sizes(spec, block.start, block.stop, self._job.options)
        numbers = {CLASSES: class_dtype(spec.classes)}
        largest = {CLASSES: spec.classes - 1}
        groups = list(self._part.layout.chunk_ranges(block.start, block.stop))
        self._labels.prefetch(
            window_to_slices(window) for group in groups for window in iter_label_windows(spec, *group)
        )
        for name in self._names:
            self._arrays.prefetch(name, groups)
        for start, stop in groups:
            own = sizes[start - block.start : stop - block.start]
            given, lost = read_labels(spec, self._labels, memory, start, stop, own)
            self._check_labels(lost)
            planes = []
            for name in self._names:
                place = memory.get(name, given.shape, numbers.get(name, encoding.dtype))
                stored = self._arrays.read(name, start, stop, place)
                planes.append(stored if name in numbers else encoding.codes(stored))
                check_codes(name, planes[-1], largest.get(name, encoding.top), spec, start)
            yield start, given, tuple(planes)

    def _check_labels(self, lost: Mapping[int, ImageStatus]) -> None:
        for i, verdict in lost.items():
            if self._statuses[i - self._part.block.start].status == SCORED:
                raise DataError(
                    f"the labels of image {i} of {self._part.spec.url} have changed since they were condensed "
                    f"({verdict.reason})",
                    "its evidence is of other labels",
                    "Restore them, or run again into a new --out",
                )


def check_codes(name: str, plane: NDArray[np.unsignedinteger], most: int, spec: SourceSpec, start: int) -> None:
    """The kernels count by these numbers and trust them; a flipped bit decodes in silence. Raises DataError."""
    if (found := int(plane.max())) > most:
        raise DataError(
            f"{name} of images {start} to {start + len(plane) - 1} of {spec.name} holds the code {found}, where {most} "
            "is the largest that was written",
            "that evidence is damaged, and its images cannot be scored",
            "Run it again into a new --out",
        )
