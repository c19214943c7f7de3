"""The stages of a run, each a map or a reduction over the blocks and what is done with the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import PlanRefused, RunFailed
from masksift.core.specs import EvidenceLocation, SourceSpec
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine import result_tables as results
from masksift.engine.condense_task import condense_block
from masksift.engine.planning.layout import Layout
from masksift.engine.planning.plan import Plan
from masksift.engine.resumable_job import MAX_CONCURRENT_SOURCES, iter_answers
from masksift.engine.score_task import count_block, refine_block, score_block
from masksift.engine.task_outputs import CONDENSE, SCORE, PairCounts, load_pair_counts, load_statistics
from masksift.engine.work_items import BlockTask, BlockTasks, RunContext
from masksift.runtime.executors import Executor, WorkerInfo
from masksift.runtime.progress import ProgressReporter
from masksift.runtime.telemetry import InstrumentedTask
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.statistics.class_statistics import Statistics
from masksift.scoring.statistics.thresholds import Thresholds, compute_thresholds
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.parquet import write_table
from masksift.storage.zarr.evidence import EVIDENCE, MASK

_MUST_AGREE = ("masksift", "python", "dask", "distributed", "numpy", "numba")


_IO_COUNTERS = ("bytes_read", "bytes_written", "requests", "puts", "repeated")


@dataclass
class RunStats:
    """What the stages of a run took: for run.json."""

    stages: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    flagged_pixels: int = 0

    def add(self, facts: dict[str, Any], totals: StageTotals | None = None) -> None:
        """One stage with the sums over its blocks."""
        sums = totals or StageTotals()
        self.stages.append(
            {"name": facts["stage"], "seconds": facts["seconds"], "blocks": sums.blocks, "reused_blocks": sums.reused}
            | {"task_seconds": round(sums.seconds, 2)}
            | {name: sums.io_counts[name] for name in _IO_COUNTERS}
        )


@dataclass
class StageTotals:
    """The receipts of a stage, added up as they come: a run may have a million."""

    blocks: int = 0
    reused: int = 0
    seconds: float = 0.0
    io_counts: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, result: TaskResult) -> None:
        """One block."""
        self.blocks += 1
        self.reused += result.reused
        self.seconds += result.seconds
        self.io_counts.update({name: getattr(result, name) for name in _IO_COUNTERS})
        self.counts.update(result.counts)


def check_workers(
    plan: Plan, executor: Executor, own_versions: Callable[[], dict[str, str]], report: ProgressReporter
) -> list[WorkerInfo]:
    """Compare the workers' memory with the plan and their versions with this process's. Raises PlanRefused."""
    workers = executor.workers()
    mine = own_versions() if any(worker.versions for worker in workers) else {}
    for worker in workers:
        plan.check_memory(worker.memory, f"worker {worker.name}")
        differing = {name: v for name, v in mine.items() if worker.versions and worker.versions.get(name, "none") != v}
        said = ", ".join(f"{name} {worker.versions.get(name, 'none')} (here {v})" for name, v in differing.items())
        if any(
            _series(name, worker.versions.get(name, "none")) != _series(name, differing[name])
            for name in _MUST_AGREE
            if name in differing
        ):
            raise PlanRefused(
                f"worker {worker.name} has {said}",
                "its results could differ, or its answers not be understood",
                "Start the workers from the same image or environment as this command",
            )
        if differing:
            report.message(f"worker {worker.name} has {said}: tolerated")
    return workers


def _series(name: str, version: str) -> str:
    return ".".join(version.split(".")[:2]) if name == "python" else version


def create_evidence_arrays(job: RunContext, parts: BlockTasks) -> None:
    """Create the empty arrays that the tasks write into; what is there already stays. Of several sources at a time: a
    thousand of them on a network are tens of thousands of requests, one waiting for the other."""

    def create(spec: SourceSpec, layout: Layout, home: EvidenceLocation) -> None:
        dtypes = {
            EVIDENCE[0]: layout.evidence_dtype,
            EVIDENCE[1]: str(class_dtype(spec.classes)),
            EVIDENCE[2]: layout.evidence_dtype,
        }
        attributes = {
            "class_names": list(spec.class_names),
            "ignore": list(spec.ignore),
            "scale": spec.scale,
            "kind": "evidence",
            "source": spec.url,
        }
        job.issue_mask_arrays(spec).create(
            (*dtypes, MASK) if home.fingerprint == job.fingerprint else (MASK,),
            dtypes | {MASK: "uint8"},
            (spec.images, spec.height, spec.width),
            layout.chunks,
            attributes,
        )

    with ThreadPoolExecutor(MAX_CONCURRENT_SOURCES, thread_name_prefix="create_evidence_arrays") as pool:
        list(pool.map(create, parts.sources, parts.plan.layouts, parts.evidence_locations))


def condense(
    job: RunContext, parts: BlockTasks, executor: Executor, report: ProgressReporter, account: RunStats
) -> None:
    """First pass: the statistics, verdicts and evidence of every block that is not kept from an earlier run."""
    if len(parts.to_condense):
        _map(partial(condense_block, job), job, parts.to_condense, executor, report, account, CONDENSE)


def find_thresholds(
    job: RunContext,
    parts: BlockTasks,
    executor: Executor,
    report: ProgressReporter,
    account: RunStats,
    tau: str | float,
    frozen: Thresholds | None = None,
) -> tuple[Statistics, Thresholds]:
    """The global reduction, and the second look at evidence of more than 8 bits; or the ``frozen`` thresholds."""
    with report.stage("thresholds") as stage:
        load = InstrumentedTask(partial(load_statistics, job), job.fingerprint, "statistics")
        statistics = executor.reduce(load, parts, Statistics.merge, "statistics")
        thresholds = frozen or compute_thresholds(statistics, tau, _EvidenceQueries(job, parts, executor))
    account.add(stage.fields())
    return statistics, thresholds


def _numbered(number: int) -> dict[str, Any]:
    return {"block": number}


@dataclass
class _EvidenceQueries:
    """What only the evidence itself can answer."""

    job: RunContext
    parts: BlockTasks
    executor: Executor

    def count_confident(self, limits: Mapping[Encoding, NDArray[np.int64]]) -> int:
        parts = self.parts.with_encodings(limits)
        count = InstrumentedTask(partial(count_block, self.job, limits), self.job.fingerprint, "count")
        counted: int = self.executor.reduce(count, parts, add, "count")
        return counted

    def count_low_bits(self, key: int) -> NDArray[np.int64]:
        parts = self.parts.with_encodings([Encoding("float32")])
        refine = InstrumentedTask(partial(refine_block, self.job, key), self.job.fingerprint, "refine")
        return self.executor.reduce(refine, parts, np.add, "refine")


def score(
    job: RunContext,
    parts: BlockTasks,
    thresholds: Thresholds,
    executor: Executor,
    report: ProgressReporter,
    account: RunStats,
) -> PairCounts:
    """Second pass: scores, issue masks and the table of images; answers the class pairs of the whole data set."""
    totals = _map(partial(score_block, job, thresholds), job, parts, executor, report, account, SCORE)
    account.counts.update(totals.counts)
    load = InstrumentedTask(partial(load_pair_counts, job), job.fingerprint, "pairs", _numbered)
    return executor.reduce(load, range(len(parts)), PairCounts.merge, "pairs")


def rank(
    job: RunContext,
    parts: BlockTasks,
    statistics: Statistics,
    thresholds: Thresholds,
    pairs: PairCounts,
    rank_by: str,
    report: ProgressReporter,
    account: RunStats,
) -> None:
    """The order of review and the tables by class."""
    folder, names = ObjectDirectory(job.out, job.options), parts.sources[0].class_names
    methods = [method.name for method in job.methods]
    with report.stage("rank") as stage:
        images = results.image_part_names(job.fingerprint, len(parts))
        results.write_ranking(folder, images, account.counts[SCORED], methods, rank_by, names, job.path_columns)
        results.write_regions(folder, job.fingerprint, len(parts), job.max_regions, names, job.path_columns)
        write_table(folder, "thresholds.parquet", results.thresholds_table(statistics, thresholds, names), names)
        write_table(folder, "class_pairs.parquet", results.class_pairs_table(pairs, names), names)
        write_table(folder, "class_quality.parquet", results.class_quality_table(statistics, pairs, names), names)
    account.flagged_pixels = int(pairs.pixels.sum())
    account.add(stage.fields())


def discard_evidence(job: RunContext, parts: BlockTasks) -> None:
    """Remove the planes that a complete run does not keep; the issue masks stay."""
    for spec in parts.sources:
        job.issue_mask_arrays(spec).remove(EVIDENCE)


def _map(
    function: Callable[[BlockTask], TaskResult],
    job: RunContext,
    parts: BlockTasks,
    executor: Executor,
    report: ProgressReporter,
    account: RunStats,
    name: str,
) -> StageTotals:
    """Run one stage over all blocks. Raises RunFailed where a product is missing at its end."""
    totals = StageTotals()
    with report.stage(name, parts.images) as stage:
        for result in iter_answers(executor, InstrumentedTask(function, job.fingerprint, name), parts, stage):
            totals.add(result)
    account.add(stage.fields(), totals)
    missing = job.score_manifest().missing(
        name, range(len(parts)) if parts.block_numbers is None else parts.block_numbers
    )
    if missing:
        raise RunFailed(
            f"{len(missing)} of {len(parts)} blocks have no product of stage {name!r} (first: {missing[0]})",
            "the results would lack their images",
            "See that nobody removes files of a running job, and run the same command again",
        )
    return totals
