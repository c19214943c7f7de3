"""Stages of a run: each maps a task over the blocks, or reduces their outputs, and uses the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import PlanRefused
from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.core.task_result import TaskResult
from masksift.engine import result_tables
from masksift.engine.compact_task import COMPACT, PLACES, CompactContext, ImageParts
from masksift.engine.condense_task import condense_block
from masksift.engine.planning.plan import Plan
from masksift.engine.quarantine import Causes, FirstImagesCheck, add_causes
from masksift.engine.rank_stage import rank_on_workers, rank_one_part
from masksift.engine.resumable_job import for_each_source
from masksift.engine.reuse import FrozenStatistics
from masksift.engine.score_inputs import SCORE_INPUTS, remove_score_inputs
from masksift.engine.score_task import ScoreResult, count_block, refine_block, score_block
from masksift.engine.work_items import (
    CONDENSE,
    SCORE,
    BlockGroups,
    BlockTask,
    BlockTasks,
    PairCounts,
    RunContext,
    load_statistics,
)
from masksift.runtime.executors import Executor, WorkerInfo
from masksift.runtime.progress import Answer, ProgressReporter
from masksift.runtime.telemetry import InstrumentedTask
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.region_priority import PairTotals
from masksift.scoring.statistics.class_statistics import Statistics
from masksift.scoring.statistics.thresholds import Thresholds, compute_thresholds
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.parquet import write_table
from masksift.storage.tables.schemas import REGION_ORDERS
from masksift.storage.zarr.evidence import EVIDENCE_PLANES, ISSUE_MASK, PREDICTED_CLASS

_MUST_AGREE = ("masksift", "python", "dask", "distributed", "numpy", "numba")
"""Packages whose versions on workers and client must agree, since results or messages could differ."""
_IO_COUNTERS = ("bytes_read", "bytes_written", "requests", "puts", "repeated")


@dataclass
class RunStats:
    """Duration and I/O of the stages of a run, images by status and cause, and flagged pixels: content of run.json."""

    stages: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    causes: Causes = field(default_factory=dict)
    flagged_pixels: int = 0

    def add(self, fields: Mapping[str, Any], totals: StageTotals | None = None) -> None:
        """Add a stage: the fields of its progress and the totals of its blocks."""
        totals = totals or StageTotals()
        self.stages.append(
            {
                "name": fields["stage"],
                "seconds": fields["seconds"],
                "blocks": totals.blocks,
                "reused_blocks": totals.reused,
                "task_seconds": round(totals.seconds, 2),
                **{name: totals.io_counts[name] for name in _IO_COUNTERS},
            }
        )


@dataclass
class StageTotals:
    """Sums over the task results of a stage, of which a run may have a million."""

    blocks: int = 0
    reused: int = 0
    seconds: float = 0.0
    io_counts: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    causes: Causes = field(default_factory=dict)

    def add(self, result: TaskResult) -> None:
        """Add one block."""
        self.blocks += 1
        self.reused += result.reused
        self.seconds += result.seconds
        self.io_counts.update({name: getattr(result, name) for name in _IO_COUNTERS})
        self.counts.update(result.counts)
        add_causes(self.causes, result.causes)


def check_workers(
    plan: Plan, executor: Executor, client_versions: Callable[[], dict[str, str]], progress: ProgressReporter
) -> list[WorkerInfo]:
    """Compare memory and package versions of all workers with plan and client. Raises PlanRefused for a misfit."""
    workers = executor.workers()
    expected = client_versions() if any(worker.versions for worker in workers) else {}
    for worker in workers:
        plan.check_memory(worker.memory, f"worker {worker.name}")
        versions = {name: worker.versions.get(name, "none") for name in expected if worker.versions}
        differing = [name for name, version in versions.items() if version != expected[name]]
        text = ", ".join(f"{name} {versions[name]} (here {expected[name]})" for name in differing)
        if any(
            name in _MUST_AGREE and _series(name, versions[name]) != _series(name, expected[name]) for name in differing
        ):
            raise PlanRefused(
                f"Worker {worker.name} has {text}",
                "Its results could differ, or its messages could not be understood",
                "Start the workers from the same image or environment as this command",
            )
        if differing:
            progress.message(f"worker {worker.name} has {text}: tolerated")
    return workers


def _series(name: str, version: str) -> str:
    """Return the part of a version that must agree: a patch release of Python may differ."""
    return ".".join(version.split(".")[:2]) if name == "python" else version


def create_evidence_arrays(context: RunContext, tasks: BlockTasks) -> None:
    """Create the empty arrays that the tasks write; the chunks of existing ones stay as they are."""

    def create(source: int) -> None:
        spec, layout = tasks.sources[source], tasks.plan.layouts[source]
        is_condensed = tasks.evidence_locations[source].fingerprint == context.fingerprint
        dtypes = dict.fromkeys(EVIDENCE_PLANES, layout.evidence_dtype)
        dtypes |= {PREDICTED_CLASS: str(class_dtype(spec.classes)), ISSUE_MASK: "uint8"}
        first = tasks[tasks.plan.blocks.source_blocks(source).start]
        context.issue_mask_arrays(spec).create(
            (*EVIDENCE_PLANES, ISSUE_MASK) if is_condensed and context.writes_planes(first) else (ISSUE_MASK,),
            dtypes,
            (spec.images, spec.height, spec.width),
            layout.chunks,
            {
                "class_names": list(spec.class_names),
                "ignore": list(spec.ignore),
                "scale": spec.scale,
                "kind": "evidence",
                "source": spec.url,
            },
        )

    for_each_source(create, range(len(tasks.sources)))


@dataclass(frozen=True)
class RunStages:
    """Stages between the plan and the report of a run, in the order of the methods.

    Attributes:
        context: Settings of the run.
        tasks: All blocks.
        executor: Executor of the tasks.
        progress: Reporter of the stages.
        stats: Statistics of the run, to which each stage is added.
        frozen: Thresholds and totals of another run, or None to compute those of this one.
    """

    context: RunContext
    tasks: BlockTasks
    executor: Executor
    progress: ProgressReporter
    stats: RunStats
    frozen: FrozenStatistics | None = None

    def condense(self, *, stop_early: bool = False) -> None:
        """First pass: write statistics, statuses and evidence of every block whose evidence is not reused.

        With frozen thresholds it also scores these blocks.

        Args:
            stop_early: Raise DataError if the first images are quarantined with one status.
        """
        tasks = self.tasks.to_condense
        if len(tasks):
            check = FirstImagesCheck(self.context, tasks) if stop_early else None
            frozen = None if self.frozen is None else self.frozen.thresholds
            totals = self._map(partial(condense_block, self.context, frozen), tasks, CONDENSE, check)
            if self.frozen is not None:
                self._add_images(totals)

    def find_thresholds(self, tau: str | float) -> tuple[Statistics, Thresholds]:
        """Reduce the statistics of all blocks and compute the thresholds, or use the frozen ones of another run."""
        with self.progress.stage("thresholds") as stage:
            load = InstrumentedTask(
                partial(load_statistics, self.context), self.context.fingerprint, "statistics", _group_fields
            )
            groups = BlockGroups(self.tasks, MAX_CONCURRENT_REQUESTS)
            statistics = self.executor.reduce(load, groups, Statistics.merge, "statistics")
            thresholds = self.frozen.thresholds if self.frozen else compute_thresholds(statistics, tau, self)
        self.stats.add(stage.fields())
        return statistics, thresholds

    def count_confident(self, limits: Mapping[Encoding, NDArray[np.int64]]) -> int:
        """Count the confident pixels in evidence of more than 8 bits, with limits (K,) as codes by encoding."""
        count = self._instrument(partial(count_block, self.context, limits), "count")
        pixels: int = self.executor.reduce(count, self.tasks.with_encodings(limits), add, "count")
        return pixels

    def count_low_bits(self, key: int) -> NDArray[np.int64]:
        """Count the float32 self-confidences whose upper 16 bits are ``key``, by their lower 16 bits."""
        tasks = self.tasks.with_encodings([Encoding("float32")])
        refine = self._instrument(partial(refine_block, self.context, key), "refine")
        return self.executor.reduce(refine, tasks, np.add, "refine")

    def score(self, statistics: Statistics, thresholds: Thresholds) -> PairTotals:
        """Second pass: write issue masks, and the table rows of each block as its output.

        Args:
            statistics: Class statistics of all blocks.
            thresholds: Thresholds of the data set.

        Returns:
            Totals of the data set, or those of the other run, with which regions are compared.
        """
        tasks = self.tasks if self.frozen is None else self.tasks.reused
        pairs = PairCounts.zeros(len(self.tasks.sources[0].class_names))

        def watch(answer: ScoreResult) -> None:
            nonlocal pairs
            pairs = pairs.merge(PairCounts.unpack(answer.pairs))

        if len(tasks):
            self._add_images(self._map(partial(score_block, self.context, thresholds), tasks, SCORE, watch))
        if self.frozen is not None:
            return self.frozen.totals
        if self.context.keeps_evidence:  # the report draws from planes that are kept
            self.discard_score_inputs()
        return PairTotals.from_statistics(statistics, pairs.evidence_sums)

    def discard_score_inputs(self) -> None:
        """Remove the input of scoring on the workers: a large run has millions of objects."""
        groups = BlockGroups(self.tasks.to_condense, MAX_CONCURRENT_REQUESTS)
        for _ in self.executor.map(partial(remove_score_inputs, self.context), groups, "discard"):
            pass

    @property
    def rank_tasks(self) -> int:
        """Largest number of tasks of a step of the ranking."""
        return len(self._image_parts)

    @property
    def _image_parts(self) -> ImageParts:
        return ImageParts(self.tasks.plan.blocks, self.context.image_part_rows)

    def rank(
        self, statistics: Statistics, thresholds: Thresholds, totals: PairTotals, rank_by: str, regions_by: str
    ) -> None:
        """Write the tables: images, the ranking, the ranked regions, and those by class.

        Args:
            statistics: Class statistics of all blocks.
            thresholds: Thresholds of the data set.
            totals: Totals with which regions are compared.
            rank_by: Name of the score that orders the images.
            regions_by: Order of the regions, a key of `REGION_ORDERS`.
        """
        context, names = self.context, self.tasks.sources[0].class_names
        directory, columns = ObjectDirectory(context.out, context.options), context.path_columns
        images = result_tables.ImageRanking(context.score_names, columns, rank_by)
        regions = result_tables.RegionRanking(columns, context.max_regions, REGION_ORDERS[regions_by])
        knots = self.frozen.knots if self.frozen is not None and context.combines else None
        compact = CompactContext(context, images, regions, names, knots)
        parts, work = self._image_parts, StageTotals()
        with self.progress.stage("rank", self.tasks.images if len(parts) > 1 else 0) as stage:
            if len(parts) == 1:
                ranked = rank_one_part(compact, totals, parts)
            else:
                ranked = rank_on_workers(compact, totals, parts, self.executor, stage, work.add)
            tables = {
                "thresholds": result_tables.thresholds_table(statistics, thresholds, names),
                "class_pairs": result_tables.class_pairs_table(ranked.pairs, names),
                "class_quality": result_tables.class_quality_table(statistics, ranked.pairs, names),
            }
            if ranked.knots is not None:
                tables["place_knots"] = result_tables.place_knots_table(ranked.knots)
            for name, table in tables.items():
                write_table(directory, f"{name}.parquet", table, names)
        self.stats.flagged_pixels = int(ranked.pairs.pixels.sum())
        self.stats.add(stage.fields(), work)

    def _add_images(self, totals: StageTotals) -> None:
        self.stats.counts.update(totals.counts)
        add_causes(self.stats.causes, totals.causes)

    def _map(
        self,
        function: Callable[[BlockTask], Answer],
        tasks: BlockTasks,
        stage: str,
        watch: Callable[[Answer], None] | None = None,
    ) -> StageTotals:
        run_id = self.context.fingerprint
        return map_blocks(function, tasks, tasks.images, self.executor, self.progress, self.stats, stage, run_id, watch)

    def _instrument(self, function: Callable[[BlockTask], Any], stage: str) -> InstrumentedTask[BlockTask, Any]:
        return InstrumentedTask(function, self.context.fingerprint, stage)


def _group_fields(tasks: Sequence[BlockTask]) -> dict[str, Any]:
    return {"first_block": tasks[0].block.number, "last_block": tasks[-1].block.number}


def discard_evidence(context: RunContext, tasks: BlockTasks) -> None:
    """Remove the evidence planes of a complete run that does not keep them; the issue masks stay."""
    for_each_source(lambda spec: context.issue_mask_arrays(spec).remove(EVIDENCE_PLANES), tasks.sources)


def discard_leftovers(context: RunContext) -> None:
    """Remove what a complete run may still have of its stages, apart from what `--base` reads."""
    directory = ObjectDirectory(context.out, context.options)
    # each compacted part holds up to `regions.top` regions
    for prefix in (SCORE_INPUTS, f"manifest/{COMPACT}", f"manifest/{PLACES}"):
        directory.remove_below(prefix)


def map_blocks(
    function: Callable[[Any], Answer],
    tasks: Sequence[Any],
    images: int,
    executor: Executor,
    progress: ProgressReporter,
    stats: RunStats,
    name: str,
    run_id: str | None = None,
    watch: Callable[[Answer], None] | None = None,
) -> StageTotals:
    """Run one stage over tasks with so many images, and add its totals to the statistics.

    Args:
        function: Function of a task.
        tasks: Tasks of the stage.
        images: Number of their images.
        executor: Executor of the tasks.
        progress: Reporter of the stage.
        stats: Statistics of the command.
        name: Name of the stage.
        run_id: Fingerprint of the run for traces; None for no traces.
        watch: Called with each answer; an exception from it ends the stage.

    Returns:
        Totals of the stage.
    """
    totals = StageTotals()
    with progress.stage(name, images) as stage:
        if run_id is not None:  # inside the stage, so that the spans of the tasks are its children
            function = InstrumentedTask(function, run_id, name)
        for answer in stage.map_tasks(executor, function, tasks):
            totals.add(answer if isinstance(answer, TaskResult) else answer.task_result)
            if watch is not None:
                watch(answer)
    stats.add(stage.fields(), totals)
    return totals
