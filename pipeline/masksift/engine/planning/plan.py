"""The plan: shapes, chunks and bytes -> blocks, memory and objects. Arithmetic over integers; nothing is opened.

A plan is a value: printable, comparable, refusable. Its fingerprint keys every product of the run.
"""

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
)
from masksift.engine.planning.memory import (
    ALLOCATOR_OVERHEAD,
    BASE_MEMORY_BYTES,
    condense_memory,
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
    reads_to_score,
)


@dataclass(frozen=True)
class Plan:
    """What a run will do and need. Bytes are decoded bytes; memory is the projected peak of one worker; ``reads`` and
    ``writes`` are requests to stores, of which a worker makes ``requests_at_once`` at most."""

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
    memory_report: int
    requests_at_once: int = MAX_CONCURRENT_REQUESTS

    @property
    def memory(self) -> int:
        """Projected peak memory of a worker, bytes."""
        return max(self.memory_condense, self.memory_score, self.memory_report)

    def as_json(self) -> dict[str, Any]:
        """The plan as plain values (`masksift plan --json`)."""
        tree = {name: getattr(self, name) for name in self.__dataclass_fields__}
        tree["layouts"] = [asdict(layout) for layout in self.layouts]
        tree["blocks"] = [asdict(block) for block in self.blocks]
        tree["memory"] = self.memory
        return tree

    def check_memory(self, limit: int | None, worker: str = "a worker") -> None:
        """Refuse workers whose memory limit (bytes; None = none) the projection exceeds."""
        if limit is not None and self.memory > limit:
            report, scoring = ("report", ", or --report.top 0"), ("scoring", ", or a smaller --regions.top")
            condensing = "condensing", ", or smaller prediction chunks"
            needed = {self.memory_report: report, self.memory_score: scoring, self.memory_condense: condensing}
            stage, instead = needed[self.memory]
            raise PlanRefused(
                f"the run needs {format_bytes(self.memory)} a worker ({stage}), {worker} has {format_bytes(limit)}",
                "it would be killed in the middle",
                f"Give workers of {format_bytes(self.memory)} (--executor.memory), fewer workers a machine{instead}",
            )


def make_plan(
    sources: Sequence[SourceSpec],
    settings: Settings,
    identity: Mapping[str, Any],
    kept: Sequence[Layout | None] = (),
    pictures: Sequence[ArraySpec | None] = (),
) -> Plan:
    """Plan a run over sources of shapes (N, K, H, W). ``identity``: all that decides the results, as plain values;
    ``kept``: the layouts of the sources whose evidence is there already, None for all others; ``pictures``: those of
    each source that the report shows, None where there are none."""
    kept = kept or [None] * len(sources)
    new = [source for source, layout in zip(sources, kept, strict=True) if layout is None]
    total = sum(array.nbytes for source in new for array in source.prediction_arrays)
    layouts = tuple(
        layout or make_layout(source, settings, total) for source, layout in zip(sources, kept, strict=True)
    )
    blocks = BlockSequence(
        tuple((source.images, layout.block_images) for source, layout in zip(sources, layouts, strict=True))
    )
    pairs = list(zip(sources, layouts, strict=True))
    own = [pair for pair, layout in zip(pairs, kept, strict=True) if layout is None]
    gallery = ReportPlan.from_sources(
        sources, [x.chunks for x in layouts], len(blocks), settings.report_images, pictures
    )
    planes, written = (sum(s.images * s.pixels * plane_bytes_per_pixel(s, x) for s, x in some) for some in (pairs, own))
    return Plan(
        fingerprint=hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        identity=identity,
        layouts=layouts,
        blocks=blocks,
        images=sum(source.images for source in sources),
        pixels=sum(source.images * source.pixels for source in sources),
        bytes_to_read=total + sum(s.labels.nbytes for s in [*sources, *new]) + planes,
        bytes_to_write=written + sum(s.images * s.pixels for s in sources),
        objects_to_read=sum(object_count(array) for s in new for array in (*s.prediction_arrays, s.labels))
        + sum(object_count(s.labels) + EVIDENCE_PLANES * evidence_objects(s, x) for s, x in pairs),
        objects_to_write=(objects := objects_to_write(pairs, own, len(blocks)) + gallery.objects),
        reads=sum(reads_to_condense(s, x) for s, x in own)
        + sum(reads_to_score(s, x) for s, x in pairs)
        + sum(
            -(-s.images // x.block_images) * (READS_PER_BLOCK + READS_PER_EVIDENCE_PASS * evidence_passes(x))
            for s, x in pairs
        )
        + READS_PER_SOURCE * len(sources)
        + READS_PER_RUN
        + gallery.reads,
        writes=objects
        + sum(
            -(-object_count(array) // OBJECTS_PER_LIST_REQUEST)
            for s in new
            for array in (*s.prediction_arrays, s.labels)
        ),
        memory_condense=max(
            (BASE_MEMORY_BYTES + condense_memory(s, x, settings) for s, x in own), default=BASE_MEMORY_BYTES
        ),
        memory_score=max(BASE_MEMORY_BYTES + score_memory(s, x, settings) for s, x in pairs),
        memory_report=BASE_MEMORY_BYTES + round(ALLOCATOR_OVERHEAD * gallery.memory),
    )
