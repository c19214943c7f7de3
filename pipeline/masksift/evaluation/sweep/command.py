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
from masksift.engine.resumable_job import ResumableJob, for_each_source, iter_answers
from masksift.engine.stages import RunStats, StageTotals, check_workers
from masksift.engine.work_items import BlockTasks
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
from masksift.evaluation.sweep.work_items import CONDENSE, SCORE, Scores, SweepContext, SweepTask, planes_of
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
        pieces, account = _pieces(config, plan, sources), RunStats()
        with config.executor.open(len(pieces), progress.message) as executor:
            check_workers(plan, executor, package_versions, progress)
            with job.lock():  # after all checks: a refused sweep leaves no trace
                images = _scored(config, context, pieces, executor, progress, account)
                with progress.stage("measure") as stage:
                    columns = list(context.steady), list(context.thresholded)
                    table = Table(tuple(measure(images, context.kinds, config.shares, *columns, config.at)))
                    _write(directory, table, sources[0].class_names)
                account.add(stage.fields())
                record = _record(config, context, plan, sources, account, console_text(table))
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


def _pieces(config: SweepConfig, plan: Plan, sources: tuple[SourceSpec, ...]) -> list[SweepTask]:
    """All blocks, in order. Which images get an error does not depend on them."""
    parts, pieces = BlockTasks.from_plan(plan, sources, config.out), []
    simulated = [config.simulate_config(kind) for kind in config.error_kinds]
    settings = [tuple(make_error_params(one, spec) for one in simulated) for spec in sources]
    joined = [
        np.array(
            [
                first_share_index(config.seed, kind, spec.name, spec.images, config.shares)
                for kind in config.error_kinds
            ],
            np.int16,
        )
        for spec in sources
    ]
    for part in parts:
        block = part.block
        pieces.append(SweepTask(part, settings[block.source], joined[block.source][:, block.start : block.stop]))
    return pieces


def _scored(
    config: SweepConfig,
    context: SweepContext,
    pieces: Sequence[SweepTask],
    executor: Executor,
    progress: ProgressReporter,
    account: RunStats,
) -> Images:
    """Both passes over all blocks; answers the scores of all images."""
    evidence = {piece.part.spec.index: piece.part for piece in pieces}

    def create(source: int) -> None:
        part, layout = evidence[source], evidence[source].layout
        names = planes_of(context, part.spec, layout.evidence_dtype)
        shape = (part.spec.images, part.spec.height, part.spec.width)
        facts = {"source": part.spec.url}
        EvidenceArrays(part.evidence_location.evidence_url, context.options).create(
            tuple(names), names, shape, layout.chunks, facts
        )

    for_each_source(create, evidence)
    _map(partial(condense_block, context), pieces, executor, progress, account, CONDENSE)
    with progress.stage("thresholds") as stage:
        thresholds = find_thresholds(context, pieces, executor, config.tccp.tau)
        limits = limits_of(thresholds, [piece.part.encoding for piece in pieces])
    account.add(stage.fields())
    totals = _map(partial(score_block, context, limits), pieces, executor, progress, account, SCORE)
    account.counts.update(totals.counts)
    with ThreadPoolExecutor(MAX_CONCURRENT_READS, thread_name_prefix="scores") as pool:
        scores = list(pool.map(lambda piece: Scores.load(context, piece.part.block.number), pieces))
    return Images.of(scores, [piece.joined for piece in pieces])


def _map(
    task: Any, pieces: Sequence[SweepTask], executor: Executor, progress: ProgressReporter, account: RunStats, name: str
) -> StageTotals:
    """Run one stage over all blocks."""
    totals = StageTotals()
    with progress.stage(name, sum(piece.part.block.images for piece in pieces)) as stage:
        for result in iter_answers(executor, task, pieces, stage):
            totals.add(result)
    account.add(stage.fields(), totals)
    return totals


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
    config: SweepConfig, context: SweepContext, plan: Plan, sources: Sequence[SourceSpec], account: RunStats, text: str
) -> dict[str, Any]:
    return {
        "fingerprint": context.scored,
        "condensed": context.condensed,
        "at": str(config.at),
        "configuration": config.model_dump(mode="json"),
        "versions": package_versions() | {"scipy": version("scipy"), "scikit-learn": version("scikit-learn")},
        "sources": [spec.as_json() for spec in sources],
        "images": plan.images,
        "counts": {SCORED: account.counts[SCORED], "quarantined": plan.images - account.counts[SCORED]},
        "settings": len(config.error_kinds) * len(config.shares) * (len(context.steady) + len(context.thresholded)),
        "layouts": [asdict(layout) for layout in plan.layouts],
        "stages": account.stages,
        "seconds": round(sum(stage["seconds"] for stage in account.stages), 1),
        "text": text,
    }
