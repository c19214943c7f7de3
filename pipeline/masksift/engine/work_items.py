"""Task inputs and outputs: settings shared by all tasks of a run, blocks with their sources, and stored results."""

from __future__ import annotations

import json
import math
import time
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, reduce
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import RunFailed
from masksift.core.specs import Block, EvidenceLocation, SourceSpec
from masksift.core.status import ImageStatus
from masksift.core.task_result import TaskResult
from masksift.engine.planning import requests
from masksift.engine.planning.blocks import RangeSequence
from masksift.engine.planning.layout import Layout
from masksift.engine.planning.plan import Plan
from masksift.scoring.kernels.condense import CondenseConfig
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.ensemble import member_config
from masksift.scoring.methods import COMBINED
from masksift.scoring.methods.base import EVIDENCE_UNIT, FlaggingRule, Method, ScoringInput
from masksift.scoring.statistics.class_statistics import ClassStatistics, Statistics
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.urls import join, local_path
from masksift.storage.zarr.evidence import EvidenceArrays

CONDENSE, SCORE = "condense", "score"


@dataclass(frozen=True)
class RunContext:
    """Settings shared by all tasks of a run.

    Attributes:
        fingerprint: Fingerprint of the plan.
        lattice: Row and column step of the pixel grid on which class probabilities are counted.
        methods: Scores to compute.
        flagging_rule: Rule that flags a pixel as mislabeled.
        out: URL of the run.
        path_columns: Names of the table columns from the ``key=value`` parts of the source URLs.
        options: Options of the stores, by URL.
        min_area: Smallest area of a listed region, pixels.
        max_regions: Largest number of listed regions.
        image_part_rows: Images of a part of the table of images.
        keeps_evidence: The run keeps its evidence.
        table_scores: Scores that are computed from the tables of all images: `WORST_REGION`, `COMBINED`.
    """

    fingerprint: str
    lattice: int
    methods: tuple[Method, ...]
    flagging_rule: FlaggingRule
    out: str
    path_columns: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    min_area: int = 1
    max_regions: int = 1 << 62
    image_part_rows: int = field(default_factory=lambda: requests.IMAGE_PART_ROWS)
    keeps_evidence: bool = True
    table_scores: tuple[str, ...] = ()

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of all scores of the run."""
        return (*(method.name for method in self.methods), *self.table_scores)

    @property
    def combines(self) -> bool:
        """The scores include `COMBINED`."""
        return COMBINED in self.table_scores

    def evidence_arrays(self, location: EvidenceLocation) -> EvidenceArrays:
        """Open the evidence of a source, which may belong to an earlier run."""
        return EvidenceArrays(location.evidence_url, self.options)

    def issue_mask_arrays(self, spec: SourceSpec) -> EvidenceArrays:
        """Open the arrays of a source in this run, which hold its issue masks."""
        return EvidenceArrays(join(self.out, "evidence", f"{spec.name}.zarr"), self.options)

    def has_score_inputs(self, task: BlockTask) -> bool:
        """Return whether the images of a block are scored from the input that the first pass of this run keeps."""
        is_condensed = task.evidence_location.fingerprint == self.fingerprint
        return is_condensed and task.layout.has_score_inputs(task.spec)

    def writes_score_inputs(self, task: BlockTask, *, scores_at_once: bool) -> bool:
        """Return whether the first pass keeps the input of scoring, which replaces planes that are not kept."""
        return self.has_score_inputs(task) and not (scores_at_once and self.keeps_evidence)

    def writes_planes(self, task: BlockTask) -> bool:
        """Return whether the first pass writes evidence planes."""
        return self.keeps_evidence or not self.has_score_inputs(task)

    def condense_manifest(self, location: EvidenceLocation) -> Manifest:
        """Open the manifest of the run that condensed a source."""
        return Manifest(ObjectDirectory(location.out, self.options), location.fingerprint)

    def score_manifest(self) -> Manifest:
        """Open the manifest of this run."""
        return Manifest(ObjectDirectory(self.out, self.options), self.fingerprint)


@dataclass(frozen=True)
class BlockTask:
    """One block together with its source.

    Attributes:
        block: Images of the task.
        spec: Their source.
        layout: Layout of the source.
        evidence_location: Location of the evidence of the source.
        evidence_block: Number of the block at that location.
        position: Position of the first image among all images of the run.
    """

    block: Block
    spec: SourceSpec
    layout: Layout
    evidence_location: EvidenceLocation
    evidence_block: int
    position: int = 0

    def condense_config(self, lattice: int) -> CondenseConfig:
        """Return the settings of the condensing kernel for the predictions of the source."""
        spec = self.spec
        return CondenseConfig(
            spec.classes,
            spec.predictions.dtype,
            spec.scale,
            spec.prediction_kind,
            self.encoding,
            spec.sum_tolerance,
            lattice,
            spec.predictions.missing,
        )

    @property
    def member_configs(self) -> list[tuple[str, CondenseConfig]]:
        """URL and kernel settings of each ensemble member."""
        classes = self.spec.classes
        return [
            (
                one.predictions.url,
                member_config(
                    classes,
                    one.predictions.dtype,
                    one.scale,
                    one.prediction_kind,
                    one.sum_tolerance,
                    one.predictions.missing,
                ),
            )
            for one in self.spec.members
        ]

    @property
    def encoding(self) -> Encoding:
        """Encoding of the confidences in the evidence."""
        return _evidence_encoding(self.spec, self.layout)

    @property
    def log_fields(self) -> dict[str, Any]:
        """Fields of log records and spans; image numbers start at 0."""
        block = self.block
        return {
            "source": self.spec.name,
            "block": block.number,
            "first_image": block.start,
            "last_image": block.stop - 1,
        }

    def __str__(self) -> str:
        return f"block {self.block.number} ({self.spec.name}, images {self.block.start} to {self.block.stop - 1})"


def _evidence_encoding(spec: SourceSpec, layout: Layout) -> Encoding:
    return Encoding(layout.evidence_dtype, spec.scale if layout.evidence_dtype.startswith("uint") else 1.0)


@dataclass(frozen=True)
class BlockTasks(Sequence[BlockTask]):
    """Tasks of a plan, created on access.

    Attributes:
        plan: Plan of the run.
        sources: Sources of the run.
        evidence_locations: Location of the evidence of each source.
        block_numbers: Blocks of the selected sources, or None for all.
    """

    plan: Plan
    sources: tuple[SourceSpec, ...]
    evidence_locations: tuple[EvidenceLocation, ...]
    block_numbers: RangeSequence | None = None

    @classmethod
    def from_plan(
        cls, plan: Plan, sources: tuple[SourceSpec, ...], out: str, reused: Sequence[EvidenceLocation | None] = ()
    ) -> BlockTasks:
        """Create the tasks of a run into ``out``, with the location of existing evidence or None for each source."""
        directory = local_path(out) or out
        locations = [
            location
            or EvidenceLocation(
                directory, plan.fingerprint, blocks.start, join(directory, "evidence", f"{spec.name}.zarr")
            )
            for spec, blocks, location in zip(sources, plan.blocks.ranges, reused or [None] * len(sources), strict=True)
        ]
        return cls(plan, sources, tuple(locations))

    @property
    def reused_source_count(self) -> int:
        """Number of sources whose evidence is reused."""
        return sum(location.fingerprint != self.plan.fingerprint for location in self.evidence_locations)

    @property
    def to_condense(self) -> BlockTasks:
        """Tasks of the sources that this run condenses itself."""
        return self._select([location.fingerprint == self.plan.fingerprint for location in self.evidence_locations])

    @property
    def reused(self) -> BlockTasks:
        """Tasks of the sources whose evidence is reused."""
        return self._select([location.fingerprint != self.plan.fingerprint for location in self.evidence_locations])

    def with_encodings(self, encodings: Collection[Encoding]) -> BlockTasks:
        """Return the tasks whose evidence has one of these encodings."""
        pairs = zip(self.sources, self.plan.layouts, strict=True)
        return self._select([_evidence_encoding(spec, layout) in encodings for spec, layout in pairs])

    def _select(self, selected: Sequence[bool]) -> BlockTasks:
        """Return the tasks of the selected sources."""
        if all(selected):
            return self
        ranges = tuple(blocks for blocks, keep in zip(self.plan.blocks.ranges, selected, strict=True) if keep)
        return BlockTasks(self.plan, self.sources, self.evidence_locations, RangeSequence(ranges))

    @cached_property
    def images(self) -> int:
        """Number of images in the tasks."""
        if self.block_numbers is None:
            return self.plan.images
        selected = {self.plan.blocks[blocks.start].source for blocks in self.block_numbers.ranges}
        return sum(self.sources[source].images for source in selected)

    def __len__(self) -> int:
        return len(self.plan.blocks) if self.block_numbers is None else len(self.block_numbers)

    @overload
    def __getitem__(self, number: int) -> BlockTask: ...
    @overload
    def __getitem__(self, number: slice) -> list[BlockTask]: ...
    def __getitem__(self, number: int | slice) -> BlockTask | list[BlockTask]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        block = self.plan.blocks[number if self.block_numbers is None else self.block_numbers[number]]
        source = block.source
        location = self.evidence_locations[source]
        evidence_block = location.first_block + block.number - self.plan.blocks.source_blocks(source).start
        position = self.plan.blocks.position(source, block.start)
        return BlockTask(block, self.sources[source], self.plan.layouts[source], location, evidence_block, position)


class BlockGroup(list[BlockTask]):
    """Consecutive tasks."""

    def __str__(self) -> str:
        return str(self[0]) if len(self) == 1 else f"{self[0]} to {self[-1]}"


@dataclass(frozen=True)
class BlockGroups(Sequence[BlockGroup]):
    """Groups of ``size`` consecutive tasks, the last one shorter, created on access."""

    tasks: BlockTasks
    size: int

    def __len__(self) -> int:
        return -(-len(self.tasks) // self.size)

    @overload
    def __getitem__(self, number: int) -> BlockGroup: ...
    @overload
    def __getitem__(self, number: slice) -> list[BlockGroup]: ...
    def __getitem__(self, number: int | slice) -> BlockGroup | list[BlockGroup]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} groups, none has the number {number}")
        return BlockGroup(self.tasks[number * self.size : (number + 1) * self.size])


@dataclass(frozen=True)
class PairCounts:
    """Sums over flagged pixels by given and suggested class, (K, K) int64 each.

    Attributes:
        pixels: Flagged pixels.
        images: Images that have any.
        evidence: Sum of m - s in steps of `EVIDENCE_UNIT`.
    """

    pixels: NDArray[np.int64]
    images: NDArray[np.int64]
    evidence: NDArray[np.int64]

    def merge(self, other: PairCounts) -> PairCounts:
        """Add the counts of other blocks."""
        return PairCounts(self.pixels + other.pixels, self.images + other.images, self.evidence + other.evidence)

    @property
    def evidence_sums(self) -> NDArray[np.float64]:
        """Sum of m - s, (K, K) float64."""
        return np.asarray(self.evidence * float(EVIDENCE_UNIT))

    @classmethod
    def zeros(cls, classes: int) -> PairCounts:
        """Return the counts of no image."""
        return cls(*np.zeros((3, classes, classes), np.int64))

    @classmethod
    def from_images(cls, images: ScoringInput) -> PairCounts:
        """Return the counts of images."""
        flagged = images.flagged.pixels
        return cls(flagged.sum(axis=0), np.count_nonzero(flagged, axis=0), images.flagged_evidence.sum(axis=0))

    @classmethod
    def unpack(cls, data: bytes) -> PairCounts:
        """Return the counts that `pack` serialized."""
        counts = np.frombuffer(zlib.decompress(data), "<i8")
        classes = math.isqrt(len(counts) // 3)
        return cls(*counts.reshape(3, classes, classes))

    def pack(self) -> bytes:
        """Serialize the counts: most are zeros."""
        return zlib.compress(np.stack([self.pixels, self.images, self.evidence]).astype("<i8").tobytes(), 1)


class HasIOCounters(Protocol):
    """Reader or writer that counts its bytes and requests by field name of `TaskResult`."""

    @property
    def io_counters(self) -> Counter[str]:
        """Bytes and requests so far."""


def sum_io_counters(*users: HasIOCounters, puts: int = 0) -> dict[str, Any]:
    """Add the counters of readers and writers, and ``puts`` pending requests."""
    return dict(sum((user.io_counters for user in users), Counter(puts=puts)))


def finish_block(
    task: BlockTask,
    stage: str,
    manifest: Manifest,
    number: int,
    output: Mapping[str, bytes],
    statuses: Iterable[str],
    users: Sequence[HasIOCounters],
    started: float,
    causes: Mapping[str, dict[str, Any]] | None = None,
) -> TaskResult:
    """Save the output of a block, the last action of its task. The stored result counts the request that stores it."""
    block = task.block
    result = TaskResult(
        block.number,
        block.images,
        block.images * task.spec.pixels,
        dict(Counter(statuses)),
        **sum_io_counters(*users, manifest, puts=1),
        seconds=time.perf_counter() - started,
        causes=dict(causes or {}),
    )
    manifest.save(stage, number, {**output, "result": pack_result(result)})
    return replace(result, **sum_io_counters(*users, manifest))


def pack_result(result: TaskResult) -> bytes:
    """Serialize the result of a task."""
    return json.dumps(asdict(result)).encode()


def load_output(manifest: Manifest, stage: str, number: int) -> dict[str, bytes]:
    """Load the output of a task. Raises RunFailed if it was removed."""
    output = manifest.load(stage, number)
    if output is None:
        raise RunFailed(
            f"Block {number} of stage {stage!r} has no output in {manifest.url}: it was removed",
            "The results would lack its images",
            "Check that nothing removes files of a running job, and run the same command again",
        )
    return output


def reused_result(output: Mapping[str, bytes]) -> TaskResult:
    """Return the result of a block that an earlier attempt finished."""
    return replace(TaskResult(**json.loads(output["result"])), reused=True)


def pack_condense_output(statistics: ClassStatistics, statuses: Sequence[ImageStatus]) -> dict[str, bytes]:
    """Serialize the output of `condense_block` apart from the evidence."""
    return {
        "statistics": statistics.to_bytes(),
        "statuses": json.dumps([vars(status) for status in statuses]).encode(),
    }


def load_statistics(context: RunContext, tasks: Sequence[BlockTask]) -> Statistics:
    """Load and merge the statistics of some condensed blocks, all at once: each load waits for a request."""

    def load(task: BlockTask) -> Statistics:
        return Statistics((ClassStatistics.from_bytes(_load_condensed(context, task)["statistics"]),))

    with ThreadPoolExecutor(len(tasks), thread_name_prefix="statistics") as pool:
        return reduce(Statistics.merge, pool.map(load, tasks))


def load_statuses(context: RunContext, task: BlockTask) -> list[ImageStatus]:
    """Load the status of every image of a condensed block."""
    return [ImageStatus(**status) for status in json.loads(_load_condensed(context, task)["statuses"])]


def _load_condensed(context: RunContext, task: BlockTask) -> dict[str, bytes]:
    return load_output(context.condense_manifest(task.evidence_location), CONDENSE, task.evidence_block)
