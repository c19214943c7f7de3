"""The line of a sweep: open, plan, draw, condense every variant once, find the thresholds of every setting, score,
measure, tell.

Under ``out``: `sweep.parquet` (a row a setting and score), `sweep.md`, `plots/*.png` and, written last, `sweep.json`;
`evidence/` and `manifest/` are what a sweep of other scores or temperatures, or one that goes on, need not do again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
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
from masksift.evaluation.evaluate.command import require_extra
from masksift.evaluation.simulate.command import ERROR_BYTES_PER_PIXEL, make_error_params
from masksift.evaluation.simulate.sampling import first_share_index
from masksift.evaluation.sweep.condense_task import condense_block
from masksift.evaluation.sweep.config import SweepConfig
from masksift.evaluation.sweep.metrics import Images, measure
from masksift.evaluation.sweep.plots import PLOTS
from masksift.evaluation.sweep.result_table import Table
from masksift.evaluation.sweep.score_task import score_block
from masksift.evaluation.sweep.summary import console_text, report_text
from masksift.evaluation.sweep.thresholds import find_thresholds, limits_of
from masksift.evaluation.sweep.work_items import Scores, SweepContext, SweepTask, plane_dtypes
from masksift.runtime.executors import Executor
from masksift.runtime.progress import ProgressReporter
from masksift.scoring.kernels.condense import class_dtype
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.dataset import open_data_set
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.parquet import write_table
from masksift.storage.tables.schemas import SWEEP
from masksift.storage.urls import local_path
from masksift.storage.zarr.evidence import EvidenceArrays

RECORD, TABLE, PAGE = "sweep.json", "sweep.parquet", "sweep.md"
MAX_CONCURRENT_READS = 16
"""Blocks whose scores are read at the same time."""


@dataclass(frozen=True)
class SweepResult:
    """How a sweep ended: its record (sweep.json), and in words."""

    record: Mapping[str, Any]
    text: str


def sweep(config: SweepConfig, progress: ProgressReporter) -> SweepResult:
    """Measure every setting that the configuration names; called again after any interruption, it goes on. Predictions
    are read once, also where the scores or their parameters are others the next time.

    Raises MasksiftError.
    """
    require_extra()
    sources, plan = _open(config)
    context = _context(config, plan)
    plan_record = {"fingerprint": plan.fingerprint, "identity": dict(plan.identity)}
    directory = ObjectDirectory(context.out, context.options)
    job = ResumableJob(directory, plan_record, RECORD, "sweep", config.out, progress)
    record = job.finished_record(fingerprint=context.scored, at=str(config.at))
    if record is None:
        tasks, stats = _make_tasks(config, plan, sources), RunStats()
        with config.executor.open(len(tasks), progress.message) as executor:
            check_workers(plan, executor, package_versions, progress)
            with job.lock():  # after all checks: a refused sweep leaves no trace
                images = _score(config, context, tasks, executor, progress, stats)
                with progress.stage("measure") as stage:
                    columns = list(context.steady), list(context.thresholded)
                    table = Table(tuple(measure(images, context.kinds, config.shares, *columns, config.at)))
                    _write(directory, table, sources[0].class_names)
                stats.add(stage.fields())
                record = _record(config, context, plan, sources, stats, console_text(table))
                job.write_record(record)
    return SweepResult(record, _text(config, record))


def _open(config: SweepConfig) -> tuple[tuple[SourceSpec, ...], Plan]:
    """The sources' facts and the plan of the first pass, with the memory of all variants. Raises DataError."""
    run = config.run_config()
    sources = open_data_set(config.sources, run.overrides(), config.options())
    for spec in sources:
        if spec.stored_evidence:
            raise DataError(
                f"{spec.url} holds evidence in place of predictions",
                "what the model says of a wrong label is in its predictions alone",
                "Give a source that holds them",
            )
        if spec.members:
            raise DataError(
                f"{len(spec.members)} predictions of {spec.url} are given",
                "a sweep condenses one of them, and no mean",
                "Name one as --arrays.predictions",
            )
    remote = any(local_path(url) is None for url in (*config.sources, config.out))
    identity = {
        "masksift": version("masksift"),
        "configuration": config.condensing(),
        "sources": [spec.as_json() for spec in sources],
    }
    settings = Settings("auto", config.tccp.lattice, remote)
    plan = make_plan(sources, settings, identity)
    more = max(_more_memory(config, spec, plan, number) for number, spec in enumerate(sources))
    return sources, replace(plan, memory_condense=plan.memory_condense + more, memory_score=plan.memory_score + more)


def _more_memory(config: SweepConfig, spec: SourceSpec, plan: Plan, number: int) -> int:
    """Bytes that a sweep holds of a source beside what a run does: labels and self-confidence of a group of images for
    every variant, the statistics of every bucket, and one image as it is changed."""
    layout, classes, variants = plan.layouts[number], spec.classes, 1 + len(config.error_kinds)
    planes = np.dtype(layout.evidence_dtype).itemsize + 2 * class_dtype(classes).itemsize
    buckets = 1 + len(config.error_kinds) * len(config.shares)
    state = 8 * (classes * (classes + 3 * 256) + 65536)
    return round(
        ALLOCATOR_OVERHEAD
        * (
            variants * layout.chunk_images * spec.pixels * planes
            + buckets * state
            + ERROR_BYTES_PER_PIXEL * spec.pixels
        )
    )


def _context(config: SweepConfig, plan: Plan) -> SweepContext:
    scoring = json.dumps([plan.fingerprint, config.scoring()], sort_keys=True).encode()
    return SweepContext(
        local_path(config.out) or config.out.rstrip("/"),
        plan.fingerprint,
        hashlib.sha256(scoring).hexdigest(),
        config.seed,
        config.error_kinds,
        len(config.shares),
        config.tccp.lattice,
        config.steady_methods(),
        config.thresholded_methods(),
        config.clc.rule,
        config.options(),
    )


def _make_tasks(config: SweepConfig, plan: Plan, sources: tuple[SourceSpec, ...]) -> list[SweepTask]:
    """All blocks, in order. The choice of images that get an error does not depend on the blocks."""
    simulated = [config.simulate_config(kind) for kind in config.error_kinds]
    settings = [tuple(make_error_params(one, spec) for one in simulated) for spec in sources]
    first_shares = [
        np.array(
            [
                first_share_index(config.seed, kind, spec.name, spec.images, config.shares)
                for kind in config.error_kinds
            ],
            np.int16,
        )
        for spec in sources
    ]
    return [
        SweepTask(
            task,
            settings[task.block.source],
            first_shares[task.block.source][:, task.block.start : task.block.stop],
        )
        for task in BlockTasks.from_plan(plan, sources, config.out)
    ]


def _score(
    config: SweepConfig,
    context: SweepContext,
    tasks: Sequence[SweepTask],
    executor: Executor,
    progress: ProgressReporter,
    stats: RunStats,
) -> Images:
    """Run both passes over all blocks and return the scores of all images."""

    def create(task: BlockTask) -> None:
        names = plane_dtypes(context, task.spec, task.layout.evidence_dtype)
        shape = (task.spec.images, task.spec.height, task.spec.width)
        EvidenceArrays(task.evidence_location.evidence_url, context.options).create(
            tuple(names), names, shape, task.layout.chunks, {"source": task.spec.url}
        )

    for_each_source(create, {task.task.spec.index: task.task for task in tasks}.values())
    images = sum(task.task.block.images for task in tasks)
    map_blocks(partial(condense_block, context), tasks, images, executor, progress, stats, CONDENSE)
    with progress.stage("thresholds") as stage:
        thresholds = find_thresholds(context, tasks, executor, config.tccp.tau)
        limits = limits_of(thresholds, [task.task.encoding for task in tasks])
    stats.add(stage.fields())
    totals = map_blocks(partial(score_block, context, limits), tasks, images, executor, progress, stats, SCORE)
    stats.counts.update(totals.counts)
    with ThreadPoolExecutor(MAX_CONCURRENT_READS, thread_name_prefix="scores") as pool:
        scores = list(pool.map(lambda task: Scores.load(context, task.task.block.number), tasks))
    return Images.of(scores, [task.first_shares for task in tasks])


def _write(folder: ObjectDirectory, table: Table, classes: Sequence[str]) -> None:
    """All outputs but the record; one of an earlier sweep is of other tables."""
    folder.remove(RECORD)
    write_table(folder, TABLE, table_from_rows(table.rows, SWEEP), classes)
    names = []
    for name, draw in PLOTS.items():
        picture = draw(table)
        if picture is None:
            folder.remove(f"plots/{name}")  # of an earlier sweep
        else:
            folder.write(f"plots/{name}", picture)
            names.append(f"plots/{name}")
    folder.write(PAGE, report_text(table, names).encode())


def _text(config: SweepConfig, record: Mapping[str, Any]) -> str:
    """The end of a sweep, in words."""
    left_out = record["counts"]["quarantined"]
    lines = [record["text"], *([f"{left_out:,} images are quarantined and count nowhere"] if left_out else [])]
    return "\n".join([*lines, f"results: {config.out}"])


def _record(
    config: SweepConfig, context: SweepContext, plan: Plan, sources: Sequence[SourceSpec], stats: RunStats, text: str
) -> dict[str, Any]:
    return {
        "fingerprint": context.scored,
        "condensed": context.condensed,
        "at": str(config.at),
        "configuration": config.model_dump(mode="json"),
        "versions": package_versions() | {"scipy": version("scipy"), "scikit-learn": version("scikit-learn")},
        "sources": [spec.as_json() for spec in sources],
        "images": plan.images,
        "counts": {SCORED: stats.counts[SCORED], "quarantined": plan.images - stats.counts[SCORED]},
        "settings": len(config.error_kinds) * len(config.shares) * (len(context.steady) + len(context.thresholded)),
        "layouts": [asdict(layout) for layout in plan.layouts],
        "stages": stats.stages,
        "seconds": round(sum(stage["seconds"] for stage in stats.stages), 1),
        "text": text,
    }
