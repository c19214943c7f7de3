"""Plan of a run, computed from shapes, chunks and bytes: blocks, memory, objects and requests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from masksift.core.errors import PlanRefused
from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.core.units import format_bytes
from masksift.engine.planning.blocks import BlockSequence
from masksift.engine.planning.layout import (
    EVIDENCE_PLANES,
    Layout,
    Settings,
    evidence_passes,
    make_layout,
    plane_bytes_per_pixel,
    score_input_bytes,
    writes_planes,
)
from masksift.engine.planning.memory import (
    ALLOCATOR_OVERHEAD,
    BASE_MEMORY_BYTES,
    condense_memory,
    rank_memory,
    score_memory,
)
from masksift.engine.planning.report_plan import ReportPlan
from masksift.engine.planning.requests import (
    OBJECTS_PER_LIST_REQUEST,
    READS_PER_BLOCK,
    READS_PER_EVIDENCE_PASS,
    READS_PER_RUN,
    READS_PER_SOURCE,
    evidence_objects,
    object_count,
    objects_to_write,
    reads_to_condense,
    reads_to_rank,
    reads_to_score,
)

_READ_BYTES_PER_SECOND, _SECONDS_PER_PIXEL, _SECONDS_PER_IMAGE = 3e8, 6e-8, 2e-3
"""Speed of one core. Runs on tiles and megapixels, of 5 to 150 classes, took 0.7 to 1.4 times what these give."""
_SECONDS_PER_REMOTE_REQUEST = 0.05 / 16
"""A request takes about 50 ms, and 16 run at once."""


def estimate_seconds(images: int, pixels: int, bytes_to_read: int) -> float:
    """Estimate roughly how long one core works on images with so many pixels in all, without remote requests."""
    return images * _SECONDS_PER_IMAGE + pixels * _SECONDS_PER_PIXEL + bytes_to_read / _READ_BYTES_PER_SECOND


@dataclass(frozen=True)
class Plan:
    """Work and resources of a run.

    Attributes:
        fingerprint: SHA-256 of the identity; it names every task output.
        identity: Everything that determines the results, as plain values.
        layouts: Layout of each source.
        blocks: All blocks.
        images: Number of images.
        pixels: Number of pixels.
        bytes_to_read: Decoded bytes of predictions, labels and evidence.
        bytes_to_write: Bytes of evidence and issue masks before compression.
        objects_to_read: Objects of predictions, labels and evidence.
        objects_to_write: Objects that the run writes.
        reads: Read requests to stores.
        writes: Write and list requests to stores.
        memory_condense: Projected peak memory of a worker in the first pass, bytes.
        memory_score: Projected peak memory of a worker in the second pass, bytes.
        memory_rank: Projected peak memory of a worker for the ranking, bytes.
        memory_report: Projected peak memory of a worker for the report, bytes.
        requests_at_once: Largest number of concurrent requests of a worker.
        seconds: Rough time of the work on one core, for the choice of the executor.
    """

    fingerprint: str
    identity: Mapping[str, Any]
    layouts: tuple[Layout, ...]
    blocks: BlockSequence
    images: int
    pixels: int
    bytes_to_read: int
    bytes_to_write: int
    objects_to_read: int
    objects_to_write: int
    reads: int
    writes: int
    memory_condense: int
    memory_score: int
    memory_rank: int
    memory_report: int
    requests_at_once: int = MAX_CONCURRENT_REQUESTS
    seconds: float = 0.0

    @property
    def memory(self) -> int:
        """Projected peak memory of a worker, bytes."""
        return max(self.memory_condense, self.memory_score, self.memory_rank, self.memory_report)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain values, as `masksift plan --json` prints it, with the number of blocks."""
        tree = {name: getattr(self, name) for name in self.__dataclass_fields__}
        tree["layouts"] = [asdict(layout) for layout in self.layouts]
        tree["blocks"] = len(self.blocks)
        tree["memory"] = self.memory
        return tree

    def check_memory(self, limit: int | None, worker: str = "a worker") -> None:
        """Compare the projected peak memory with the limit of a worker, bytes. Raises PlanRefused."""
        if limit is not None and self.memory > limit:
            stage, alternative = {
                self.memory_report: ("report", "or --report.top 0"),
                self.memory_rank: ("ranking", "or a smaller --regions.top"),
                self.memory_score: ("scoring", "or a larger --regions.min_area"),
                self.memory_condense: ("condensing", "or smaller prediction chunks"),
            }[self.memory]
            needed = format_bytes(self.memory)
            raise PlanRefused(
                f"The run needs {needed} per worker ({stage}), {worker} has {format_bytes(limit)}",
                "The worker would be killed",
                f"Use workers with {needed} (--executor.memory), fewer workers per machine, {alternative}",
            )


def make_plan(
    sources: Sequence[SourceSpec],
    settings: Settings,
    identity: Mapping[str, Any],
    reused: Sequence[Layout | None] = (),
    image_arrays: Sequence[ArraySpec | None] = (),
) -> Plan:
    """Plan a run.

    Args:
        sources: Sources with prediction arrays of shape (N, K, H, W).
        settings: Options that decide the amount of work.
        identity: Everything that determines the results, as plain values.
        reused: Layout of each source whose evidence exists, None for the others.
        image_arrays: RGB images of each source for the report, None for sources without.

    Returns:
        The plan.
    """
    reused = reused or [None] * len(sources)
    new = [source for source, layout in zip(sources, reused, strict=True) if layout is None]
    prediction_bytes = sum(array.nbytes for source in new for array in source.prediction_arrays)
    stored_bytes = sum(array.stored.nbytes for source in new for array in source.prediction_arrays)
    layouts = tuple(
        layout or make_layout(source, settings, prediction_bytes)
        for source, layout in zip(sources, reused, strict=True)
    )
    pairs = list(zip(sources, layouts, strict=True))
    condensed = [pair for pair, layout in zip(pairs, reused, strict=True) if layout is None]
    blocks = BlockSequence(tuple((source.images, layout.block_images) for source, layout in pairs))
    chunks = [layout.chunks for layout in layouts]
    report = ReportPlan.from_sources(sources, chunks, len(blocks), settings.report_images, image_arrays)
    objects = objects_to_write(pairs, condensed, len(blocks), settings) + report.objects
    is_reused = [layout is not None for layout in reused]
    with_planes = [pair for pair in condensed if writes_planes(*pair, settings)]
    # without planes, predicted classes are drawn from the input of scoring
    without_planes = (pair for pair in condensed if report.images and not writes_planes(*pair, settings))
    drawn_inputs = max((2 * score_input_bytes(*pair) for pair in without_planes), default=0)
    second_pass = [
        pair for pair, known in zip(pairs, is_reused, strict=True) if known or not pair[1].has_score_inputs(pair[0])
    ]
    images, pixels = sum(s.images for s in sources), sum(s.images * s.pixels for s in sources)
    labels = sum(source.labels.nbytes for source in [*(source for source, _ in second_pass), *new])
    bytes_to_read = stored_bytes + labels + _evidence_bytes(second_pass)
    reads = (
        sum(reads_to_condense(source, layout) for source, layout in condensed)
        + sum(reads_to_score(*pair, settings, reused=known) for pair, known in zip(pairs, is_reused, strict=True))
        + sum(_task_reads(*pair) for pair in pairs)
        + READS_PER_SOURCE * len(sources)
        + READS_PER_RUN
        + reads_to_rank(images, settings.max_regions)
        + report.reads
    )
    writes = objects + _list_requests(new)
    return Plan(
        fingerprint=hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        identity=identity,
        layouts=layouts,
        blocks=blocks,
        images=images,
        pixels=pixels,
        bytes_to_read=bytes_to_read,
        bytes_to_write=_evidence_bytes(with_planes) + sum(source.images * source.pixels for source in sources),
        objects_to_read=_input_objects(new)
        + sum(object_count(s.labels) + EVIDENCE_PLANES * evidence_objects(s, layout) for s, layout in second_pass),
        objects_to_write=objects,
        reads=reads,
        writes=writes,
        memory_condense=BASE_MEMORY_BYTES
        + max((condense_memory(source, layout, settings) for source, layout in condensed), default=0),
        memory_score=BASE_MEMORY_BYTES
        + max(score_memory(*pair, settings, reused=known) for pair, known in zip(pairs, is_reused, strict=True)),
        memory_rank=BASE_MEMORY_BYTES + rank_memory(pairs, settings),
        memory_report=BASE_MEMORY_BYTES + round(ALLOCATOR_OVERHEAD * (report.memory + drawn_inputs)),
        seconds=estimate_seconds(images + report.images, pixels + report.images * pixels // images, bytes_to_read)
        + (reads + writes) * _SECONDS_PER_REMOTE_REQUEST * settings.remote,
    )


def _evidence_bytes(pairs: Sequence[tuple[SourceSpec, Layout]]) -> int:
    return sum(source.images * source.pixels * plane_bytes_per_pixel(source, layout) for source, layout in pairs)


def _input_objects(sources: Sequence[SourceSpec]) -> int:
    return sum(object_count(array) for source in sources for array in (*source.prediction_arrays, source.labels))


def _list_requests(sources: Sequence[SourceSpec]) -> int:
    arrays = (array for source in sources for array in (*source.prediction_arrays, source.labels))
    return sum(-(-object_count(array) // OBJECTS_PER_LIST_REQUEST) for array in arrays)


def _task_reads(source: SourceSpec, layout: Layout) -> int:
    """Count the reads of the tasks of a source apart from those of chunks."""
    blocks = -(-source.images // layout.block_images)
    return blocks * (READS_PER_BLOCK + READS_PER_EVIDENCE_PASS * evidence_passes(layout))
