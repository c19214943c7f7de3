"""Entry point of `masksift sweep`.

The output holds `sweep.parquet` (one row per setting and score), `sweep_regions.parquet` (one row per setting, order of
regions and metric), `sweep.md`, `plots/*.png` and, written last, `sweep.json`. The directories `evidence/` and
`manifest/` let an interrupted sweep, or a sweep of other scores or temperatures, skip the work that is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.core.status import SCORED
from masksift.core.versions import package_versions
from masksift.engine.planning.layout import Settings
from masksift.engine.planning.memory import ALLOCATOR_OVERHEAD
from masksift.engine.planning.plan import Plan, make_plan
from masksift.engine.resumable_job import ResumableJob, for_each_source
from masksift.engine.stages import RunStats, check_workers, map_blocks
from masksift.engine.work_items import CONDENSE, SCORE, BlockTask, BlockTasks
from masksift.evaluation.simulate.command import ERROR_BYTES_PER_PIXEL, make_error_params
from masksift.evaluation.simulate.sampling import first_share_index
from masksift.evaluation.sweep.condense_task import condense_block
from masksift.evaluation.sweep.config import SweepConfig
from masksift.evaluation.sweep.metrics import SweepScores, measure_settings
from masksift.evaluation.sweep.plots import PLOTS
from masksift.evaluation.sweep.regions import (
    SweepRegions,
    collect_regions,
    load_pair_evidence,
    measure_orders,
    region_bytes,
    setting_totals,
)
from masksift.evaluation.sweep.result_table import SweepTable
from masksift.evaluation.sweep.score_task import score_block
from masksift.evaluation.sweep.summary import console_text, report_text
from masksift.evaluation.sweep.thresholds import encode_thresholds, find_thresholds, reduce_statistics
from masksift.evaluation.sweep.work_items import Scores, SweepContext, SweepTask, plane_dtypes
from masksift.review.rendering.panels import require_matplotlib
from masksift.runtime.executors import Executor
from masksift.runtime.progress import ProgressReporter
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.region_priority import region_scores
from masksift.storage.locations import check_output, source_urls
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.dataset import open_data_set
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.parquet import write_table
from masksift.storage.tables.schemas import SWEEP, SWEEP_REGIONS
from masksift.storage.urls import local_path
from masksift.storage.zarr.evidence import EvidenceArrays

RECORD, TABLE, REGION_TABLE, REPORT = "sweep.json", "sweep.parquet", "sweep_regions.parquet", "sweep.md"
MAX_CONCURRENT_READS = 16
"""Blocks whose scores are read at the same time."""


def sweep(config: SweepConfig, progress: ProgressReporter) -> str:
    """Measure every combination of error type, share and score, or continue an interrupted sweep.

    Predictions are read once, even if a later sweep uses other scores or parameters.

    Args:
        config: Sources, output, errors and scores.
        progress: Reporter for messages and stages.

    Returns:
        Console text.

    Raises:
        MasksiftError: The options, the sources or the workers do not fit.
    """
    require_matplotlib()
    sources, plan = _open_and_plan(config)
    context = _make_context(config, plan)
    plan_record = {"fingerprint": plan.fingerprint, "identity": dict(plan.identity)}
    directory = ObjectDirectory(context.out, context.options)
    job = ResumableJob(directory, plan_record, RECORD, "sweep", config.out, progress)
    record = job.finished_record(fingerprint=context.score_fingerprint, at=str(config.at))
    if record is None:
        tasks, stats = _make_tasks(config, plan, sources), RunStats()
        seconds = plan.seconds * (1 + len(config.error_types) * len(config.shares))
        with config.executor.open(len(tasks), seconds, progress.message) as executor:
            check_workers(plan, executor, package_versions, progress)
            with job.lock():  # after all checks: a refused sweep leaves no trace
                images, regions = _compute_scores(config, context, tasks, executor, progress, stats)
                with progress.stage("measure") as stage:
                    columns = list(context.image_methods), list(context.threshold_methods), config.table_columns()
                    rows = measure_settings(images, config.error_types, config.shares, *columns, config.at)
                    orders = measure_orders(regions, rows[0]["images"], config.error_types, config.shares)
                    table = SweepTable(tuple(rows), tuple(orders))
                    _write_results(directory, table, sources[0].class_names)
                stats.add(stage.fields())
                record = _make_record(config, context, plan, sources, stats, console_text(table))
                job.write_record(record)
    quarantined = record["counts"]["quarantined"]
    notes = [f"{quarantined:,} images are quarantined and not measured"] if quarantined else []
    return "\n".join([record["text"], *notes, f"results: {config.out}"])


def _open_and_plan(config: SweepConfig) -> tuple[tuple[SourceSpec, ...], Plan]:
    """Open the sources and plan the blocks, with memory for all variants. Raises DataError."""
    sources = open_data_set(config.sources, config.overrides(), config.options())
    check_output(config.out, source_urls(sources))
    for spec in sources:
        if spec.stored_evidence:
            raise DataError(
                f"{spec.url} holds evidence instead of predictions",
                "Scores of changed labels need the predictions",
                "Use a source with predictions",
            )
        if spec.members:
            raise DataError(
                f"{spec.url} is an ensemble of {len(spec.members)} prediction arrays",
                "A sweep reads a single one",
                "Name one with --arrays.predictions",
            )
    identity = {
        "masksift": version("masksift"),
        "configuration": config.condense_identity(),
        "sources": [spec.identity() for spec in sources],
    }
    remote = any(local_path(url) is None for url in (*config.sources, config.out))
    plan = make_plan(sources, Settings("auto", config.tccp.lattice, remote), identity)
    more = max(_extra_memory_bytes(config, spec, plan, number) for number, spec in enumerate(sources))
    return sources, replace(plan, memory_condense=plan.memory_condense + more, memory_score=plan.memory_score + more)


def _extra_memory_bytes(config: SweepConfig, spec: SourceSpec, plan: Plan, number: int) -> int:
    """Peak memory of a worker beyond that of a run: planes of all variants of a chunk, statistics, and one error."""
    layout, classes, error_types = plan.layouts[number], spec.classes, len(config.error_types)
    planes = np.dtype(layout.evidence_dtype).itemsize + 2 * class_dtype(classes).itemsize
    statistics = 8 * (classes * (2 * classes + 3 * 256) + 65536)
    pixels = spec.pixels * ((1 + error_types) * layout.chunk_images * planes + ERROR_BYTES_PER_PIXEL)
    settings = error_types * len(config.shares)
    regions = region_bytes(spec.pixels, layout.block_images, settings)
    return round(ALLOCATOR_OVERHEAD * (pixels + (1 + settings) * statistics + regions))


def _make_context(config: SweepConfig, plan: Plan) -> SweepContext:
    identity = json.dumps([plan.fingerprint, config.score_identity()], sort_keys=True).encode()
    return SweepContext(
        local_path(config.out) or config.out.rstrip("/"),
        plan.fingerprint,
        hashlib.sha256(identity).hexdigest(),
        config.seed,
        config.error_types,
        len(config.shares),
        config.tccp.lattice,
        config.image_methods(),
        config.threshold_methods(),
        config.clc.rule,
        config.options(),
    )


def _make_tasks(config: SweepConfig, plan: Plan, sources: tuple[SourceSpec, ...]) -> list[SweepTask]:
    """Divide the sources into blocks. The choice of images does not depend on the blocks."""
    simulations = [config.simulate_config(name) for name in config.error_types]
    params = [tuple(make_error_params(simulation, spec) for simulation in simulations) for spec in sources]
    first_shares = [
        np.array(
            [
                first_share_index(config.seed, name, spec.name, spec.images, config.shares)
                for name in config.error_types
            ],
            np.int16,
        )
        for spec in sources
    ]
    return [
        SweepTask(
            task, params[task.block.source], first_shares[task.block.source][:, task.block.start : task.block.stop]
        )
        for task in BlockTasks.from_plan(plan, sources, config.out)
    ]


def _compute_scores(
    config: SweepConfig,
    context: SweepContext,
    tasks: Sequence[SweepTask],
    executor: Executor,
    progress: ProgressReporter,
    stats: RunStats,
) -> tuple[SweepScores, list[SweepRegions]]:
    """Condense and score all blocks, and collect the scores of all images and the regions of every setting."""

    def create_arrays(task: BlockTask) -> None:
        names = plane_dtypes(context, task.spec, task.layout.evidence_dtype)
        shape = (task.spec.images, task.spec.height, task.spec.width)
        arrays = EvidenceArrays(task.evidence_location.evidence_url, context.options)
        arrays.create(tuple(names), names, shape, task.layout.chunks, {"source": task.spec.url})

    for_each_source(create_arrays, {task.block_task.spec.index: task.block_task for task in tasks}.values())
    images = sum(task.block_task.block.images for task in tasks)
    map_blocks(partial(condense_block, context), tasks, images, executor, progress, stats, CONDENSE)
    with progress.stage("thresholds") as stage:
        statistics = reduce_statistics(context, tasks, executor)
        thresholds = find_thresholds(context, tasks, statistics, executor, config.tccp.tau)
        limits = encode_thresholds(thresholds, [task.block_task.encoding for task in tasks])
    stats.add(stage.fields())
    totals = map_blocks(partial(score_block, context, limits), tasks, images, executor, progress, stats, SCORE)
    stats.counts.update(totals.counts)
    with ThreadPoolExecutor(MAX_CONCURRENT_READS, thread_name_prefix="scores") as pool:
        scores = list(pool.map(lambda task: Scores.load(context, task.block_task.block.number), tasks))
    with progress.stage("regions") as stage:
        evidence = executor.reduce(partial(load_pair_evidence, context), tasks, np.add, "regions")
        pair_totals = setting_totals(statistics, evidence, context.shares)
        regions, highest = collect_regions(context, tasks, pair_totals, MAX_CONCURRENT_READS)
    stats.add(stage.fields())
    by_region = region_scores(highest).reshape(-1, context.shares, highest.shape[1])
    return SweepScores.concatenate(scores, [task.first_shares for task in tasks], by_region), regions


def _write_results(directory: ObjectDirectory, table: SweepTable, class_names: Sequence[str]) -> None:
    """Write table, plots and report; the record of an earlier sweep, which describes another table, is removed."""
    directory.remove(RECORD)
    write_table(directory, TABLE, table_from_rows(table.rows, SWEEP), class_names)
    write_table(directory, REGION_TABLE, table_from_rows(table.regions, SWEEP_REGIONS), class_names)
    paths = []
    for name, plot in PLOTS.items():
        png = plot(table)
        if png is None:
            directory.remove(f"plots/{name}")  # of an earlier sweep
        else:
            directory.write(f"plots/{name}", png)
            paths.append(f"plots/{name}")
    directory.write(REPORT, report_text(table, paths).encode())


def _make_record(
    config: SweepConfig, context: SweepContext, plan: Plan, sources: Sequence[SourceSpec], stats: RunStats, text: str
) -> dict[str, Any]:
    scores = [*context.image_methods, *context.threshold_methods, *config.table_columns()]
    settings = len(config.error_types) * len(config.shares) * len(scores)
    return {
        "fingerprint": context.score_fingerprint,
        "condensed": context.condense_fingerprint,
        "at": str(config.at),
        "configuration": config.model_dump(mode="json"),
        "versions": package_versions() | {"scipy": version("scipy"), "scikit-learn": version("scikit-learn")},
        "sources": [spec.identity() for spec in sources],
        "images": plan.images,
        "counts": {SCORED: stats.counts[SCORED], "quarantined": plan.images - stats.counts[SCORED]},
        "settings": settings,
        "layouts": [asdict(layout) for layout in plan.layouts],
        "stages": stats.stages,
        "seconds": round(sum(stage["seconds"] for stage in stats.stages), 1),
        "text": text,
    }
